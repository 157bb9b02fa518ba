// What doesn't hold yet of signing keys, revocation, API keys and the audit trail.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { deleteDeadProcesses } from '../src/store/connections.ts';
import { keepKeyFile } from '../src/store/key_files.ts';
import { deleteOverRevocations } from '../src/store/revocations.ts';
import { createBox } from '../src/tokens/box.ts';
import { createCommands } from './commands.ts';
import { createDatabase, eventually, startService, type Json, type Service, type Tenant } from './harness.ts';
import { makeDirectory } from './process.ts';

const { run } = createCommands();
const [OLD, NEW] = ['the-old-secret-of-a-test', 'the-new-secret-of-a-test'];
const codeOf = async (service: Service, token: string, query = ''): Promise<string | undefined> =>
  (await service.call('GET', `/v1/me${query}`, { key: token })).body.code;
const revoke = (app: Tenant, what: object) => app.call('POST', '/tokens/revoke', what);

const merge = (app: Tenant, into: string) =>
  app.call('POST', `/identities/${into}/merge`, { from: { uid: 'guest' } });

let first: Service;
before(async () => {
  first = await startService();
});

test('what an app has revoked is refused on the process that was asked as soon as it has answered', async () => {
  const app = await first.createApp();
  const token = await app.token({ uid: 'bob' });
  assert.equal(await codeOf(first, token), undefined);
  assert.equal((await revoke(app, { all: true })).status, 204);
  assert.equal(await codeOf(first, token), 'token_revoked');
});

test('what is revoked of a user that is being merged just then stays revoked', async () => {
  const app = await first.createApp();
  const bob = await app.register('bob');
  const token = await app.token({ uid: 'guest' });
  assert.equal(await codeOf(first, token), undefined);
  const blocker = await first.database.pool.connect();
  const waiting = async (): Promise<number> => {
    const { rows } = await blocker.query(
      "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    );
    return rows.length;
  };
  let merging, revoking;
  try {
    // Holds the merger up when it has the users' rows, and is not committed.
    await blocker.query('begin');
    await blocker.query('select from app where id = $1 for no key update', [app.appId]);
    merging = merge(app, bob);
    await eventually(async () => (await waiting()) === 1, 'the merger');
    revoking = revoke(app, { uid: 'guest' });
    await eventually(async () => (await waiting()) === 2, 'the revocation');
  } finally {
    await blocker.query('rollback');
    blocker.release();
  }
  assert.equal((await merging).status, 200);
  assert.equal((await revoking).status, 204);
  assert.equal(await codeOf(first, token), 'token_revoked');
});

test('a device that both had when they were merged is revoked with the token that either was last there with', async () => {
  const app = await first.createApp();
  const carol = await app.register('carol');
  await (await app.connect({ userId: 'carol' }, { device: 'phone' })).close();
  const token = await app.token({ uid: 'guest' });
  await (await first.connect(token, { device: 'phone' })).close();
  const { pool } = first.database;
  await eventually(async () => {
    const { rows } = await pool.query('select from device where app_id = $1 and last_jti is not null', [
      app.appId,
    ]);
    return rows.length === 2;
  });
  const merged = await merge(app, carol);
  assert.ok(merged.status < 300, merged.text);
  assert.equal((await revoke(app, { userId: 'carol', deviceId: 'phone' })).status, 204);
  assert.equal(await codeOf(first, token), 'token_revoked');
});

test('what a registered user had revoked stays revoked when it is merged into one that gets its imId', async () => {
  const app = await first.createApp();
  await app.register('dora');
  const token = await app.token({ userId: 'dora' });
  assert.equal((await revoke(app, { userId: 'dora' })).status, 204);
  assert.equal(await codeOf(first, token), 'token_revoked');
  const path = `/identities/${app.appId}:guest/merge`;
  const merged = await app.call('POST', path, { from: { userId: 'dora' } });
  assert.equal(merged.status, 200, merged.text);
  assert.equal(await codeOf(first, token), 'token_revoked');
});

test('a device is revoked with the token it was last there with, though its process has crashed since', async () => {
  const app = await first.createApp();
  const token = await app.token({ uid: 'erin' });
  const client = await first.connect(token, { device: 'phone' });
  const { pool, kysely } = first.database;
  // As a process leaves it behind that was killed a minute ago.
  const { rows } = await pool.query('select * from connection where app_id = $1', [app.appId]);
  await client.close();
  await eventually(async () => {
    const left = await pool.query('select from connection where app_id = $1', [app.appId]);
    return left.rows.length === 0;
  });
  await pool.query('update device set last_jti = null where app_id = $1', [app.appId]);
  await pool.query(`insert into connection select * from json_populate_record(null::connection, $1)`, [
    { ...rows[0], process_id: randomUUID() },
  ]);
  await deleteDeadProcesses(kysely);
  assert.equal((await revoke(app, { uid: 'erin', deviceId: 'phone' })).status, 204);
  assert.equal(await codeOf(first, token), 'token_revoked');
});

test('while the secret is rotated as documented, a process with the old one opens what one with the new one keeps', async () => {
  const { name, connection } = await createDatabase();
  const at = { name, connection };
  const former = await startService({ at, app: { secret: OLD, maxBlindMs: 3_000 } });
  const between = await startService({ at, app: { secret: NEW, formerSecret: OLD } });
  const app = await between.createApp();
  const headers = { 'idempotency-key': 'once' };
  const ask = (service: Service) =>
    service.call('POST', `${app.path}/tokens`, { key: app.apiKey, headers, body: { uid: 'bob' } });
  const told = await ask(between);
  assert.equal(told.status, 201);
  assert.deepEqual([(await ask(former)).status], [201]);
});

test('while the secret is rotated as documented, keys that got out can be dropped', async () => {
  const { name, connection } = await createDatabase();
  const at = { name, connection };
  const former = await startService({ at, app: { secret: OLD, maxBlindMs: 3_000 } });
  const between = await startService({ at, app: { secret: NEW, formerSecret: OLD } });
  const app = await between.createApp();
  const { items } = (await between.call('GET', '/v1/keys')).body;
  for (const { kid } of items as Json[])
    assert.equal((await between.call('DELETE', `/v1/keys/${kid}`)).status, 204);
  const token = await app.token({ uid: 'bob' });
  await new Promise((resolve) => setTimeout(resolve, 4_500));
  assert.equal(await codeOf(between, token), undefined);
  assert.equal(await codeOf(former, token), undefined);
});

test('a key that was dropped is in the trail, also where the process that did it fails right after', async () => {
  const { name, connection } = await createDatabase();
  const at = { name, connection };
  const former = await startService({ at, app: { secret: OLD } });
  const between = await startService({ at, app: { secret: NEW, formerSecret: OLD } });
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

test('the secret in the data directory is not replaced while a process runs that has the old one', async () => {
  const directory = await makeDirectory();
  const { key: old } = await keepKeyFile(join(directory, 'secret.key'), 'ims_');
  const { name, connection } = await createDatabase();
  const running = await startService({ at: { name, connection }, app: { secret: old } });
  const { user, host, port } = connection;
  const env = {
    PATH: process.env['PATH']!,
    DATABASE_URL: `postgres://${user}@localhost:${port}/${name}?host=${host}`,
    IMID_DATA_DIR: directory,
  };
  const { code, stdout } = await run(['reseal'], { env });
  const rotated = await running.call('POST', '/v1/keys/rotate');
  const { key } = await keepKeyFile(join(directory, 'secret.key'), 'ims_');
  const box = createBox(key);
  const { rows } = await running.database.pool.query<{ sealed: string }>(
    'select sealed_private_jwk as sealed from signing_key where sealed_private_jwk is not null',
  );
  for (const { sealed } of rows) await box.open('signing-key', sealed); // or the service won't start again one day
  assert.equal(rotated.status, 200);
  assert.notEqual(code, 0, stdout);
});

test('a process that comes back within the time it may be blind closes what was revoked meanwhile', async () => {
  const deaf = await startService({
    on: first,
    app: { natsUrl: 'nats://127.0.0.1:1', heartbeatMs: 2_000, maxBlindMs: 3_600_000 },
  });
  const app = await first.createApp();
  const live = await deaf.connect(await app.token({ uid: 'bob' }));
  assert.equal((await revoke(app, { uid: 'bob' })).status, 204);
  // More than ten minutes go by.
  const { pool, kysely } = first.database;
  await pool.query("update revocation set expires_at = now() - interval '1 second' where app_id = $1", [
    app.appId,
  ]);
  await deleteOverRevocations(kysely);
  assert.equal((await live.waitClosed()).code, 4502);
});

test('two processes that are to sign differently don’t take turns for ever', async () => {
  const { name, connection } = await createDatabase();
  const at = { name, connection };
  const a = await startService({ at, app: { heartbeatMs: 200 } });
  const b = await startService({ at, app: { heartbeatMs: 200, signingAlg: 'EdDSA' } });
  const { pool } = a.database;
  const minute = async (): Promise<void> => {
    await pool.query("update signing_key set created_at = created_at - interval '2 minutes'");
    await pool.query('update service set keys_version = keys_version + 1');
    await new Promise((resolve) => setTimeout(resolve, 500));
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

test('a guest’s connection is closed when it is merged into a user that had its older tokens revoked', async () => {
  const app = await first.createApp();
  const carol = await app.register('carol');
  const token = await app.token({ uid: 'guest' });
  assert.equal((await revoke(app, { userId: 'carol' })).status, 204);
  // A while goes by: what closes connections is forgotten.
  const { pool, kysely } = first.database;
  await pool.query("update revocation set expires_at = now() - interval '1 second' where app_id = $1", [
    app.appId,
  ]);
  await deleteOverRevocations(kysely);
  const later = await startService({ on: first });
  const live = await later.connect(token);
  const path = `${app.path}/identities/${carol}/merge`;
  const merged = await later.call('POST', path, { key: app.apiKey, body: { from: { uid: 'guest' } } });
  assert.equal(merged.status, 200);
  assert.equal(await codeOf(later, token), 'token_revoked');
  assert.equal((await live.waitClosed()).code, 4502);
});

test('a process that trusts nobody is not ready, and shows no keys that it can’t vouch for', async () => {
  const { name, connection } = await createDatabase();
  const at = { name, connection };
  const former = await startService({ at, app: { secret: OLD, maxBlindMs: 1_000 } });
  const between = await startService({ at, app: { secret: NEW, formerSecret: OLD } });
  const { items } = (await between.call('GET', '/v1/keys')).body;
  for (const { kid } of items as Json[]) await between.call('DELETE', `/v1/keys/${kid}`);
  const app = await between.createApp();
  const token = await app.token({ uid: 'bob' });
  await eventually(async () => (await codeOf(former, token)) === 'unavailable');
  assert.equal((await former.call('GET', '/readyz', { key: '' })).status, 503);
});
