// Messages of a former system on their way into inboxes.
// Invariant: as in messages.ts, an inbox's counter moves only under the lock of its row, in the statement that inserts.

import { sql } from 'kysely';
import type { AppId, Name } from '../ids.ts';
import { bigintArray, integerArray, textArray, uuidArray } from './arrays.ts';
import type { Executor } from './database.ts';
import { MERGED_MARK } from './mergers.ts';

/** What a message is known by: the sender's own id of it, or, where the sender was erased, the id of the message. */
export interface Known {
  readonly id: string;
  readonly senderId: number | undefined;
  readonly clientId: string;
  readonly part: number;
}

export interface ImportedMessage extends Known {
  /** Undefined for a message to oneself, and where the sender was erased. */
  readonly senderSeq: number | undefined;
  /** Undefined where the recipient was erased, as its seq. */
  readonly recipientId: number | undefined;
  readonly recipientSeq: number | undefined;
  /** JSON text. */
  readonly content: string;
  readonly at: Date;
}

/** Those of the messages that are there already, by their places in the list, with their seqs in the recipients' inboxes. */
export async function findKnown(
  db: Executor,
  appId: AppId,
  messages: readonly Known[],
): Promise<Map<number, { messageId: string; seq: number | undefined }>> {
  // Each by the index, one by one: without `limit` a table whose size isn't known yet is read as a whole.
  const { rows } = await sql<{ place: number; id: string; recipient_seq: number | null }>`
    select a.place, m.id, m.recipient_seq
    from unnest(${uuidArray(messages.map(({ id }) => id))}::uuid[],
      ${bigintArray(messages.map(({ senderId = 0 }) => senderId))}::bigint[],
      ${textArray(messages.map(({ clientId }) => clientId))}::text[],
      ${integerArray(messages.map(({ part }) => part))}::integer[])
      with ordinality as a (id, sender_id, client_id, part, place)
    cross join lateral (
      (select id, recipient_seq from message
        where app_id = ${appId} and sender_id = a.sender_id and part = a.part
          and client_id = any (array[a.client_id, ${MERGED_MARK} || a.client_id]) limit 1)
      union all
      (select id, recipient_seq from message where a.sender_id = 0 and app_id = ${appId} and id = a.id limit 1)
    ) m`.execute(db);
  return new Map(
    rows.map((row) => [row.place - 1, { messageId: row.id, seq: row.recipient_seq ?? undefined }]),
  );
}

export interface LockedInbox {
  readonly name: Name;
  /** Moves on as messages are numbered. */
  lastSeq: number;
  /** Messages of a user that was merged into this one are still on their way. */
  readonly isMerging: boolean;
}

/** Locks inboxes in the order of their keys; those that are missing are gone, or merged into others. */
export async function lockInboxes(
  trx: Executor,
  appId: AppId,
  ids: readonly number[],
  patienceMs: number,
): Promise<Map<number, LockedInbox>> {
  await sql`select set_config('lock_timeout', ${String(patienceMs)}, true)`.execute(trx);
  const { rows } = await sql<{ id: number; name: string; last_seq: number; is_merging: boolean }>`
    select id, name, last_seq, is_merging from identity
    where app_id = ${appId} and id = any (${bigintArray(ids)}::bigint[]) and merged_into is null
    order by id for no key update`.execute(trx);
  return new Map(
    rows.map((row) => [row.id, { name: row.name as Name, lastSeq: row.last_seq, isMerging: row.is_merging }]),
  );
}

/**
 * Inserts messages that were numbered within their locked inboxes, and moves those on to where they stand now, in one
 * statement. Throws the unique violation of message__client_id, or of message_pkey, when a message is there already.
 */
export async function insertImported(
  trx: Executor,
  appId: AppId,
  inboxes: ReadonlyMap<number, LockedInbox>,
  messages: readonly ImportedMessage[],
): Promise<void> {
  await sql`
    with moved as (
      update identity i set last_seq = t.last_seq
      from unnest(${bigintArray([...inboxes.keys()])}::bigint[],
        ${bigintArray(Array.from(inboxes.values(), ({ lastSeq }) => lastSeq))}::bigint[]) as t (id, last_seq)
      where i.app_id = ${appId} and i.id = t.id
    )
    insert into message (app_id, id, sender_id, sender_seq, recipient_id, recipient_seq, client_id, part, content, at,
      is_imported)
    select ${appId}, m.id, nullif(m.sender_id, 0), nullif(m.sender_seq, 0), nullif(m.recipient_id, 0),
      nullif(m.recipient_seq, 0), m.client_id, m.part, m.content,
      timestamptz 'epoch' + m.at_ms * interval '1 millisecond', true
    from unnest(${uuidArray(messages.map(({ id }) => id))}::uuid[],
      ${bigintArray(messages.map(({ senderId = 0 }) => senderId))}::bigint[],
      ${bigintArray(messages.map(({ senderSeq = 0 }) => senderSeq))}::bigint[],
      ${bigintArray(messages.map(({ recipientId = 0 }) => recipientId))}::bigint[],
      ${bigintArray(messages.map(({ recipientSeq = 0 }) => recipientSeq))}::bigint[],
      ${textArray(messages.map(({ clientId }) => clientId))}::text[],
      ${integerArray(messages.map(({ part }) => part))}::integer[],
      ${textArray(messages.map(({ content }) => content))}::text[],
      ${bigintArray(messages.map(({ at }) => at.getTime()))}::bigint[])
      as m (id, sender_id, sender_seq, recipient_id, recipient_seq, client_id, part, content, at_ms)`.execute(
    trx,
  );
}
