// Mergers of users that stop halfway, as those of a process that is killed.

import assert from 'node:assert/strict';
import type { AppId } from '../src/ids.ts';
import { mergeUsers } from '../src/store/mergers.ts';
import type { Service, Tenant } from './harness.ts';

/** Merges as a process does that is killed in the middle of it, where there is much to move; no other is told. */
export async function beginMerger(
  { database }: Service,
  app: Tenant,
  from: string,
  into: string,
  meanwhile = async () => {},
): Promise<void> {
  const { rows } = await database.pool.query<{ id: number; name: string }>(
    'select id, name from identity where app_id = $1',
    [app.appId],
  );
  const rowOf = (name: string) => rows.find((row) => row.name === name)!.id;
  const hashes = { ofName: () => Buffer.from(from), ofImId: () => Buffer.from(into) };
  await database.kysely.transaction().execute(async (trx) => {
    const merger = { fromId: rowOf(from), intoId: rowOf(into) };
    assert.equal(await mergeUsers(trx, Number(app.appId) as AppId, merger, hashes), 'merged');
    await meanwhile();
  });
}

/** Gives a user so many messages of another one, with the contents 0, 1, 2, ...; more than a merger moves at once. */
export async function fillInbox(
  { database }: Service,
  app: Tenant,
  { from, to, count }: { from: string; to: string; count: number },
): Promise<void> {
  for (const uid of [from, to]) await app.as({ uid }, 'GET', '');
  const { rowCount } = await database.pool.query(
    `with sender as (
       update identity set last_seq = last_seq + $4 where app_id = $1 and name = $2 returning id, last_seq - $4 as base
     ), recipient as (
       update identity set last_seq = last_seq + $4 where app_id = $1 and name = $3 returning id, last_seq - $4 as base
     )
     insert into message (app_id, id, sender_id, sender_seq, recipient_id, recipient_seq, client_id, part, content, at)
     select $1, gen_random_uuid(), s.id, s.base + n, r.id, r.base + n, 'filled-' || n, 0, (n - 1)::text, now()
     from sender s, recipient r, generate_series(1, $4::integer) as n`,
    [app.appId, from, to, count],
  );
  assert.equal(rowCount, count);
}
