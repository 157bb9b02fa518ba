// A user's conversations: by whom its inbox is with, how far it has read, and how much it has not.
// Brought up to date when they are asked for: `identity.listed_seq` says how far, and everything up to there has been counted
// once.

import { sql } from 'kysely';
import type { AppId } from '../ids.ts';
import { WITHHELD } from './blocks.ts';
import { isLockTimeout } from './constraints.ts';
import type { Executor } from './database.ts';
import { makeDue } from './push_due.ts';
import { awaitMergers, toUser, type User } from './identities.ts';
import { COLUMNS, PARTIES, toInboxEntry, type EntryRow, type InboxEntry } from './messages.ts';
import { transact } from './transact.ts';

/** Up to which message somebody has read. */
export interface ReadMark {
  messageId: string;
  at: Date;
}

export interface Conversation {
  peer: User;
  /** The seq of its newest message. */
  lastSeq: number;
  last: InboxEntry | undefined;
  unread: number;
  read: ReadMark | undefined;
  /** How far the other side has read. */
  theirRead: ReadMark | undefined;
}

const PORTION = 20_000;
/** For who doesn't wait for what is locked. */
const PATIENCE_MS = 50;

interface Owner {
  appId: AppId;
  id: number;
}

/** Brings the conversations of a user up to where its inbox is. */
export async function bringUpToDate(db: Executor, owner: Owner): Promise<void> {
  if (!(await isBehind(db, owner))) return;
  while (!(await transact(db, (trx) => countPortion(trx, owner))));
}

/** As `bringUpToDate`, unless somebody has locked what it takes: then it is left to the next time. */
export async function tryBringUpToDate(db: Executor, owner: Owner): Promise<void> {
  const count = async (trx: Executor): Promise<boolean> => {
    await sql`select set_config('lock_timeout', ${String(PATIENCE_MS)}, true)`.execute(trx);
    return countPortion(trx, owner);
  };
  try {
    while (!(await transact(db, count)));
  } catch (error) {
    if (!isLockTimeout(error)) throw error;
  }
}

async function isBehind(db: Executor, { appId, id }: Owner): Promise<boolean> {
  const row = await db
    .selectFrom('identity')
    .select(['last_seq', 'listed_seq'])
    .where('app_id', '=', appId)
    .where('id', '=', id)
    .executeTakeFirst();
  return row !== undefined && row.listed_seq < row.last_seq;
}

/** True when nothing is left to count. Nobody stores in the inbox until the transaction is over. */
async function countPortion(trx: Executor, { appId, id }: Owner): Promise<boolean> {
  const row = await trx
    .selectFrom('identity')
    .select(['last_seq', 'listed_seq', 'merged_into'])
    .where('app_id', '=', appId)
    .where('id', '=', id)
    .forNoKeyUpdate()
    .executeTakeFirst();
  if (!row || row.merged_into !== null || row.listed_seq >= row.last_seq) return true;
  const until = Math.min(row.last_seq, row.listed_seq + PORTION);
  await awaitMergers(
    trx,
    appId,
    sql`
      select sender_id from message
      where app_id = ${appId} and recipient_id = ${id} and recipient_seq > ${row.listed_seq} and recipient_seq <= ${until}
      union
      select recipient_id from message
      where app_id = ${appId} and sender_id = ${id} and sender_seq > ${row.listed_seq} and sender_seq <= ${until}`,
  );
  await countEntries(trx, { appId, id }, { after: row.listed_seq, until, isNews: true });
  return until === row.last_seq;
}

const IS_WITHHELD = sql.raw(WITHHELD('m.app_id', 'm.recipient_id', 'm.recipient_seq'));
const COUNTS = sql`coalesce(i.merged_into, i.id) <> m.recipient_id and not m.is_imported and m.recalled_at is null`;

/** All in one transaction, where it has to be. */
async function countAll(trx: Executor, owner: Owner): Promise<void> {
  while (!(await countPortion(trx, owner)));
}

/** Takes what stands in an inbox between two seqs into its conversations; `isNews`: what came from others is unread. */
async function countEntries(
  trx: Executor,
  owner: Owner,
  { after, until, isNews }: { after: number; until: number; isNews: boolean },
): Promise<void> {
  const { appId, id } = owner;
  await sql`
    with entry as (
      select coalesce(i.merged_into, i.id) as peer_id, m.recipient_seq as seq, ${COUNTS} as counts, m.is_imported, m.at
      from message m join identity i on i.app_id = m.app_id and i.id = m.sender_id
      where m.app_id = ${appId} and m.recipient_id = ${id} and m.recipient_seq > ${after} and m.recipient_seq <= ${until}
        and m.recalls is null and not ${IS_WITHHELD}
      union all
      select coalesce(i.merged_into, i.id), m.sender_seq, false, m.is_imported, m.at
      from message m join identity i on i.app_id = m.app_id and i.id = m.recipient_id
      where m.app_id = ${appId} and m.sender_id = ${id} and m.sender_seq > ${after} and m.sender_seq <= ${until}
        and m.recalls is null
    ), listed_last as (
      select c.peer_id, c.last_seq as seq, m.is_imported, m.at
      from conversation c cross join lateral (
        select is_imported, at from message
          where app_id = ${appId} and recipient_id = ${id} and recipient_seq = c.last_seq
        union all
        select is_imported, at from message
          where app_id = ${appId} and sender_id = ${id} and sender_seq = c.last_seq
      ) m
      where c.app_id = ${appId} and c.owner_id = ${id} and c.peer_id in (select peer_id from entry)
    ), last as (
      -- What was brought along comes before all else, by its time.
      select distinct on (peer_id) peer_id, seq
      from (select peer_id, seq, is_imported, at from entry union all select * from listed_last) x
      order by peer_id, is_imported, case when is_imported then at end desc, seq desc
    ), listed as (
      insert into conversation as c (app_id, owner_id, peer_id, last_seq, unread)
      select ${appId}, ${id}, e.peer_id, l.seq, count(*) filter (where e.counts and ${isNews})
      from entry e join last l on l.peer_id = e.peer_id
      group by e.peer_id, l.seq order by e.peer_id
      on conflict (app_id, owner_id, peer_id) do update
        set last_seq = excluded.last_seq, unread = c.unread + excluded.unread
    )
    update identity set listed_seq = ${until} where app_id = ${appId} and id = ${id}`.execute(trx);
}

export async function countUnread(db: Executor, { appId, id }: Owner): Promise<number> {
  const { rows } = await sql<{ unread: number }>`
    select coalesce(sum(unread), 0)::bigint as unread from conversation
    where app_id = ${appId} and owner_id = ${id}`.execute(db);
  return rows[0]!.unread;
}

/** A page of a user's conversations, the newest first; `beforeSeq`: those whose newest message is older. */
export async function findConversations(
  db: Executor,
  { appId, id }: Owner,
  beforeSeq: number,
  limit: number,
): Promise<Conversation[]> {
  const { rows } = await sql<
    EntryRow & {
      peer_id: number;
      name: string;
      im_id: string | null;
      last_seq: number;
      unread: number;
      read_id: string | null;
      read_at: Date | null;
      their_read_id: string | null;
      their_read_at: Date | null;
    }
  >`
    select c.peer_id, p.name, p.im_id, c.last_seq, c.unread, c.read_id, c.read_at,
      t.read_id as their_read_id, t.read_at as their_read_at, ${sql.raw(PARTIES.columns)}
    from conversation c join identity p on p.app_id = c.app_id and p.id = c.peer_id
    left join conversation t on t.app_id = c.app_id and t.owner_id = c.peer_id and t.peer_id = c.owner_id and not exists (
      select from block b
      where b.app_id = c.app_id and b.owner_id = c.owner_id and b.blocked_id = c.peer_id and b.until_seq is null
    )
    left join lateral (
      select recipient_seq as seq, ${sql.raw(COLUMNS)} from message
        where app_id = ${appId} and recipient_id = ${id} and recipient_seq = c.last_seq
      union all
      select sender_seq, ${sql.raw(COLUMNS)} from message
        where app_id = ${appId} and sender_id = ${id} and sender_seq = c.last_seq
    ) x on true
    ${sql.raw(PARTIES.joins.replaceAll('$1', 'c.app_id'))}
    where c.app_id = ${appId} and c.owner_id = ${id} and c.last_seq < ${beforeSeq}
    order by c.last_seq desc limit ${limit}`.execute(db);
  return rows.map((row) => ({
    peer: toUser({ id: row.peer_id, name: row.name, im_id: row.im_id }),
    lastSeq: row.last_seq,
    last: row.id === null ? undefined : toInboxEntry(row, 0),
    unread: row.unread,
    read: toMark(row.read_id, row.read_at),
    theirRead: toMark(row.their_read_id, row.their_read_at),
  }));
}

function toMark(messageId: string | null, at: Date | null): ReadMark | undefined {
  return messageId === null ? undefined : { messageId, at: at! };
}

/**
 * Marks a conversation as read up to a message. `unknown`: the message is none of it; `before`: more was read already.
 */
export async function markRead(
  db: Executor,
  owner: Owner,
  peerId: number,
  messageId: string,
): Promise<ReadMark | 'unknown' | 'before'> {
  await bringUpToDate(db, owner);
  const { appId, id } = owner;
  return transact(db, async (trx) => {
    await countPortion(trx, owner);
    const { rows } = await sql<{ seq: number; at: Date | null }>`
      with found as (
        select case when m.recipient_id = ${id} then m.recipient_seq else m.sender_seq end as seq
        from message m join identity i
          on i.app_id = m.app_id and i.id = case when m.recipient_id = ${id} then m.sender_id else m.recipient_id end
        where m.app_id = ${appId} and m.id = ${messageId}::uuid and ${id} in (m.sender_id, m.recipient_id)
          and coalesce(i.merged_into, i.id) = ${peerId} and m.recalls is null
      ), marked as (
        update conversation c set read_seq = f.seq, read_id = ${messageId}::uuid, read_at = clock_timestamp(),
          -- what was read before a merger stands behind what was not
          unread = least(c.unread, (
            select count(*) from message m join identity i on i.app_id = m.app_id and i.id = m.sender_id
            where m.app_id = ${appId} and m.recipient_id = ${id} and m.recipient_seq > f.seq
              and coalesce(i.merged_into, i.id) = ${peerId} and ${COUNTS} and m.recalls is null
              and not ${IS_WITHHELD}
          ))
        from found f
        where c.app_id = ${appId} and c.owner_id = ${id} and c.peer_id = ${peerId} and c.read_seq < f.seq
        returning c.read_at
      )
      select f.seq, (select read_at from marked) as at from found f`.execute(trx);
    const [found] = rows;
    if (!found) return 'unknown';
    if (found.at !== null) await makeDue(trx, owner);
    return found.at === null ? 'before' : { messageId, at: found.at };
  });
}

/** How far a user has read with another one, who the two are, and whether the other one blocks it. */
export async function findReading(
  db: Executor,
  { appId, id }: Owner,
  peerId: number,
): Promise<{ reader: User; peer: User; mark: ReadMark; isWithheld: boolean } | undefined> {
  const { rows } = await sql<{
    reader_name: string;
    reader_im_id: string | null;
    name: string;
    im_id: string | null;
    read_id: string;
    read_at: Date;
    is_withheld: boolean;
  }>`
    select r.name as reader_name, r.im_id as reader_im_id, p.name, p.im_id, c.read_id, c.read_at, exists (
      select from block b where b.app_id = c.app_id and b.owner_id = c.peer_id and b.blocked_id = c.owner_id
        and b.until_seq is null
    ) as is_withheld
    from conversation c join identity r on r.app_id = c.app_id and r.id = c.owner_id
    join identity p on p.app_id = c.app_id and p.id = c.peer_id
    where c.app_id = ${appId} and c.owner_id = ${id} and c.peer_id = ${peerId} and c.read_id is not null`.execute(
    db,
  );
  const [row] = rows;
  return (
    row && {
      reader: toUser({ id, name: row.reader_name, im_id: row.reader_im_id }),
      peer: toUser({ id: peerId, name: row.name, im_id: row.im_id }),
      mark: { messageId: row.read_id, at: row.read_at },
      isWithheld: row.is_withheld,
    }
  );
}

/**
 * Gives one user's conversations to another, before its messages come, and the one's place in everybody's to the other.
 * What either had not read is unread. Both have to be locked.
 */
export async function mergeConversations(
  trx: Executor,
  appId: AppId,
  fromId: number,
  intoId: number,
): Promise<void> {
  const { rows } = await sql<{ count: number }>`
    select count(*) from conversation where app_id = ${appId} and owner_id in (${fromId}, ${intoId})`.execute(
    trx,
  );
  // Who has never asked for them has nothing but unread messages.
  if (rows[0]!.count > 0) for (const id of [fromId, intoId]) await countAll(trx, { appId, id });
  const union = sql`on conflict (app_id, owner_id, peer_id) do update
    set last_seq = greatest(o.last_seq, excluded.last_seq), unread = o.unread + excluded.unread,
      read_seq = least(o.read_seq, excluded.read_seq),
      read_id = case when o.read_seq >= excluded.read_seq then o.read_id else excluded.read_id end,
      read_at = case when o.read_seq >= excluded.read_seq then o.read_at else excluded.read_at end`;
  // Its seqs mean nothing in the other inbox.
  await sql`
    insert into conversation as o (app_id, owner_id, peer_id, last_seq, unread, read_id, read_at)
    select app_id, ${intoId}, peer_id, 0, case when exists (
      select from block b where b.app_id = c.app_id and b.blocked_id = c.peer_id
        and (b.owner_id = ${fromId} or b.owner_id = ${intoId} and b.until_seq is null)
    ) then 0 else unread end, read_id, read_at from conversation c
    where app_id = ${appId} and owner_id = ${fromId} and peer_id not in (${fromId}, ${intoId}) order by peer_id
    ${union}`.execute(trx);
  await sql`
    insert into conversation as o (app_id, owner_id, peer_id, last_seq, unread, read_seq, read_id, read_at)
    select app_id, owner_id, ${intoId}, last_seq, unread, read_seq, read_id, read_at from conversation
    where app_id = ${appId} and peer_id = ${fromId} and owner_id not in (${fromId}, ${intoId}) order by owner_id
    ${union}`.execute(trx);
  await sql`
    delete from conversation where app_id = ${appId} and (${fromId} in (owner_id, peer_id))`.execute(trx);
}

/**
 * Before messages of a merged user join a locked inbox: whether they were counted before its merger. The inbox is up to date
 * then; else they are counted like all others.
 */
export async function beginJoining(trx: Executor, owner: Owner, fromId: number): Promise<boolean> {
  if (await isBehind(trx, { appId: owner.appId, id: fromId })) return false;
  await countAll(trx, owner);
  return true;
}

/** After they have joined: what of them is unread is counted already, if the merged user's conversations were. */
export async function listJoined(trx: Executor, owner: Owner, fromId: number): Promise<void> {
  const find = (id: number) =>
    trx
      .selectFrom('identity')
      .select(['last_seq', 'listed_seq'])
      .where('app_id', '=', owner.appId)
      .where('id', '=', id)
      .executeTakeFirst();
  const { last_seq: until, listed_seq: after } = (await find(owner.id))!;
  if (until <= after) return;
  const from = await find(fromId);
  const isNews = from !== undefined && from.listed_seq < from.last_seq;
  await countEntries(trx, owner, { after, until, isNews });
}
