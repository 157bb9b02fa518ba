// Renaming by a CSV file of any length: all or nothing, every fault told, and nobody logged out.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { startService, type Json, type Service, type Tenant } from './harness.ts';
import { legalName } from './names.ts';
import { createRenames, toCsv, type Pair } from './rename_files.ts';

let service: Service;
before(async () => {
  service = await startService();
});
const { send, rename, dryRun, createUsers, namesOf, uidOf } = createRenames(() => service);

test('swaps, a ring and a chain of thousands are one act, in whatever order they stand', async () => {
  const count = 5_000;
  const app = await createUsers(count);
  const former = await namesOf(app);
  const moves = new Map<string, string>();
  for (let i = 0; i < 1_000; i++) moves.set(`u${i}`, `u${i ^ 1}`);
  for (let i = 1_000; i < 3_000; i++) moves.set(`u${i}`, `u${i === 2_999 ? 1_000 : i + 1}`);
  for (let i = 3_000; i < 4_999; i++) moves.set(`u${i}`, `u${i + 1}`);
  moves.set('u4999', 'new');
  const pairs = fc.sample(
    fc.shuffledSubarray([...moves], { minLength: moves.size, maxLength: moves.size }),
    1,
  )[0]!;
  const answer = await rename(app, pairs);
  assert.deepEqual([answer.status, answer.body], [200, { renamed: count }]);
  const after = new Map([...former].map(([imId, name]) => [imId, moves.get(name)!]));
  assert.deepEqual(await namesOf(app), after);
});

test('a fault in the last of many lines, and nothing is done', async () => {
  const app = await createUsers(3_000);
  const former = await namesOf(app);
  const pairs = Array.from({ length: 2_999 }, (_, i): Pair => [`u${i}`, `v${i}`]);
  await app.register('taken');
  for (const [line, status, code, pointer] of [
    ['u2999,taken\n', 409, 'conflict', '#/3001/newName'],
    ['nobody,fresh\n', 404, 'not_found', '#/3001/name'],
    ['u2999,"fresh\n', 400, 'invalid_request', '#/3001'],
    ['u2999,v0\n', 400, 'invalid_request', '#/3001/newName'],
    ['u0,fresh\n', 400, 'invalid_request', '#/3001/name'],
  ] as const) {
    const answer = await send(app, toCsv(pairs) + line);
    assert.deepEqual([answer.status, answer.body.code], [status, code], line);
    assert.deepEqual(
      answer.body.errors.map((error: Json) => error.pointer),
      [pointer],
    );
  }
  const after = await namesOf(app);
  after.delete([...after].find(([, name]) => name === 'taken')![0]);
  assert.deepEqual(after, former);
  assert.deepEqual((await app.call('GET', '/identities?formerName=u0')).body.items, []);
});

test('a dry run tells every fault in the order of the lines, and what the file comes to', async () => {
  const app = await createUsers(4);
  await app.register('taken');
  const file = [
    'name,newName',
    'u0,u1',
    'u1,u0',
    'nobody,x',
    '',
    'u2,taken',
    'u2, y',
    '"u3",u3',
    'u0,z',
    'gone,u1',
    'u2',
    'taken,u2',
  ].join('\r\n');
  const former = await namesOf(app);
  const [summary, ...faults] = (await dryRun(app, file)).toReversed();
  assert.deepEqual(
    faults.toReversed().map(({ line, name, newName, error }) => [line, name, newName, error.code]),
    [
      [4, 'nobody', 'x', 'not_found'],
      [7, 'u2', ' y', 'invalid_request'],
      [9, 'u0', 'z', 'invalid_request'],
      [10, 'gone', 'u1', 'not_found'],
      [10, 'gone', 'u1', 'invalid_request'],
      [11, undefined, undefined, 'invalid_request'],
    ],
  );
  assert.deepEqual(summary, { lines: 10, renames: 4, unchanged: 1, faults: 6 });
  const answer = await send(app, file);
  assert.deepEqual([answer.status, answer.body.code, answer.body.errors.length], [409, 'conflict', 6]);
  assert.deepEqual(await namesOf(app), former);
});

test('of many faults a dry run tells all, and the problem document the first hundred', async () => {
  const app = await createUsers(1);
  const file = toCsv(Array.from({ length: 3_000 }, (_, i): Pair => [`nobody${i}`, `n${i}`]));
  const lines = await dryRun(app, file);
  assert.deepEqual(
    lines.map(({ line }) => line),
    [...Array.from({ length: 3_000 }, (_, i) => i + 2), undefined],
  );
  assert.deepEqual(lines.at(-1), { lines: 3_000, renames: 0, unchanged: 0, faults: 3_000 });
  const { status, body } = await send(app, file);
  assert.deepEqual([status, body.code], [404, 'not_found']);
  assert.deepEqual(
    body.errors.map((error: Json) => error.pointer),
    Array.from({ length: 100 }, (_, i) => `#/${i + 2}/name`),
  );
});

test('lines that change nothing are counted as such, and keep their name from others', async () => {
  const app = await createUsers(2);
  assert.deepEqual((await rename(app, [['u0', 'u0']])).body, { renamed: 0 });
  assert.deepEqual((await send(app, 'name,newName\n')).body, { renamed: 0 });
  const answer = await rename(app, [
    ['u0', 'u0'],
    ['u1', 'u0'],
  ]);
  assert.deepEqual([answer.status, answer.body.errors[0].pointer], [400, '#/3/newName']);
});

test('a uid that nobody has used is nobody’s name, and in a registered-only app so is one that isn’t registered', async () => {
  const app = await service.createApp(['composed']);
  await app.call('POST', '/messages', { from: { uid: 'used' }, to: { uid: 'used' }, content: 1 });
  assert.deepEqual((await rename(app, [['used', 'renamed']])).body, { renamed: 1 });
  assert.equal((await rename(app, [['unused', 'renamed-too']])).status, 404);
  await service.call('PATCH', app.path, { body: { schemes: ['registered'] } });
  assert.equal((await rename(app, [['renamed', 'again']])).status, 404);
});

test('a name that was merged into a user is nobody else’s, and that user can take it on', async () => {
  const app = await createUsers(2);
  const [account] = [...(await namesOf(app)).keys()];
  const merged = await app.call('POST', `/identities/${account}/merge`, { from: { uid: 'guest' } });
  assert.equal(merged.status, 200);
  const token = await app.token({ uid: 'guest' });
  assert.equal((await rename(app, [['guest', 'other']])).body.code, 'not_found');
  assert.deepEqual((await rename(app, [['u1', 'guest']])).body.errors[0], {
    in: 'body',
    pointer: '#/2/newName',
    detail: 'is taken',
  });
  const pairs: Pair[] = [
    ['u0', 'guest'],
    ['u1', 'u0'],
  ];
  const [summary] = await dryRun(app, toCsv(pairs));
  assert.deepEqual(summary, { lines: 2, renames: 2, unchanged: 0, faults: 0 });
  assert.deepEqual((await rename(app, pairs)).body, { renamed: 2 });
  assert.deepEqual([...(await namesOf(app)).values()], ['guest', 'u0']);
  assert.equal(await uidOf(token), 'guest');
  assert.deepEqual((await rename(app, [['guest', 'u2']])).body, { renamed: 1 });
  assert.notEqual(await app.register('guest'), account);
  assert.equal(await uidOf(token), 'u2');
});

test('every legal name is renamed to every other, plain and gzipped', async () => {
  const app = await service.createApp();
  const names = [...new Set(fc.sample(legalName, 2_000))];
  const half = names.length >> 1;
  for (const name of names.slice(0, half)) await app.register(name);
  const pairs = names.slice(0, half).map((name, i): Pair => [name, names[half + i]!]);
  assert.deepEqual((await rename(app, pairs)).body, { renamed: half });
  assert.deepEqual([...(await namesOf(app)).values()], names.slice(half, 2 * half));
  const back = gzipSync(toCsv(pairs.map(([name, newName]) => [newName, name])));
  assert.deepEqual((await send(app, back, '', { 'content-encoding': 'gzip' })).body, { renamed: half });
  assert.deepEqual([...(await namesOf(app)).values()], names.slice(0, half));
});

test('after a ring of three each token acts as its user, and the next ones as the next holders', async () => {
  const app = await createUsers(3);
  const names = ['u0', 'u1', 'u2'];
  for (const uid of names) await app.call('POST', '/messages', { from: { uid }, to: { uid }, content: uid });
  const tokens = await Promise.all(names.map((uid) => app.token({ uid })));
  const socket = await service.connect(tokens[0]!);
  const early = await app.token({ uid: 'never-used' });
  for (let round = 1; round <= 4; round++) {
    const ring = names.map((name, i): Pair => [name, names[(i + 1) % 3]!]);
    assert.equal((await rename(app, ring)).status, 200);
    const next = await Promise.all(names.map((uid) => app.token({ uid })));
    assert.deepEqual(
      await Promise.all(tokens.map(uidOf)),
      names.map((_, i) => names[(i + round) % 3]),
    );
    const firstOf = async (token: string) =>
      (await service.call('GET', '/v1/me/messages', { key: token })).body.items[0].content;
    assert.deepEqual(await Promise.all(tokens.map(firstOf)), names);
    assert.deepEqual(
      await Promise.all(next.map(firstOf)),
      names.map((_, i) => names[(i + 3 * 4 - round) % 3]),
    );
    assert.deepEqual(await Promise.all(next.map(uidOf)), names);
  }
  await app.call('POST', '/messages', { from: { uid: 'x' }, to: { uid: 'u1' }, content: 'to the first' });
  assert.equal((await socket.messages(1))[0].content, 'to the first');
  const { items } = (await app.call('GET', '/identities?formerName=u0')).body;
  for (const { heldUntil } of items) assert.ok(new Date(heldUntil).getTime() < Date.now() + 1_000);
  assert.equal((await rename(app, [['u0', 'never-used']])).status, 200);
  assert.equal(await uidOf(early), 'token_revoked');
});

test('an act that is committed and not settled, as after a crash, is over for who comes next', async () => {
  const { pool } = service.database;
  const patch = (app: Tenant, uid: string, newUid: string) =>
    app.call('PATCH', `/identities/${app.appId}:${uid}`, { uid: newUid });
  const inAMinute = "now() + interval '1 minute'";
  const acts: Record<string, (app: Tenant, uid: string, newUid: string) => Promise<{ status: number }>> = {
    'by a file': (app, uid, newUid) => rename(app, [[uid, newUid]]),
    alone: patch,
  };
  const unsettled: typeof acts = {
    async 'by a file'(app, uid, newUid) {
      const answer = await rename(app, [[uid, newUid]]);
      await pool.query(`update settlement set at = ${inAMinute} where app_id = $1`, [app.appId]);
      return answer;
    },
    async alone(app, uid, newUid) {
      const answer = await patch(app, uid, newUid);
      await pool.query(
        `with act as (select app_id, id, ${inAMinute} as at from identity where app_id = $1 and name = $2),
          held as (update identity i set name_since = at from act where i.app_id = act.app_id and i.id = act.id)
        update former_name f set held_until = at from act where f.app_id = act.app_id and f.identity_id = act.id`,
        [app.appId, newUid],
      );
      return answer;
    },
  };
  for (const [first, break_] of Object.entries(unsettled))
    for (const [second, act] of Object.entries(acts)) {
      const app = await service.createApp();
      const use = (uid: string) =>
        app.call('POST', '/messages', { from: { uid }, to: { uid }, content: `of ${uid}` });
      await use('u');
      await use('v');
      const early = await app.token({ uid: 'u' });
      assert.equal((await break_(app, 'u', 'first')).status, 200);
      const between = await app.token({ uid: 'u' });
      assert.equal(await uidOf(between), 'first', 'still the former holder’s');
      // The name goes to a new user, and to one that had another name; both give it up again.
      await use('u');
      assert.equal((await act(app, 'u', 'second')).status, 200);
      assert.equal((await act(app, 'v', 'u')).status, 200);
      const third = await app.token({ uid: 'u' });
      assert.equal((await act(app, 'u', 'third')).status, 200);
      const last = await app.token({ uid: 'u' });
      await use('u');
      assert.deepEqual(
        await Promise.all([early, between, third, last].map(uidOf)),
        ['first', 'first', 'third', 'u'],
        `${first}, then ${second}`,
      );
    }
});

test('a list in JSON has its dry run as well', async () => {
  const app = await createUsers(3);
  await app.register('taken');
  const ids = [...(await namesOf(app)).keys()];
  const renames = [
    { imId: ids[0], userId: 'u1' },
    { imId: ids[1], userId: 'u0' },
    { imId: ids[2], userId: 'taken' },
    { imId: ids[2], userId: 'x' },
    { imId: 'im_00000000000000000000000000', userId: 'y' },
    { imId: ids[3], userId: 'taken' },
    { imId: `${app.appId}:unused`, uid: 'z' },
  ];
  const former = await namesOf(app);
  const { status, text } = await app.call('POST', '/identities/rename?dryRun=true', { renames });
  const lines = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.equal(status, 200);
  assert.deepEqual(
    lines.slice(0, -1).map(({ line, error }) => [line, error.code]),
    [
      [3, 'conflict'],
      [4, 'invalid_request'],
      [5, 'not_found'],
      [6, 'invalid_request'],
    ],
  );
  assert.deepEqual(lines.at(-1), { lines: 7, renames: 3, unchanged: 0, faults: 4 });
  assert.deepEqual(await namesOf(app), former);
  assert.deepEqual((await app.call('GET', '/identities')).body.items.length, 4);
});

test('another header, another encoding and no body are refused', async () => {
  const app = await createUsers(1);
  for (const [body, headers] of [
    ['uid,newName\nu0,v0\n', {}],
    ['', {}],
    [toCsv([['u0', 'v0']]), { 'content-encoding': 'gzip' }],
    [toCsv([['u0', 'v0']]), { 'content-type': 'text/plain' }],
  ] as const) {
    for (const query of ['', '?dryRun=true']) {
      const answer = await send(app, body, query, headers);
      assert.deepEqual([answer.status, answer.body.code], [400, 'invalid_request']);
    }
  }
  assert.equal((await app.call('POST', '/identities/rename')).status, 400);
  assert.deepEqual([...(await namesOf(app)).values()], ['u0']);
});

test('any file does what a simple model says', async () => {
  const pool = Array.from({ length: 8 }, (_, i) => `n${i}`);
  const app = await service.createApp();
  let model = new Map<string, string>(); // imId by name
  for (const name of pool.slice(0, 6)) model.set(name, await app.register(name));
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc
          .tuple(fc.shuffledSubarray(pool, { minLength: 1 }), fc.shuffledSubarray(pool, { minLength: 8 }))
          .map(([names, newNames]) => names.map((name, i): Pair => [name, newNames[i]!])),
        fc.array(fc.tuple(fc.constantFrom(...pool), fc.constantFrom(...pool)), { maxLength: 6 }),
      ),
      async (pairs) => {
        const expected = applyTo(model, pairs);
        const [last] = (await dryRun(app, toCsv(pairs))).toReversed();
        assert.equal(last.faults === 0, expected !== undefined);
        const answer = await rename(app, pairs);
        assert.equal(answer.status === 200, expected !== undefined);
        model = expected ?? model;
        const names = [...(await namesOf(app))].map(([imId, name]): Pair => [name, imId]);
        assert.deepEqual(new Map(names), model);
      },
    ),
    { numRuns: 40 },
  );
});

/** What a file comes to; undefined when it can't be done. */
function applyTo(model: Map<string, string>, pairs: readonly Pair[]): Map<string, string> | undefined {
  const next = new Map(model);
  for (const [name] of pairs) if (!next.delete(name)) return undefined;
  for (const [name, newName] of pairs) {
    if (next.has(newName)) return undefined;
    next.set(newName, model.get(name)!);
  }
  return next;
}
