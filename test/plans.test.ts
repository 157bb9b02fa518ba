// What Postgres reads: no more than is asked for, also where there is much that it doesn't know of when it plans that.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AppId } from '../src/ids.ts';
import { openDatabase } from '../src/store/database.ts';
import type { Pipeline } from '../src/store/pipeline.ts';
import { findPushStandings } from '../src/store/push_standings.ts';
import { analyze, findGrown, keepStatistics } from '../src/store/statistics.ts';
import { createDatabase, eventually, startService, urlOf, type Service, type Tenant } from './harness.ts';

const [FEW, MANY] = [20, 20_000];

/** Users u1, u2, ..., each with a device that shows something, a message of the first one, a conversation and a connection. */
async function insertUsers(
  db: Pick<Pipeline, 'query'>,
  { appId }: Tenant,
  firstId: number,
  count: number,
): Promise<void> {
  const users = `generate_series(${firstId}, ${firstId + count - 1}) n`;
  for (const text of [
    `insert into identity (app_id, id, name, last_seq, has_push) overriding system value
      select ${appId}, n, 'u' || n, case n when ${firstId} then ${firstId + count} else 1 end, true from ${users}`,
    `insert into device (app_id, identity_id, id, acked_seq, provider, push_token, environment, push_shown)
      select ${appId}, n, 'd', 0, 'fcm', 't' || n, 'production', '{"${firstId}": [1, 0]}' from ${users}`,
    `insert into message (app_id, id, sender_id, sender_seq, recipient_id, recipient_seq, client_id, part, content, at)
      select ${appId}, gen_random_uuid(), ${firstId}, n, n, 1, 'c' || n, 0, '1', now() from ${users}`,
    `insert into conversation (app_id, owner_id, peer_id, last_seq) select ${appId}, n, ${firstId}, 1 from ${users}`,
    `insert into connection (app_id, identity_id, device_id, process_id, id, scheme, is_foreground, token_at, jti)
      select ${appId}, n, 'd', p.id, gen_random_uuid(), 'composed', true, now(), gen_random_uuid() from process p, ${users}`,
  ])
    await db.query({ text });
}

/** How many rows have been read by whoever has left the database, or has just said so. */
async function countRead({ database }: Service): Promise<number> {
  const { rows } = await database.pool.query<{ count: string }>(
    `select sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) as count from pg_stat_user_tables
     where relname in ('identity', 'device', 'message', 'conversation')`,
  );
  return Number(rows[0]!.count);
}

test('no more is read of all users than of those who are looked at, also soon after most of them have come', async () => {
  const service = await startService({ app: { pushIntervalMs: 3_600_000 } });
  const { database } = service;
  const app = await service.createApp();
  const pipeline = database.openPipeline();
  const flush = () => pipeline.query({ text: 'select pg_stat_force_next_flush()' });
  const look = (firstId: number) =>
    findPushStandings(
      database,
      pipeline,
      Array.from({ length: FEW }, (_, n) => ({
        appId: Number(app.appId) as AppId,
        id: firstId + n,
        clears: true,
      })),
    );
  await insertUsers(pipeline, app, 1, FEW);
  await look(1); // which is planned for as few
  await insertUsers(pipeline, app, FEW + 1, MANY);
  await flush();
  for (const table of await findGrown(database.pool)) await analyze(database.pool, table);
  const readSoFar = await countRead(service);
  const standings = await look(FEW + 1 + MANY / 2);
  assert.ok(standings.every((standing) => standing!.messages.length === 1));
  await flush();
  const read = (await countRead(service)) - readSoFar;
  await pipeline.close();
  assert.ok(read < MANY / 2, `${read} rows were read`);
});

test('tables that have grown are analyzed at the next look, and left alone from then on', async (t) => {
  const service = await startService({ app: { pushIntervalMs: 3_600_000 } });
  const { pool } = service.database;
  await insertUsers(pool, await service.createApp(), 1, 1_000);
  t.mock.timers.enable({ apis: ['setInterval'] });
  const statistics = keepStatistics(pool, (message, error) => assert.fail(`${message}: ${error.message}`));
  const count = async (): Promise<number[]> => {
    const { rows } = await pool.query<{ count: number }>(
      "select analyze_count::integer as count from pg_stat_user_tables where relname in ('device', 'message')",
    );
    return rows.map((row) => row.count);
  };
  await eventually(async () => {
    t.mock.timers.tick(10_000);
    return (await count()).every((times) => times > 0);
  }, 'both to be analyzed');
  t.mock.timers.tick(10_000);
  await statistics.stop();
  assert.deepEqual([await count(), await findGrown(pool)], [[1, 1], []]);
});

test('an app that has come since the tables were analyzed is read no more of than another one', async () => {
  const service = await startService({ app: { pushIntervalMs: 3_600_000 } });
  const known = await service.createApp();
  const grown = await service.createApp();
  const filling = service.database.openPipeline();
  await insertUsers(filling, known, MANY + 1, FEW);
  await filling.query({ text: 'analyze' });
  await insertUsers(filling, grown, 1, MANY);
  await filling.close(); // what it has read itself is counted by then
  const other = await startService({ on: service });
  const ask = (path: string, body: object) =>
    other.call('POST', `${grown.path}${path}`, { key: grown.apiKey, body });
  const readSoFar = await countRead(service);
  const found = await ask('/resolve', { addresses: ['u7', 'u8', 'u9'].map((uid) => ({ uid })) });
  assert.equal(found.status, 200, found.text);
  for (const id of ['new', 'new', 'c3']) {
    const sent = await ask('/messages', { from: { uid: 'u1' }, to: { uid: 'u2' }, content: 1, id });
    assert.ok([201, 409].includes(sent.status), sent.text);
  }
  await other.close();
  const read = (await countRead(service)) - readSoFar;
  assert.ok(read < MANY / 2, `${read} rows were read`);
});

test('a database is planned for so however it is named, beside what its URL asks for', async () => {
  const { name, connection } = await createDatabase();
  const show = async (url: string) => {
    const database = await openDatabase({ connection: { connectionString: url }, log: () => {} });
    const { rows } = await database.pool.query(
      "select current_setting('plan_cache_mode') as plans, current_setting('work_mem') as memory",
    );
    await database.close();
    return rows[0];
  };
  const url = urlOf(connection, name);
  assert.equal((await show(url)).plans, 'force_generic_plan');
  const both = await show(`${url}&options=${encodeURIComponent('-c work_mem=7MB')}`);
  assert.deepEqual(both, { plans: 'force_generic_plan', memory: '7MB' });
  const own = await show(`${url}&options=${encodeURIComponent('-c plan_cache_mode=auto')}`);
  assert.equal(own.plans, 'auto');
});
