// Messages that are older than their app keeps them, deleted in portions that nobody has to wait for. No seq is used again.

import { sql } from 'kysely';
import { firstUuidAt, type AppId } from '../ids.ts';
import { WITHHELD } from './blocks.ts';
import type { Executor } from './database.ts';
import { transact } from './transact.ts';

const PORTION = 1_000;

/** Apps that keep their messages for so many days. */
export async function findRetentions(db: Executor): Promise<{ appId: AppId; days: number }[]> {
  const rows = await db
    .selectFrom('app')
    .select(['id', 'retention_days'])
    .where('retention_days', 'is not', null)
    .execute();
  return rows.map((row) => ({ appId: row.id as AppId, days: row.retention_days! }));
}

/** Deletes some of what an app has from before a time; false when nothing is left. A message's id begins with its time. */
export async function deleteExpired(db: Executor, appId: AppId, before: Date): Promise<boolean> {
  return transact(db, async (trx) => {
    const oldest = sql`
      select id from message where app_id = ${appId} and id < ${firstUuidAt(before)}::uuid order by id limit ${PORTION}`;
    // Nobody reads, or counts, meanwhile what is unread of it.
    await sql`
      select from identity where app_id = ${appId} and id in (
        select m.recipient_id from message m join identity s on s.app_id = m.app_id and s.id = m.sender_id
        where m.app_id = ${appId} and m.id in (${oldest}) and not exists (
          select from conversation c where c.app_id = m.app_id and c.owner_id = m.recipient_id
            and c.peer_id = coalesce(s.merged_into, s.id) and c.read_seq >= m.recipient_seq
        )
      ) order by id for no key update`.execute(trx);
    const { rows } = await sql<{ count: number }>`
    with gone as (
      delete from message where app_id = ${appId} and id in (
        ${oldest} for update skip locked
      )
      returning app_id, sender_id, recipient_id, recipient_seq, is_imported, recalled_at, recalls
    ), unread as (
      select g.recipient_id as owner_id, coalesce(i.merged_into, i.id) as peer_id, g.recipient_seq
      from gone g join identity i on i.app_id = ${appId} and i.id = g.sender_id
      where g.sender_id <> g.recipient_id and not g.is_imported and g.recalled_at is null and g.recalls is null
        and not ${sql.raw(WITHHELD('g.app_id', 'g.recipient_id', 'g.recipient_seq'))}
    ), counted as (
      select u.owner_id, u.peer_id, count(*) as count
      from unread u
      join conversation c on c.app_id = ${appId} and c.owner_id = u.owner_id and c.peer_id = u.peer_id
      join identity o on o.app_id = ${appId} and o.id = u.owner_id
      where u.recipient_seq > c.read_seq and u.recipient_seq <= o.listed_seq
      group by u.owner_id, u.peer_id
    ), fewer as (
      update conversation c set unread = greatest(0, c.unread - n.count) from counted n
      where c.app_id = ${appId} and c.owner_id = n.owner_id and c.peer_id = n.peer_id
    )
    select count(*) from gone`.execute(trx);
    return rows[0]!.count === PORTION;
  });
}
