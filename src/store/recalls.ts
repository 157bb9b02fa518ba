// Recalling a message: its content goes, and a message of its own says so in both inboxes, in one transaction. So whoever
// has seen it hears of it in order, however late.

import { sql } from 'kysely';
import { makeUuid, type AppId } from '../ids.ts';
import { WITHHELD } from './blocks.ts';
import type { Executor } from './database.ts';
import { makeDue } from './push_due.ts';
import { transact } from './transact.ts';

export interface Recall {
  appId: AppId;
  senderId: number;
  /** Of the message that is recalled. */
  messageId: string;
  /** The sender's own id of the recall. */
  clientId: string;
  at: Date;
  /** What is older stays. */
  notBefore: Date;
}

/** A recall as its sender is told of it. */
export interface Recalled {
  /** Of the message that was recalled. */
  messageId: string;
  clientId: string;
  senderSeq: number;
  at: Date;
  inboxes: { appId: AppId; id: number }[];
}

/** `moved`: one of the two is just being merged. */
export async function recallMessage(
  db: Executor,
  { appId, senderId, messageId, clientId, at, notBefore }: Recall,
): Promise<Recalled | 'unknown' | 'late' | 'moved'> {
  return transact(db, async (trx) => {
    const message = await trx
      .selectFrom('message')
      .select(['sender_id', 'recipient_id', 'recipient_seq', 'at', 'is_imported', 'recalls'])
      .where('app_id', '=', appId)
      .where('id', '=', messageId)
      .executeTakeFirst();
    if (!message || message.sender_id !== senderId || message.recalls !== null) return 'unknown';
    const ids = [...new Set([senderId, message.recipient_id].filter((id) => id !== null))];
    const { rows: inboxes } = await sql<{ id: number; last_seq: number; is_moving: boolean }>`
      select id, last_seq, is_merging or merged_into is not null as is_moving from identity
      where app_id = ${appId} and id = any (${ids}::bigint[]) order by app_id, id for no key update`.execute(
      trx,
    );
    if (inboxes.some((inbox) => inbox.is_moving)) return 'moved';
    const touched = inboxes.map(({ id }) => ({ appId, id }));
    const known = await trx
      .selectFrom('message')
      .select(['client_id', 'sender_seq', 'recipient_seq', 'at'])
      .where('app_id', '=', appId)
      .where('recalls', '=', messageId)
      .executeTakeFirst();
    if (known)
      return {
        messageId,
        clientId: known.client_id,
        senderSeq: known.sender_seq ?? known.recipient_seq!,
        at: known.at,
        inboxes: touched,
      };
    if (message.at < notBefore) return 'late';
    await trx
      .updateTable('message')
      .set({ content: 'null', push: null, recalled_at: at })
      .where('app_id', '=', appId)
      .where('id', '=', messageId)
      .execute();
    // One that is recalled is not unread any more.
    await sql`
      update conversation c set unread = c.unread - 1
      from identity o, identity i, (select ${message.recipient_seq}::bigint as seq) m
      where c.app_id = ${appId} and c.owner_id = ${message.recipient_id} and c.peer_id = ${senderId} and c.owner_id <> c.peer_id
        and c.read_seq < m.seq and c.unread > 0
        and o.app_id = c.app_id and o.id = c.owner_id and o.listed_seq >= m.seq
        and i.app_id = c.app_id and i.id = c.peer_id and not ${message.is_imported}
        and not ${sql.raw(WITHHELD('c.app_id', 'c.owner_id', 'm.seq'))}`.execute(trx);
    const seqs = new Map(inboxes.map((inbox) => [inbox.id, inbox.last_seq + 1]));
    await sql`
      update identity set last_seq = last_seq + 1 where app_id = ${appId} and id = any (${[...seqs.keys()]}::bigint[])`.execute(
      trx,
    );
    const isToSelf = message.recipient_id === senderId;
    const recipientSeq = message.recipient_id === null ? undefined : seqs.get(message.recipient_id);
    await trx
      .insertInto('message')
      .values({
        app_id: appId,
        id: makeUuid(at),
        sender_id: senderId,
        sender_seq: isToSelf ? null : seqs.get(senderId)!,
        recipient_id: recipientSeq === undefined ? null : message.recipient_id,
        recipient_seq: recipientSeq ?? null,
        client_id: clientId,
        part: 0,
        content: 'null',
        push: null,
        at,
        recalled_at: null,
        recalls: messageId,
      })
      .execute();
    if (message.recipient_id !== null && !isToSelf) await makeDue(trx, { appId, id: message.recipient_id });
    return { messageId, clientId, senderSeq: seqs.get(senderId)!, at, inboxes: touched };
  });
}
