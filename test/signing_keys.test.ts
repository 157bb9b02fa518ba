// Signing keys rotate without anybody noticing, and one that got out is dropped with all that it signed.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose';
import { createDatabase, eventually, startService, type Json, type Service } from './harness.ts';

let first: Service;
let second: Service;
before(async () => {
  first = await startService();
  second = await startService({ on: first });
});

const [OLD, NEW] = ['the-old-secret-of-a-test', 'the-new-secret-of-a-test'];
const keysOf = async (service: Service): Promise<Json[]> =>
  (await service.call('GET', '/v1/keys')).body.items;
const kidOf = (token: string): string => decodeProtectedHeader(token).kid!;
const kidsOf = async (service: Service, state: string): Promise<string[]> =>
  (await keysOf(service)).filter((key) => key.state === state).map((key) => key.kid);
const jwksOf = (service: Service) => service.call('GET', '/.well-known/jwks.json', { key: '' });
const kidsShown = async (service: Service): Promise<string[]> =>
  (await jwksOf(service)).body.keys.map((key: Json) => key.kid);
const codeOf = async (service: Service, token: string) =>
  (await service.call('GET', '/v1/me', { key: token })).body.code;
/** Puts the making of all keys that stand by into the past, as far as copies of the JWKS are concerned. */
const showForLong = ({ database }: Service) =>
  database.pool.query(
    "update signing_key set created_at = created_at - interval '10 minutes' where state = 'next'",
  );

test('after a rotation the key signs that was shown before; what the other one signed is good, on every process', async () => {
  const app = await first.createApp();
  const token = await app.token({ uid: 'bob' });
  const shown = await jwksOf(first);
  const standingBy = await kidsOf(first, 'next');
  const rotated = await first.call('POST', '/v1/keys/rotate');
  assert.equal(rotated.status, 200, rotated.text);
  assert.deepEqual(rotated.body.items, await keysOf(first));
  const fresh = await app.token({ uid: 'bob' });
  assert.notEqual(kidOf(fresh), kidOf(token));
  assert.ok(standingBy.includes(kidOf(fresh)));
  // Whoever has a copy of before verifies both.
  for (const each of [token, fresh])
    await jwtVerify(each, createLocalJWKSet(shown.body), { issuer: 'https://imid.example', typ: 'imid+jwt' });
  assert.deepEqual(await kidsOf(first, 'retired'), [kidOf(token)]);
  assert.equal((await kidsOf(first, 'next')).length, 2);
  for (const service of [first, second])
    for (const each of [token, fresh]) await (await service.connect(each)).close();
  const signedBySecond = () =>
    second.call('POST', `${app.path}/tokens`, { key: app.apiKey, body: { uid: 'bob' } });
  await eventually(async () => kidOf((await signedBySecond()).body.token) === kidOf(fresh));
  assert.deepEqual(await kidsShown(second), await kidsShown(first));
});

test('a retired key has no private half any more, and is dropped when its last token is over', async () => {
  await first.call('POST', '/v1/keys/rotate');
  const [kid] = await kidsOf(first, 'retired');
  const { pool } = first.database;
  const find = async () =>
    (await pool.query('select sealed_private_jwk, retired_at from signing_key where kid = $1', [kid]))
      .rows[0];
  assert.equal((await find()).sealed_private_jwk, null);
  const { retiredAt, verifiesUntil } = (await keysOf(first)).find((key) => key.kid === kid);
  const life = Date.parse(verifiesUntil) - Date.parse(retiredAt);
  assert.ok(life > 30 * 24 * 3_600_000 && life < 31 * 24 * 3_600_000);
  await pool.query("update signing_key set retired_at = now() - interval '31 days' where kid = $1", [kid]);
  await pool.query('update service set keys_version = keys_version + 1');
  await eventually(async () => (await find()) === undefined, 'the end of the key');
  for (const service of [first, second])
    await eventually(async () => !(await kidsShown(service)).includes(kid!));
});

test('no key signs that copies of the JWKS may not have yet', async () => {
  const service = await startService();
  const statuses: number[] = [];
  for (let i = 0; i < 3; i += 1) statuses.push((await service.call('POST', '/v1/keys/rotate')).status);
  const [early] = [await service.call('POST', '/v1/keys/rotate')];
  // Two stood by from the start, when nobody had a copy.
  assert.deepEqual([...statuses, early.status], [200, 200, 409, 409]);
  assert.match(early.body.detail, /in (90|8\d) seconds/);
  await showForLong(service);
  assert.equal((await service.call('POST', '/v1/keys/rotate')).status, 200);
});

test('copies of the JWKS may be kept for a minute, and are good as long as their ETag is', async () => {
  const service = await startService();
  const shown = await jwksOf(service);
  assert.equal(shown.headers.get('cache-control'), 'public, max-age=60, must-revalidate');
  const ask = (form = (tag: string) => tag) =>
    service.call('GET', '/.well-known/jwks.json', {
      headers: { 'if-none-match': form(shown.headers.get('etag')!) },
    });
  assert.deepEqual([(await ask()).status, (await ask()).text], [304, '']);
  // As caches that zip what they pass on make of it, and as those ask that have several copies.
  for (const form of [(tag: string) => `W/${tag}`, (tag: string) => `"x", ${tag}`])
    assert.equal((await ask(form)).status, 304);
  await service.call('POST', '/v1/keys/rotate');
  assert.equal((await ask()).status, 200);
});

test('a key that is dropped takes its tokens and connections with it, at once, on every process', async () => {
  const app = await first.createApp();
  const token = await app.token({ uid: 'bob' });
  await showForLong(first);
  assert.equal((await first.call('POST', '/v1/keys/rotate')).status, 200);
  const kept = await app.token({ uid: 'carol' });
  const [here, there, others] = [
    await first.connect(token),
    await second.connect(token),
    await second.connect(kept),
  ];
  assert.equal((await first.call('DELETE', `/v1/keys/${kidOf(token)}`)).status, 204);
  for (const socket of [here, there]) assert.equal((await socket.waitClosed()).code, 4502);
  for (const service of [first, second]) {
    assert.equal(await codeOf(service, token), 'unauthorized');
    assert.equal(await codeOf(service, kept), undefined);
    assert.ok(!(await kidsShown(service)).includes(kidOf(token)));
  }
  assert.equal((await others.say({ uid: 'carol' }, 1)).type, 'sent');
  assert.equal((await first.call('DELETE', `/v1/keys/${kidOf(token)}`)).status, 404);
  const trail = (await first.call('GET', '/v1/audit?order=desc&limit=2')).body.items;
  assert.deepEqual(
    trail.map(({ actor, action, target }: Json) => [actor, action, target]),
    [
      ['admin', 'signing_key.revoke', kidOf(token)],
      ['admin', 'signing_key.rotate', kidOf(kept)],
    ],
  );
});

test('in place of a current key that is dropped the next signs, however new it is', async () => {
  const app = await first.createApp();
  for (let i = 0; i < 4; i += 1) {
    const token = await app.token({ uid: 'bob' });
    const next = await kidsOf(first, 'next');
    assert.equal((await first.call('DELETE', `/v1/keys/${kidOf(token)}`)).status, 204);
    const fresh = await app.token({ uid: 'bob' });
    assert.equal(kidOf(fresh), next[0]);
    assert.equal(await codeOf(first, token), 'unauthorized');
    assert.equal(await codeOf(second, fresh), undefined);
    assert.equal((await kidsOf(first, 'next')).length, 2);
  }
});

test('a key that gets too old is rotated by itself', async () => {
  const service = await startService({ app: { signingKeyMaxAgeMs: 300, heartbeatMs: 50 } });
  const [current] = await kidsOf(service, 'current');
  await eventually(async () => (await kidsOf(service, 'retired')).includes(current!), 'a rotation');
  const { actor, action, target } = (await service.call('GET', '/v1/audit?limit=1')).body.items[0];
  const kids = (await keysOf(service)).map((key) => key.kid);
  assert.deepEqual([actor, action, kids.includes(target)], ['service', 'signing_key.rotate', true]);
});

test('a service that is to sign otherwise lets such a key stand by, and sign when it was shown', async () => {
  const { name, connection } = await createDatabase();
  const former = await startService({ at: { name, connection } });
  const app = await former.createApp();
  const token = await app.token({ uid: 'bob' });
  await former.close();
  const after = await startService({
    at: { name, connection },
    app: { signingAlg: 'EdDSA', heartbeatMs: 50 },
  });
  const issue = () => after.call('POST', `${app.path}/tokens`, { key: app.apiKey, body: { uid: 'bob' } });
  assert.deepEqual(
    (await keysOf(after)).map((key) => [key.alg, key.state]),
    [
      ['ES256', 'current'],
      ['EdDSA', 'next'],
      ['EdDSA', 'next'],
    ],
  );
  assert.equal(kidOf((await issue()).body.token), kidOf(token));
  await showForLong(after);
  await after.database.pool.query('update service set keys_version = keys_version + 1');
  const fresh = await eventually(async () => {
    const { token: issued } = (await issue()).body;
    return decodeProtectedHeader(issued).alg === 'EdDSA' && (issued as string);
  }, 'a token signed with EdDSA');
  for (const each of [token, fresh]) await (await after.connect(each)).close();
  await jwtVerify(fresh, createLocalJWKSet((await jwksOf(after)).body), { algorithms: ['EdDSA'] });
});

test('only the admin sees and rotates signing keys, and is shown nothing private', async () => {
  const app = await first.createApp();
  for (const [method, path] of [
    ['GET', '/v1/keys'],
    ['POST', '/v1/keys/rotate'],
    ['DELETE', '/v1/keys/x'],
  ] as const) {
    assert.equal((await first.call(method, path, { key: app.apiKey })).status, 403);
    assert.equal((await first.call(method, path, { key: await app.token({ uid: 'bob' }) })).status, 403);
    assert.equal((await first.call(method, path, { key: '' })).status, 401);
  }
  for (const key of await keysOf(first))
    assert.ok(
      Object.keys(key).every((name) =>
        ['kid', 'alg', 'state', 'createdAt', 'currentSince', 'retiredAt', 'verifiesUntil'].includes(name),
      ),
    );
});

test('two processes that are to sign differently don’t take turns for ever', async () => {
  const { name, connection } = await createDatabase();
  const at = { name, connection };
  const a = await startService({ at, app: { heartbeatMs: 50 } });
  const b = await startService({ at, app: { heartbeatMs: 50, signingAlg: 'EdDSA' } });
  const { pool } = a.database;
  const minute = async (): Promise<void> => {
    await pool.query("update signing_key set created_at = created_at - interval '2 minutes'");
    await pool.query('update service set keys_version = keys_version + 1');
    await new Promise((resolve) => setTimeout(resolve, 200));
  };
  const retired = async (): Promise<number> =>
    (await pool.query("select from signing_key where state = 'retired'")).rows.length;
  for (let i = 0; i < 3; i += 1) await minute();
  for (const service of [a, b]) {
    assert.equal((await service.call('POST', '/v1/keys/rotate')).status, 200);
    await minute();
  }
  const former = await retired();
  for (let i = 0; i < 6; i += 1) await minute();
  assert.ok((await retired()) - former <= 2, `${(await retired()) - former} keys were retired`);
});

test('a key that was dropped is in the trail, also where the process that did it fails right after', async () => {
  const { name, connection } = await createDatabase();
  const at = { name, connection };
  const former = await startService({ at, app: { secret: OLD } });
  const between = await startService({ at, app: { secret: NEW, otherSecret: OLD } });
  const inState = async (state: string): Promise<Json[]> =>
    (await between.call('GET', '/v1/keys')).body.items.filter((key: Json) => key.state === state);
  for (const { kid } of await inState('next'))
    assert.equal((await between.call('DELETE', `/v1/keys/${kid}`)).status, 204);
  const [{ kid }] = (await inState('current')) as [Json];
  await former.call('DELETE', `/v1/keys/${kid}`); // 503: the one that signs now is sealed under the new secret
  const { rows } = await between.database.pool.query('select from signing_key where kid = $1', [kid]);
  assert.equal(rows.length, 0);
  const { body } = await between.call('GET', '/v1/audit?action=signing_key.revoke');
  assert.ok(body.items.some((event: Json) => event.target === kid));
});
