// /healthz and /readyz: one says that the process lives, the other that it can serve, or why it can't.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import pg from 'pg';
import { startGate, type Gate } from './gate.ts';
import { createDatabase, eventually, startService, type Service } from './harness.ts';

let gate: Gate;
let service: Service;
let operator: pg.Client;
before(async () => {
  const { name, connection } = await createDatabase();
  gate = await startGate(connection);
  service = await startService({ at: { name, connection: gate.connection }, app: { heartbeatMs: 100 } });
  operator = new pg.Client(connection);
  await operator.connect();
});
after(async () => {
  await operator.end();
  await gate.close();
});

/** Why it isn't ready; undefined when it is. It lives in any case. */
async function fault(): Promise<string | undefined> {
  const health = await service.call('GET', '/healthz', { key: '' });
  assert.deepEqual([health.status, health.body], [200, { status: 'ok' }]);
  const { status, headers, body } = await service.call('GET', '/readyz', { key: '' });
  if (status === 200) {
    assert.deepEqual(body, { status: 'ok' });
    return undefined;
  }
  assert.deepEqual([status, body.code], [503, 'unavailable']);
  assert.match(headers.get('content-type')!, /^application\/problem\+json/);
  assert.match(headers.get('retry-after')!, /^\d+$/);
  return body.detail as string;
}

const isReady = () => eventually(async () => (await fault()) === undefined, 'readiness');

test('ready while all is well, also where a newer version has migrated the schema further', async () => {
  await isReady();
  await operator.query("insert into kysely_migration values ('9999_of_a_newer_version', 'x')");
  assert.equal(await fault(), undefined);
  await operator.query("delete from kysely_migration where name like '9999%'");
});

test('not ready while the database is gone, or doesn’t answer in time', async () => {
  gate.shut();
  assert.match((await fault())!, /database didn’t answer/);
  gate.open();
  await isReady();
  gate.mute();
  const startedAt = performance.now();
  assert.match((await fault())!, /database didn’t answer/);
  assert.ok(performance.now() - startedAt < 2_000);
  gate.shut();
  gate.open();
  await isReady();
});

test('not ready on a schema that lacks a migration, which it names', async () => {
  const { rows } = await operator.query('delete from kysely_migration where name like $1 returning *', [
    '0006%',
  ]);
  assert.match((await fault())!, /lacks 0006_erasure\./);
  await operator.query('insert into kysely_migration values ($1, $2)', [rows[0].name, rows[0].timestamp]);
  assert.equal(await fault(), undefined);
});

test('not ready while the database takes no note of the process, though it answers', async () => {
  await operator.query('begin; lock table process in exclusive mode');
  await eventually(async () => (await fault())?.includes('not taken note of this process'));
  await operator.query('rollback');
  await isReady();
});

test('not ready while shutting down, though what is under way is finished', async () => {
  const app = await service.createApp();
  const alice = await app.connect({ uid: 'alice' });
  await alice.say({ uid: 'bob' }, 'before');
  await operator.query("begin; select from identity where name = 'bob' for update");
  alice.send({ type: 'send', id: 'last', to: { uid: 'bob' }, content: 'under way' });
  await eventually(async () => {
    const { rows } = await operator.query(
      "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    );
    return rows.length > 0;
  });
  const closing = service.close();
  assert.match((await fault())!, /^The service is shutting down\.$/);
  await operator.query('rollback');
  assert.equal((await alice.wait((frame) => frame.id === 'last')).type, 'sent');
  assert.equal((await alice.waitClosed()).code, 1001);
  await closing;
});
