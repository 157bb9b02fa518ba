// What Postgres reads to see what is to be pushed: what stands in the inboxes that are looked at, also where there are many more
// than when it planned that, and nobody has told it yet.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AppId } from '../src/ids.ts';
import { findPushStandings } from '../src/store/push_standings.ts';
import { startService } from './harness.ts';

const [FEW, MANY] = [20, 20_000];
/** A prepared statement is planned for good at the sixth time. */
const PLANNED = 6;

test('no more is read of all users than of those who are looked at, also right after most of them have come', async () => {
  const { database, createApp } = await startService({ app: { pushIntervalMs: 3_600_000 } });
  const { appId } = await createApp();
  const pipeline = database.openPipeline();
  const query = async (text: string): Promise<any[]> => (await pipeline.query({ text })).rows;
  const look = (firstId: number) =>
    findPushStandings(
      database,
      pipeline,
      Array.from({ length: FEW }, (_, n) => ({
        appId: Number(appId) as AppId,
        id: firstId + n,
        clears: true,
      })),
    );
  async function insertUsers(firstId: number, count: number): Promise<void> {
    const users = `generate_series(${firstId}, ${firstId + count - 1}) n`;
    for (const text of [
      `insert into identity (app_id, id, name, last_seq, has_push) overriding system value
        select ${appId}, n, 'u' || n, 1, true from ${users}`,
      `insert into device (app_id, identity_id, id, acked_seq, provider, push_token, environment, push_shown)
        select ${appId}, n, 'd', 0, 'fcm', 't' || n, 'production', '{"${firstId}": [1, 0]}' from ${users}`,
      `insert into message (app_id, id, sender_id, sender_seq, recipient_id, recipient_seq, client_id, part, content, at)
        select ${appId}, gen_random_uuid(), ${firstId}, n, n, 1, 'c' || n, 0, '1', now() from ${users}`,
      `insert into conversation (app_id, owner_id, peer_id, last_seq) select ${appId}, n, ${firstId}, 1 from ${users}`,
      `insert into connection (app_id, identity_id, device_id, process_id, id, scheme, is_foreground, token_at, jti)
        select ${appId}, n, 'd', p.id, gen_random_uuid(), 'composed', true, now(), gen_random_uuid() from process p, ${users}`,
    ])
      await query(text);
  }
  async function countRead(): Promise<number> {
    await query('select pg_stat_force_next_flush()');
    const [row] = await query(
      `select sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) as count from pg_stat_user_tables
       where relname in ('identity', 'device', 'message', 'conversation', 'connection')`,
    );
    return Number(row.count);
  }

  await insertUsers(1, FEW);
  for (let n = 0; n < PLANNED; n++) await look(1);
  await insertUsers(FEW + 1, MANY);
  const readSoFar = await countRead();
  const standings = await look(FEW + 1 + MANY / 2);
  assert.ok(standings.every((standing) => standing!.messages.length === 1));
  const read = (await countRead()) - readSoFar;
  await pipeline.close();
  assert.ok(read < MANY / 2, `${read} rows were read`);
});
