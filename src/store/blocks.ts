// Whom users have blocked. By seqs of the owner's inbox, so that what is withheld is the same whenever it is looked at: a
// message that came while its sender was blocked stays unseen, and one from before stays.

import { sql } from 'kysely';
import type { AppId } from '../ids.ts';
import type { Executor } from './database.ts';
import { toUser, type User } from './identities.ts';
import type { InboxEntry } from './messages.ts';
import { transact } from './transact.ts';

/** A sender is blocked behind `sinceSeq`, up to `untilSeq`. */
export interface Block {
  /** Rows of the sender: the one it was merged into, too, and those that were merged into it. */
  ids: readonly number[];
  sinceSeq: number;
  /** Infinity: still. */
  untilSeq: number;
}

/** As JSON, for statements that read other things of the owner `o` as well. */
export const BLOCKS_OF = (appId: string, ownerId: string): string => `(
  select json_agg(json_build_array(array(
    select b.blocked_id union
    select i.merged_into from identity i where i.app_id = b.app_id and i.id = b.blocked_id and i.merged_into is not null union
    select i.id from identity i where i.app_id = b.app_id and i.merged_into = b.blocked_id
  ), b.since_seq, b.until_seq))
  from block b where b.app_id = ${appId} and b.owner_id = ${ownerId})`;

export type BlocksJson = [ids: number[], since: number, until: number | null][] | null;

export function toBlocks(json: BlocksJson): readonly Block[] {
  return (json ?? []).map(([ids, sinceSeq, untilSeq]) => ({
    ids,
    sinceSeq,
    untilSeq: untilSeq ?? Infinity,
  }));
}

/** All that decides what is withheld of an inbox, blocks that are over too; `version` counts their changes. */
export interface Blocks {
  readonly version: number;
  readonly all: readonly Block[];
}

/** Whether an entry of an inbox came while its sender was blocked. */
export function isWithheld(
  { all }: Blocks,
  { senderId, seq }: Pick<InboxEntry, 'senderId' | 'seq'>,
): boolean {
  if (senderId === undefined) return false;
  return all.some((block) => seq > block.sinceSeq && seq <= block.untilSeq && block.ids.includes(senderId));
}

/** As a condition: whether a message that stands at `seq` came while its sender, a row `i`, was blocked by the inbox's owner. */
export const WITHHELD = (appId: string, ownerId: string, seq: string): string => `exists (
  select from block b where b.app_id = ${appId} and b.owner_id = ${ownerId} and b.blocked_id in (i.id, i.merged_into)
    and ${seq} > b.since_seq and (b.until_seq is null or ${seq} <= b.until_seq))`;

export async function findBlocks(db: Executor, appId: AppId, ownerId: number): Promise<Blocks> {
  const { rows } = await sql<{ version: number; blocks: BlocksJson }>`
    select o.blocks_version as version, ${sql.raw(BLOCKS_OF('o.app_id', 'o.id'))} as blocks
    from identity o where o.app_id = ${appId} and o.id = ${ownerId}`.execute(db);
  const [row] = rows;
  return row ? { version: row.version, all: toBlocks(row.blocks) } : { version: 0, all: [] };
}

/** Whom a user blocks now, in the order in which it said so. */
export async function findBlocked(db: Executor, appId: AppId, ownerId: number): Promise<User[]> {
  const rows = await db
    .selectFrom('block as b')
    .innerJoin('identity as i', (join) =>
      join.onRef('i.app_id', '=', 'b.app_id').onRef('i.id', '=', 'b.blocked_id'),
    )
    .select(['i.id', 'i.name', 'i.im_id'])
    .where('b.app_id', '=', appId)
    .where('b.owner_id', '=', ownerId)
    .where('b.until_seq', 'is', null)
    // Twice where two who were blocked are one user now.
    .groupBy(['i.app_id', 'i.id'])
    .orderBy((eb) => eb.fn.min('b.position'))
    .orderBy('i.id')
    .execute();
  return rows.map(toUser);
}

/** Blocks exactly these from now on. False when the owner is gone, or merged into another user. */
export async function replaceBlocked(
  db: Executor,
  appId: AppId,
  ownerId: number,
  blockedIds: readonly number[],
): Promise<boolean> {
  return transact(db, async (trx) => {
    // Whatever comes next into the inbox has a higher seq.
    const owner = await trx
      .updateTable('identity')
      .set({ blocks_version: sql`blocks_version + 1` })
      .where('app_id', '=', appId)
      .where('id', '=', ownerId)
      .where('merged_into', 'is', null)
      .returning('last_seq')
      .executeTakeFirst();
    if (!owner) return false;
    await sql`
      update block set until_seq = ${owner.last_seq}
      where app_id = ${appId} and owner_id = ${ownerId} and until_seq is null and blocked_id <> all (${blockedIds}::bigint[])`.execute(
      trx,
    );
    // Nothing was withheld by those: they may as well never have been.
    await sql`
      delete from block b where b.app_id = ${appId} and b.owner_id = ${ownerId} and b.until_seq = ${owner.last_seq}
        and not exists (
          select from message m join identity i on i.app_id = m.app_id and i.id = m.sender_id
          where m.app_id = ${appId} and m.recipient_id = ${ownerId}
            and m.recipient_seq > b.since_seq and m.recipient_seq <= b.until_seq
            and b.blocked_id in (i.id, i.merged_into)
        )`.execute(trx);
    await sql`
      insert into block (app_id, owner_id, blocked_id, since_seq, position)
      select ${appId}, ${ownerId}, t.id, ${owner.last_seq}, t.position
      from unnest(${blockedIds}::bigint[]) with ordinality as t (id, position)
      join identity i on i.app_id = ${appId} and i.id = t.id
      where not exists (
        select from block b
        where b.app_id = ${appId} and b.owner_id = ${ownerId} and b.blocked_id = t.id and b.until_seq is null
      )
      on conflict (app_id, owner_id, blocked_id, since_seq) do update set until_seq = null, position = excluded.position`.execute(
      trx,
    );
    await sql`
      update block b set position = t.position
      from unnest(${blockedIds}::bigint[]) with ordinality as t (id, position)
      where b.app_id = ${appId} and b.owner_id = ${ownerId} and b.blocked_id = t.id and b.until_seq is null`.execute(
      trx,
    );
    return true;
  });
}

/** Of these users, who blocks whom now. */
export async function findBlockers(
  db: Executor,
  appId: AppId,
  ownerIds: readonly number[],
): Promise<{ ownerId: number; blockedId: number }[]> {
  const { rows } = await sql<{ owner_id: number; blocked_id: number }>`
    select owner_id, blocked_id from block
    where app_id = ${appId} and owner_id = any (${ownerIds}::bigint[]) and until_seq is null`.execute(db);
  return rows.map((row) => ({ ownerId: row.owner_id, blockedId: row.blocked_id }));
}

/** Deletes what came from senders while they were blocked: once they are erased, nothing tells any more that it did. */
export async function deleteWithheld(
  trx: Executor,
  appId: AppId,
  senderIds: readonly number[],
): Promise<void> {
  await sql`
    delete from message m using block b
    where b.app_id = ${appId} and b.blocked_id = any (${senderIds}::bigint[])
      and m.app_id = b.app_id and m.recipient_id = b.owner_id and m.sender_id = any (${senderIds}::bigint[])
      and m.recipient_seq > b.since_seq and (b.until_seq is null or m.recipient_seq <= b.until_seq)`.execute(
    trx,
  );
}

/**
 * Gives one user's blocks to another, for all that is about to join its inbox, and the one's place in everybody's to the
 * other. Both have to be locked.
 */
export async function mergeBlocks(
  trx: Executor,
  appId: AppId,
  fromId: number,
  intoId: number,
): Promise<void> {
  // Its own seqs mean nothing in the other inbox, so that all of a blocked sender's is withheld.
  await sql`
    insert into block as o (app_id, owner_id, blocked_id, since_seq, until_seq, position)
    select b.app_id, ${intoId}, b.blocked_id, i.last_seq,
      case when bool_and(b.until_seq is not null) then i.last_seq + (
        -- What stands between the two takes no seq, and neither does what has expired.
        select count(*) from message m where m.app_id = ${appId}
          and (m.recipient_id = ${fromId} or m.sender_id = ${fromId} and m.sender_seq is not null)
          and not coalesce(${intoId} in (m.sender_id, m.recipient_id), false)
      ) end, min(b.position)
    from block b join identity i on i.app_id = b.app_id and i.id = ${intoId}
    where b.app_id = ${appId} and b.owner_id = ${fromId} and b.blocked_id <> ${intoId} and not exists (
      select from block o where o.app_id = b.app_id and o.owner_id = ${intoId} and o.blocked_id = b.blocked_id
        and o.until_seq is null
    )
    group by b.app_id, b.blocked_id, i.last_seq
    on conflict (app_id, owner_id, blocked_id, since_seq) do update
      set until_seq = excluded.until_seq`.execute(trx);
  await sql`delete from block where app_id = ${appId} and owner_id = ${fromId}`.execute(trx);
  // Also of those who block it: a connection that isn't told must not show them the other one.
  await sql`
    with owner as materialized (
      select id from identity where app_id = ${appId} and (id = ${intoId} or id in (
        select owner_id from block where app_id = ${appId} and blocked_id = ${fromId}
      ))
      order by id for no key update
    )
    update identity i set blocks_version = i.blocks_version + 1 from owner o where i.app_id = ${appId} and i.id = o.id`.execute(
    trx,
  );
  await sql`
    insert into block as o (app_id, owner_id, blocked_id, since_seq, until_seq, position)
    select app_id, owner_id, ${intoId}, since_seq, until_seq, position from block
    where app_id = ${appId} and blocked_id = ${fromId} and owner_id <> ${intoId}
    on conflict (app_id, owner_id, blocked_id, since_seq) do update
      set until_seq = case when o.until_seq is not null and excluded.until_seq is not null
        then greatest(o.until_seq, excluded.until_seq) end`.execute(trx);
  await sql`delete from block where app_id = ${appId} and blocked_id = ${fromId}`.execute(trx);
}
