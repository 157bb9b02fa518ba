// Messages and inboxes.
// Invariant: an inbox's counter moves only under the lock of its identity row, in the statement that also inserts
// the messages, so that seqs have no gap and become visible in order; rows are locked in one order, (app, id).

import type pg from 'pg';
import { ImidError } from '../errors.ts';
import { uuidToRegisteredId, type AppId, type Name, type RegisteredId } from '../ids.ts';
import { bigintArray, booleanArray, integerArray, textArray, uuidArray } from './arrays.ts';
import type { Pipeline } from './pipeline.ts';

/** A user as a message shows it: what it is called now. Undefined: erased. */
export type Party = { readonly name: Name; readonly imId: RegisteredId | undefined } | undefined;

/** An inbox that a batch touches: what is asked of it, and where it stood. */
export interface TouchedInbox {
  readonly appId: AppId;
  readonly id: number;
  /** How many messages of the batch it gets. */
  messages: number;
  /** Whether one of them is somebody else's. */
  receives: boolean;
  /** What its user must be called still, if it was found by a name. */
  expectedName: Name | undefined;
  /** False for senders at first: what is on its way here by a merger may be what is being repeated. */
  mayBeMerging: boolean;
  /** Known once the batch is stored: its messages of the batch are base + 1, base + 2, and so on. */
  base: number;
  party: Party;
  blocksVersion: number;
  /** Its app's backend is told of what comes while the user isn't there. */
  isTold: boolean;
  /** Something of it is to be pushed, or told. */
  isDue: boolean;
}

/** Steps are the places among the batch's messages in each inbox, from 1; the sender's is 0 for a message to oneself. */
export interface NewMessage {
  readonly id: string;
  readonly sender: TouchedInbox;
  readonly senderStep: number;
  readonly recipient: TouchedInbox;
  readonly recipientStep: number;
  readonly clientId: string;
  readonly part: number;
  /** JSON text. */
  readonly content: string;
  readonly push: string | undefined;
}

/** One line of an inbox: a message and its seq there. */
export interface InboxEntry {
  seq: number;
  messageId: string;
  senderId: number | undefined;
  clientId: string;
  from: Party;
  to: Party;
  /** JSON text; null of a message that was recalled. */
  content: string;
  at: Date;
  isImported: boolean;
  isRecalled: boolean;
  /** What this one says was recalled; else it is a message of its own. */
  recalls: string | undefined;
  /** Of the inbox's user, when it was stored or later: which blocks count for it. */
  blocksVersion: number;
}

/** A message as its sender is told of it. */
export interface SentMessage {
  part: number;
  messageId: string;
  recipientId: number | undefined;
  /** In the sender's own inbox. */
  senderSeq: number;
  recipientSeq: number;
  at: Date;
}

// Inboxes come in the order of their keys, which is the order of locking and that of `of_inbox`: a message names its two
// by their places there.
const INSERT = `
with inbox as materialized (
  select * from unnest($1::bigint[], $2::bigint[], $3::integer[], $4::text[], $5::boolean[], $16::boolean[], $17::boolean[])
    as t (app_id, id, messages, name, may_be_merging, receives, is_told)
), locked as materialized (
  select i.app_id, i.id, b.messages, b.receives, b.is_told from inbox b join identity i on i.app_id = b.app_id and i.id = b.id
  where (b.name is null or i.name = b.name collate "C") and i.merged_into is null and (b.may_be_merging or not i.is_merging)
  order by i.app_id, i.id for no key update of i
), moved as (
  update identity i set last_seq = i.last_seq + l.messages from locked l
  where i.app_id = l.app_id and i.id = l.id and (select count(*) from locked) = cardinality($1::bigint[])
  returning i.app_id, i.id, i.last_seq - l.messages as base, i.name, i.im_id, i.blocks_version,
    l.receives and (i.has_push or l.is_told) as is_due
), base as materialized (
  select array_agg(base order by app_id, id) as of_inbox from moved
), stored as (
  insert into message
    (app_id, id, sender_id, sender_seq, recipient_id, recipient_seq, client_id, part, content, push, at)
  select ($1::bigint[])[m.sender], m.id,
    ($2::bigint[])[m.sender], b.of_inbox[m.sender] + nullif(m.sender_step, 0),
    ($2::bigint[])[m.recipient], b.of_inbox[m.recipient] + m.recipient_step,
    m.client_id, m.part, m.content, m.push, $14::timestamptz
  from base b, unnest($6::uuid[], $7::integer[], $8::integer[], $9::integer[], $10::integer[], $11::text[],
    $12::integer[], $13::text[], $15::text[])
    as m (id, sender, sender_step, recipient, recipient_step, client_id, part, content, push)
  where b.of_inbox is not null
), due as (
  -- a moment later, when what connected devices ack at once is known
  insert into push_due as d (app_id, identity_id, due_at)
  select app_id, id, now() + interval '100 milliseconds' from moved where is_due
  on conflict (app_id, identity_id) do update set version = d.version + 1, due_at = least(d.due_at, excluded.due_at)
)
select id, base, name, im_id, blocks_version, is_due from moved
union all select id, null, null, null, null, null from locked where (select of_inbox from base) is null`;

/**
 * Stores a batch and moves the counters of every inbox it touches, in one statement; each inbox is then told where it
 * stood. Gives back the inboxes that were in the way, and nothing is stored, when some are gone, merged or not called
 * what was expected. Throws the unique violation of message__client_id, and nothing is stored, when a message is there
 * already.
 */
export async function insertMessages(
  pipeline: Pipeline,
  touched: Iterable<TouchedInbox>,
  messages: readonly NewMessage[],
  at: Date,
): Promise<TouchedInbox[]> {
  const inboxes = [...touched].toSorted((a, b) => a.appId - b.appId || a.id - b.id);
  const places = new Map(inboxes.map((inbox, i) => [inbox, i + 1]));
  const { rows } = await pipeline.query<{
    id: number;
    base: number | null;
    name: string;
    im_id: string | null;
    blocks_version: number;
    is_due: boolean;
  }>({
    name: 'insert_messages',
    text: INSERT,
    values: [
      bigintArray(inboxes.map((inbox) => inbox.appId)),
      bigintArray(inboxes.map((inbox) => inbox.id)),
      integerArray(inboxes.map((inbox) => inbox.messages)),
      textArray(inboxes.map((inbox) => inbox.expectedName ?? null)),
      booleanArray(inboxes.map((inbox) => inbox.mayBeMerging)),
      uuidArray(messages.map((message) => message.id)),
      integerArray(messages.map((message) => places.get(message.sender)!)),
      integerArray(messages.map((message) => message.senderStep)),
      integerArray(messages.map((message) => places.get(message.recipient)!)),
      integerArray(messages.map((message) => message.recipientStep)),
      textArray(messages.map((message) => message.clientId)),
      integerArray(messages.map((message) => message.part)),
      textArray(messages.map((message) => message.content)),
      at,
      textArray(messages.map((message) => message.push ?? null)),
      booleanArray(inboxes.map((inbox) => inbox.receives)),
      booleanArray(inboxes.map((inbox) => inbox.isTold)),
    ],
  });
  const found = new Map(rows.map((row) => [row.id, row]));
  const inTheWay = inboxes.filter((inbox) => !found.has(inbox.id));
  if (inTheWay.length > 0) return inTheWay;
  for (const inbox of inboxes) {
    const row = found.get(inbox.id)!;
    inbox.base = row.base!;
    inbox.party = toParty(row.name, row.im_id);
    inbox.blocksVersion = row.blocks_version;
    inbox.isDue = row.is_due;
  }
  return [];
}

/** Those of the inboxes that somebody else has locked right now; one that is gone is not among them. */
export async function findLockedInboxes(
  pool: pg.Pool,
  inboxes: readonly { appId: AppId; id: number }[],
): Promise<Set<number>> {
  const { rows } = await pool.query<{ id: number }>({
    name: 'find_locked_inboxes',
    text: `with asked as materialized (
        select app_id, id from identity where (app_id, id) in (select * from unnest($1::bigint[], $2::bigint[]))
      ), free as materialized (
        select app_id, id from identity where (app_id, id) in (select app_id, id from asked)
        for no key update skip locked
      )
      select id from asked where id not in (select id from free)`,
    values: [bigintArray(inboxes.map((inbox) => inbox.appId)), bigintArray(inboxes.map((inbox) => inbox.id))],
  });
  return new Set(rows.map((row) => row.id));
}

/** Those of the senders who have stored something under one of these ids of theirs already. */
export async function findRepeaters(
  pool: pg.Pool,
  sends: readonly { appId: AppId; senderId: number; clientId: string }[],
): Promise<Set<number>> {
  const { rows } = await pool.query<{ sender_id: number }>({
    name: 'find_repeaters',
    text: `select distinct m.sender_id
      from unnest($1::bigint[], $2::bigint[], $3::text[]) as s (app_id, sender_id, client_id)
      join message m on m.app_id = s.app_id and m.sender_id = s.sender_id and m.client_id = s.client_id`,
    values: [
      bigintArray(sends.map((send) => send.appId)),
      bigintArray(sends.map((send) => send.senderId)),
      textArray(sends.map((send) => send.clientId)),
    ],
  });
  return new Set(rows.map((row) => row.sender_id));
}

/**
 * The messages that a sender stored under an id of its own, one per part. Throws `unavailable` while one of them is on
 * its way into the sender's inbox by a merger, since it has no seq there yet.
 */
export async function findSentMessages(
  pool: pg.Pool,
  appId: AppId,
  senderId: number,
  clientId: string,
): Promise<SentMessage[]> {
  const { rows } = await pool.query<{
    part: number;
    id: string;
    sender_id: number;
    recipient_id: number | null;
    sender_seq: number | null;
    recipient_seq: number;
    at: Date;
  }>({
    name: 'find_sent_messages',
    text: `select part, id, sender_id, recipient_id, sender_seq, recipient_seq, at from message
      where app_id = $1 and client_id = $3 and sender_id = any (array(
        select $2::bigint union all
        select from_id from merger where app_id = $1 and into_id = $2 and finished_at is null
      )) order by part`,
    values: [appId, senderId, clientId],
  });
  if (rows.some((row) => row.sender_id !== senderId))
    throw new ImidError('unavailable', 'Two users are being merged; send it again.');
  return rows.map((row) => ({
    part: row.part,
    messageId: row.id,
    recipientId: row.recipient_id ?? undefined,
    senderSeq: row.sender_seq ?? row.recipient_seq,
    recipientSeq: row.recipient_seq,
    at: row.at,
  }));
}

/** What of a message is read, beside its seq; to be named `x` for `PARTIES`. */
export const COLUMNS =
  'id, sender_id, recipient_id, client_id, content, at, is_imported, recalled_at, recalls';

const NAMES = `coalesce(sm.name, s.name) as sender_name, case when sm.id is null then s.im_id else sm.im_id end as sender_im_id,
  coalesce(rm.name, r.name) as recipient_name, case when rm.id is null then r.im_id else rm.im_id end as recipient_im_id`;

/** Who the two of a message `x` of the app `$1` are now, as columns of `EntryRow`. */
export const PARTIES = {
  names: NAMES,
  columns: `x.seq, x.id, x.sender_id, x.client_id, x.content, x.at, x.is_imported,
  x.recalled_at is not null as is_recalled, x.recalls, ${NAMES}`,
  joins: `left join identity s on s.app_id = $1 and s.id = x.sender_id
left join identity sm on sm.app_id = $1 and sm.id = s.merged_into
left join identity r on r.app_id = $1 and r.id = x.recipient_id
left join identity rm on rm.app_id = $1 and rm.id = r.merged_into`,
};

const READ = `
select ${PARTIES.columns},
  (select blocks_version from identity where app_id = $1 and id = $2) as blocks_version
from (
  (select recipient_seq as seq, ${COLUMNS} from message
    where app_id = $1 and recipient_id = $2 and recipient_seq > $3 order by recipient_seq limit $4)
  union all
  (select sender_seq as seq, ${COLUMNS} from message
    where app_id = $1 and sender_id = $2 and sender_seq > $3 order by sender_seq limit $4)
  order by seq limit $4
) x
${PARTIES.joins}
order by x.seq`;

export interface EntryRow {
  seq: number;
  id: string;
  sender_id: number | null;
  client_id: string;
  content: string;
  at: Date;
  is_imported: boolean;
  is_recalled: boolean;
  recalls: string | null;
  sender_name: string | null;
  sender_im_id: string | null;
  recipient_name: string | null;
  recipient_im_id: string | null;
}

/** The inbox from behind `afterSeq`, in order; without a gap up to what is committed. */
export async function findInboxEntries(
  pool: pg.Pool,
  appId: AppId,
  identityId: number,
  afterSeq: number,
  limit: number,
): Promise<InboxEntry[]> {
  const { rows } = await pool.query<EntryRow & { blocks_version: number | null }>({
    name: 'find_inbox_entries',
    text: READ,
    values: [appId, identityId, afterSeq, limit],
  });
  return rows.map((row) => toInboxEntry(row, row.blocks_version ?? 0));
}

export function toInboxEntry(row: EntryRow, blocksVersion: number): InboxEntry {
  return {
    seq: row.seq,
    messageId: row.id,
    senderId: row.sender_id ?? undefined,
    clientId: row.client_id,
    from: toParty(row.sender_name, row.sender_im_id),
    to: toParty(row.recipient_name, row.recipient_im_id),
    content: row.content,
    at: row.at,
    isImported: row.is_imported,
    isRecalled: row.is_recalled,
    recalls: row.recalls ?? undefined,
    blocksVersion,
  };
}

/** Where an inbox stands; undefined when its user is gone, or merged into another one. */
export async function findLastSeq(
  pool: pg.Pool,
  appId: AppId,
  identityId: number,
): Promise<number | undefined> {
  const { rows } = await pool.query<{ last_seq: number }>({
    name: 'find_last_seq',
    text: 'select last_seq from identity where app_id = $1 and id = $2 and merged_into is null',
    values: [appId, identityId],
  });
  return rows[0]?.last_seq;
}

export function toParty(name: string | null, imId: string | null): Party {
  if (name === null) return undefined;
  return { name: name as Name, imId: imId === null ? undefined : uuidToRegisteredId(imId) };
}
