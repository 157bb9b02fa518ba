// What doesn't hold yet of signing keys, revocation, API keys and the audit trail.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { before, test } from 'node:test';
import { deleteDeadProcesses } from '../src/store/connections.ts';
import { createDatabase, eventually, startService, type Json, type Service, type Tenant } from './harness.ts';

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
  const before = await startService({ at, app: { secret: OLD, maxBlindMs: 3_000 } });
  const between = await startService({ at, app: { secret: NEW, formerSecret: OLD } });
  const app = await between.createApp();
  const headers = { 'idempotency-key': 'once' };
  const ask = (service: Service) =>
    service.call('POST', `${app.path}/tokens`, { key: app.apiKey, headers, body: { uid: 'bob' } });
  const told = await ask(between);
  assert.equal(told.status, 201);
  assert.deepEqual([(await ask(before)).status], [201]);
});

test('while the secret is rotated as documented, keys that got out can be dropped', async () => {
  const { name, connection } = await createDatabase();
  const at = { name, connection };
  const before = await startService({ at, app: { secret: OLD, maxBlindMs: 3_000 } });
  const between = await startService({ at, app: { secret: NEW, formerSecret: OLD } });
  const app = await between.createApp();
  const { items } = (await between.call('GET', '/v1/keys')).body;
  for (const { kid } of items as Json[])
    assert.equal((await between.call('DELETE', `/v1/keys/${kid}`)).status, 204);
  const token = await app.token({ uid: 'bob' });
  await new Promise((resolve) => setTimeout(resolve, 4_500));
  assert.equal(await codeOf(between, token), undefined);
  assert.equal(await codeOf(before, token), undefined);
});
