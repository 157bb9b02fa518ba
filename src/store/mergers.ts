// Merging one user into another: first names, devices, contacts and the oldest messages, in one transaction; from then on
// everything leads to the other user. Then the rest of a big inbox, in portions, each a transaction that may be broken
// off and repeated.
// Invariant: nothing is merged into a stub, and a user is merged only when all that was merged into it has arrived.

import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'kysely';
import { registeredIdToUuid, type AppId, type Name, type RegisteredId } from '../ids.ts';
import { mergeBlocks } from './blocks.ts';
import { mergeContacts } from './contacts.ts';
import { beginJoining, mergeConversations, listJoined } from './conversations.ts';
import type { Executor } from './database.ts';
import { findShown, markShown, mergeDevices } from './devices.ts';
import { mergeNotificationSettings } from './notification_settings.ts';
import { mergeDue, settleJoined } from './push_due.ts';
import type { Hashes } from './former_names.ts';
import { insertFormerNames, lockNames, toFormerName } from './name_changes.ts';
import { transact } from './transact.ts';

export interface Merger {
  fromId: number;
  /** How many joined the other inbox so far; those between the two stood in it already. */
  messages: number;
}

/**
 * Makes everything that led to row `fromId` lead to row `intoId`. `gone` when one of them is there no more, or is merged
 * elsewhere; `unfinished` while messages are on their way into the row `fromId` itself. Nothing is done then.
 */
export async function mergeUsers(
  trx: Executor,
  appId: AppId,
  { fromId, intoId }: { fromId: number; intoId: number },
  hashes: Hashes,
): Promise<'merged' | 'gone' | 'unfinished'> {
  const locked = await lockNames(trx, appId, [fromId, intoId]);
  const from = locked.find((row) => row.id === fromId && row.merged_into === null);
  const into = locked.find((row) => row.id === intoId && row.merged_into === null);
  if (!from || !into) return 'gone';
  if (from.is_merging) return 'unfinished';
  await mergeConversations(trx, appId, fromId, intoId);
  await mergeBlocks(trx, appId, fromId, intoId);
  const { rows } = await sql<{ now: Date }>`
    select date_trunc('milliseconds', clock_timestamp()) as now`.execute(trx);
  await insertFormerNames(trx, [toFormerName(appId, { ...from, merged_into: intoId }, hashes, rows[0]!.now)]);
  await sql`
    update former_name set identity_id = ${intoId}, tokens_from = greatest(tokens_from, ${from.tokens_from})
    where app_id = ${appId} and identity_id = ${fromId}`.execute(trx);
  await sql`
    update identity set merged_into = ${intoId}, im_id = case when id = ${fromId} and ${into.im_id === null} then null else im_id end
    where app_id = ${appId} and (id = ${fromId} or merged_into = ${fromId})`.execute(trx);
  await sql`
    update identity i set is_merging = true, im_id = coalesce(i.im_id, ${from.im_id}::uuid),
      has_push = i.has_push or f.has_push, last_seen_at = greatest(i.last_seen_at, f.last_seen_at)
    from (select has_push, last_seen_at from identity where app_id = ${appId} and id = ${fromId}) f
    where i.app_id = ${appId} and i.id = ${intoId}`.execute(trx);
  await sql`update app set has_aliases = true where id = ${appId} and not has_aliases`.execute(trx);
  const shown = await findShown(trx, appId, fromId);
  await mergeDevices(trx, appId, fromId, intoId);
  await mergeDue(trx, appId, fromId, intoId);
  await mergeContacts(trx, appId, fromId, intoId);
  await mergeNotificationSettings(trx, appId, fromId, intoId);
  await sql`update merger set into_id = ${intoId} where app_id = ${appId} and into_id = ${fromId}`.execute(
    trx,
  );
  await sql`
    insert into merger (app_id, from_id, into_id, im_id)
    values (${appId}, ${fromId}, ${intoId}, ${into.im_id === null ? from.im_id : null}::uuid)`.execute(trx);
  // All of them, mostly: then nothing that is sent from now on comes before what was sent earlier.
  await movePortion(trx, appId, fromId);
  await markShown(trx, appId, intoId, shown);
  return 'merged';
}

const PORTION = 2_000;
/** What the ids of messages begin with that stand in for ids which both users had given; no sender can give such a one. */
export const MERGED_MARK = '\x01';

/** Whoever stores in the inbox waits for it in turn for half a second, and from then on looks whether it is free. */
const LONG_MS = 400;
const MAX_PAUSE_MS = 1_000;

/** Moves the messages of a merged user on; resolves when all have arrived. Safe to break off and to repeat. */
export async function moveMessages(db: Executor, appId: AppId, fromId: number): Promise<void> {
  for (;;) {
    const startMs = performance.now();
    if (!(await transact(db, (trx) => movePortion(trx, appId, fromId)))) return;
    const tookMs = performance.now() - startMs;
    if (tookMs > LONG_MS) await sleep(Math.min(MAX_PAUSE_MS, tookMs));
  }
}

/** False when there is nothing left to move. */
async function movePortion(trx: Executor, appId: AppId, fromId: number): Promise<boolean> {
  const merger = await trx
    .selectFrom('merger')
    .select('into_id')
    .where('app_id', '=', appId)
    .where('from_id', '=', fromId)
    .where('finished_at', 'is', null)
    .forUpdate()
    .executeTakeFirst();
  if (!merger) return false;
  const intoId = merger.into_id;
  // Keeps everybody from storing in the inbox, or under an id of its user, until this is committed.
  await sql`select from identity where app_id = ${appId} and id = ${intoId} for no key update`.execute(trx);
  const isListed = await beginJoining(trx, { appId, id: intoId }, fromId);
  // A message between the two stands in the inbox already. One to oneself has no sender's seq.
  const { rows } = await sql<{ taken: number; numbered: number }>`
    with entry as materialized (
      (select id, recipient_seq as seq from message
        where app_id = ${appId} and recipient_id = ${fromId} order by recipient_seq limit ${PORTION})
      union all
      (select id, sender_seq as seq from message
        where app_id = ${appId} and sender_id = ${fromId} and sender_seq is not null order by sender_seq limit ${PORTION})
      order by seq limit ${PORTION}
    ), moving as materialized (
      select m.id, e.seq, case
        when m.sender_id = ${intoId} then m.sender_seq
        when m.recipient_id = ${intoId} then m.recipient_seq
      end as standing_seq
      from entry e join message m on m.app_id = ${appId} and m.id = e.id
    ), inbox as (
      update identity set last_seq = last_seq + (select count(*) from moving where standing_seq is null)
      where app_id = ${appId} and id = ${intoId}
      returning last_seq - (select count(*) from moving where standing_seq is null) as base
    ), numbered as (
      select id, standing_seq,
        coalesce(standing_seq, base + count(*) filter (where standing_seq is null) over (order by seq)) as new_seq
      from moving, inbox
    ), moved as (
      update message m set
        sender_id = case m.sender_id when ${fromId} then ${intoId} else m.sender_id end,
        recipient_id = case m.recipient_id when ${fromId} then ${intoId} else m.recipient_id end,
        sender_seq = case
          when n.standing_seq is not null then null
          when m.sender_id = ${fromId} and m.recipient_id is distinct from ${fromId} then n.new_seq
          else m.sender_seq end,
        recipient_seq = case
          when m.recipient_id = ${fromId} or n.standing_seq is not null then n.new_seq
          else m.recipient_seq end,
        -- where the other user has called a message the same
        client_id = case when m.sender_id = ${fromId} and exists (
          select from message o where o.app_id = ${appId} and o.sender_id = ${intoId}
            and o.client_id = m.client_id and o.part = m.part
        ) then ${MERGED_MARK} || m.id else m.client_id end
      from numbered n where m.app_id = ${appId} and m.id = n.id
      returning n.standing_seq
    )
    -- one that is deleted under way was taken, too: there may be more behind it
    select (select count(*) from entry) as taken, count(*) filter (where standing_seq is null) as numbered
    from moved`.execute(trx);
  const { taken, numbered } = rows[0]!;
  await settleJoined(trx, { appId, id: intoId });
  if (isListed) await listJoined(trx, { appId, id: intoId }, fromId);
  await sql`
    update merger set messages = messages + ${numbered}, finished_at = case when ${taken < PORTION} then now() end
    where app_id = ${appId} and from_id = ${fromId}`.execute(trx);
  if (taken === PORTION) return true;
  await sql`
    update identity set is_merging = exists (
      select from merger where app_id = ${appId} and into_id = ${intoId} and finished_at is null
    ) where app_id = ${appId} and id = ${intoId}`.execute(trx);
  return false;
}

/** The merger that made an address lead to row `intoId`: by the row that the address itself has, or an imId brought along. */
export async function findMerger(
  db: Executor,
  appId: AppId,
  intoId: number,
  target: { by: 'name'; name: Name } | { by: 'imId'; imId: RegisteredId },
): Promise<Merger | undefined> {
  const isMeant =
    target.by === 'name'
      ? sql`i.name = ${target.name}`
      : sql`${registeredIdToUuid(target.imId)}::uuid in (i.im_id, m.im_id)`;
  const { rows } = await sql<{ from_id: number; messages: number }>`
    select m.from_id, m.messages
    from merger m join identity i on i.app_id = m.app_id and i.id = m.from_id
    where m.app_id = ${appId} and m.into_id = ${intoId} and ${isMeant}`.execute(db);
  return rows[0] && { fromId: rows[0].from_id, messages: rows[0].messages };
}

/** The merger of a row; undefined when the user it was merged into is gone. */
export async function findMerged(db: Executor, appId: AppId, fromId: number): Promise<Merger | undefined> {
  const row = await db
    .selectFrom('merger')
    .select('messages')
    .where('app_id', '=', appId)
    .where('from_id', '=', fromId)
    .executeTakeFirst();
  return row && { fromId, messages: row.messages };
}

/** Mergers whose messages are still on their way: all, or those into one row. */
export async function findUnfinishedMergers(
  db: Executor,
  into?: { appId: AppId; intoId: number },
): Promise<{ appId: AppId; fromId: number }[]> {
  let query = db.selectFrom('merger').select(['app_id', 'from_id']).where('finished_at', 'is', null);
  if (into) query = query.where('app_id', '=', into.appId).where('into_id', '=', into.intoId);
  const rows = await query.execute();
  return rows.map((row) => ({ appId: row.app_id as AppId, fromId: row.from_id }));
}
