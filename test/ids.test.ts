// Ids as pure functions: composing is injective, and an imId says of itself which scheme it is of.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  composeImId,
  faultOfName,
  isName,
  isUuidV7,
  makeUuid,
  parseAppId,
  parseImId,
  registeredIdToUuid,
  timeOfUuid,
  uuidToRegisteredId,
  type AppId,
} from '../src/ids.ts';
import { anyAppId, illegalName, legalName } from './names.ts';

test('composing and parsing are inverse', () => {
  fc.assert(
    fc.property(anyAppId, legalName, (appId, uid) => {
      assert.deepEqual(parseImId(composeImId(appId, uid)), {
        scheme: 'composed',
        imId: `${appId}:${uid}`,
        appId,
        uid,
      });
    }),
  );
});

test('no two pairs of app and uid share an imId', () => {
  fc.assert(
    fc.property(anyAppId, legalName, anyAppId, legalName, (a, u, b, v) => {
      assert.equal(composeImId(a, u) === composeImId(b, v), a === b && u === v);
    }),
  );
  // The classic defect: 1 + 23 and 12 + 3; and a uid that holds the separator.
  const pairs = [
    [1, '23'],
    [12, '3'],
    [123, '0'],
    [1, '2:3'],
    [1, ':23'],
    [12, ':3'],
    [1, '23:'],
  ] as [AppId, ReturnType<typeof legalName.generate>['value']][];
  assert.equal(new Set(pairs.map(([appId, uid]) => composeImId(appId, uid))).size, pairs.length);
});

test('no registered imId parses as a composed one, and it keeps its 128 bits', () => {
  fc.assert(
    fc.property(fc.uuid(), (uuid) => {
      const imId = uuidToRegisteredId(uuid);
      assert.deepEqual(parseImId(imId), { scheme: 'registered', imId });
      assert.equal(registeredIdToUuid(imId), uuid);
    }),
  );
});

test('registered imIds are TypeIDs, by the vectors of its specification', () => {
  // https://github.com/jetify-com/typeid/blob/main/spec/valid.yml
  const vectors = [
    ['00000000-0000-0000-0000-000000000000', '00000000000000000000000000'],
    ['00000000-0000-0000-0000-000000000001', '00000000000000000000000001'],
    ['00000000-0000-0000-0000-00000000000a', '0000000000000000000000000a'],
    ['00000000-0000-0000-0000-000000000010', '0000000000000000000000000g'],
    ['00000000-0000-0000-0000-000000000020', '00000000000000000000000010'],
    ['ffffffff-ffff-ffff-ffff-ffffffffffff', '7zzzzzzzzzzzzzzzzzzzzzzzzz'],
    ['0110c853-1d09-52d8-d73e-1194e95b5f19', '0123456789abcdefghjkmnpqrs'],
    ['01890a5d-ac96-774b-bcce-b302099a8057', '01h455vb4pex5vsknk084sn02q'],
  ] as const;
  for (const [uuid, suffix] of vectors) assert.equal(uuidToRegisteredId(uuid), `im_${suffix}`);
});

test('whatever is neither is no imId', () => {
  for (const text of [
    '',
    ':',
    '1',
    '1:',
    ':x',
    '0:x',
    '01:x',
    '-1:x',
    '1.5:x',
    '9007199254740992:x',
    'im_',
    'im_8zzzzzzzzzzzzzzzzzzzzzzzzz',
    'im_0000000000000000000000000u',
    'IM_00000000000000000000000000',
    'im_000000000000000000000000000',
  ])
    assert.equal(parseImId(text), undefined, text);
  fc.assert(
    fc.property(illegalName, anyAppId, (name, appId) =>
      assert.equal(parseImId(`${appId}:${name}`), undefined),
    ),
  );
});

test('an appId has one spelling', () => {
  fc.assert(fc.property(anyAppId, (appId) => assert.equal(parseAppId(String(appId)), appId)));
  for (const text of ['', '0', '00', '+1', '1 ', '1e2', '0x1', '１', '9007199254740992'])
    assert.equal(parseAppId(text), undefined, text);
});

test('names are legal up to 128 bytes, by bytes and not by characters', () => {
  assert.ok(isName('x'.repeat(128)) && isName('ü'.repeat(64)) && isName('😀'.repeat(32)));
  for (const name of ['x'.repeat(129), `${'ü'.repeat(64)}x`, `${'😀'.repeat(32)}x`])
    assert.match(faultOfName(name)!, /128 bytes/);
  for (const name of [
    ':',
    '/',
    '%',
    '..',
    '.',
    '%00',
    '"',
    "'",
    '\\',
    '漢字',
    '😀',
    'a b',
    'im_x',
    '1:x',
    '{}',
    '-',
    'null',
    '__proto__',
  ])
    assert.equal(faultOfName(name), undefined, name);
});

test('a UUIDv7 tells its time and rises', () => {
  const now = new Date('2030-01-01T00:00:00.123Z');
  const made = Array.from({ length: 10_000 }, () => makeUuid(now));
  assert.deepEqual(made, made.toSorted());
  assert.equal(new Set(made).size, made.length);
  assert.ok(made.every(isUuidV7));
  assert.equal(timeOfUuid(made[0]!).getTime(), now.getTime());
});
