// What the backends of apps have not been told yet. An event is written by the transaction in which it happens, and stays until
// it was told, is too old, or too much has come behind it.

import { sql } from 'kysely';
import { firstUuidAt, makeUuid, type AppId } from '../ids.ts';
import type { Executor } from './database.ts';
import { toUser, type User } from './identities.ts';

/** What happened, as it is written down; `userId` and `senderId` are rows of identities. */
export type NewWebhookEvent =
  | {
      /** Somebody who isn't there has got a message; `devices`: how many of theirs are pushed to. */
      type: 'message.offline';
      userId: number;
      /** Undefined: erased. */
      senderId: number | undefined;
      messageId: string;
      seq: number;
      at: Date;
      unread: number;
      devices: number;
    }
  /** The provider says that the push token of a device is dead. */
  | { type: 'device.gone'; userId: number; deviceId: string; provider: string }
  /** A push was given up. */
  | {
      type: 'push.failed';
      userId: number;
      deviceId: string;
      provider: string;
      messageId: string;
      reason: string;
    };

export type WebhookEventType = NewWebhookEvent['type'];
export const webhookEventTypes = [
  'message.offline',
  'device.gone',
  'push.failed',
] as const satisfies WebhookEventType[];

/** One that was taken to be told; nobody else takes it until the lease is over. */
export interface WebhookEvent {
  appId: AppId;
  /** A UUIDv7; the same however often it is told. */
  id: string;
  type: WebhookEventType;
  at: Date;
  /** As they are called now; undefined: erased. */
  user: User | undefined;
  sender: User | undefined;
  /** JSON text of all but the users. */
  data: string;
  /** How often it was taken, this time included. */
  attempts: number;
}

/**
 * Writes down what happened, in the transaction in which it did; nothing where the app has no webhook that is told of this
 * type, or where the user is gone. `now`: by the database's clock.
 */
export async function insertEvents(
  db: Executor,
  appId: AppId,
  events: readonly NewWebhookEvent[],
  now: Date,
): Promise<void> {
  if (events.length === 0) return;
  const rows = events.map((event) => {
    const { type, userId, ...data } = event;
    const { senderId = null, ...rest } = 'senderId' in data ? data : { ...data, senderId: undefined };
    return { id: makeUuid(now), type, userId, senderId, data: JSON.stringify(rest) };
  });
  // Locked, since who is deleted meanwhile would be missed by the foreign keys, and fail the caller's transaction.
  await sql`
    insert into webhook_event (app_id, id, type, at, user_id, sender_id, data, due_at)
    select w.app_id, t.id, t.type, ${now}, i.id, t.sender_id, t.data, ${now}
    from unnest(${rows.map((row) => row.id)}::uuid[], ${rows.map((row) => row.type)}::text[],
      ${rows.map((row) => row.userId)}::bigint[], ${rows.map((row) => row.senderId)}::bigint[],
      ${rows.map((row) => row.data)}::text[]) as t (id, type, user_id, sender_id, data)
    join webhook w on w.app_id = ${appId} and w.disabled_at is null and t.type = any(w.events)
    join identity i on i.app_id = w.app_id and i.id = t.user_id
    for key share of w, i`.execute(db);
}

export interface EventLease {
  leaseMs: number;
  /** Of each app. */
  perApp: number;
  limit: number;
  /** Apps that none is taken of. */
  except: readonly AppId[];
}

/** Takes what is due, of as many apps as there are, those that wait longest first; a lease that is over makes it due again. */
export async function leaseEvents(
  db: Executor,
  { leaseMs, perApp, limit, except }: EventLease,
): Promise<WebhookEvent[]> {
  const { rows } = await sql<{
    app_id: number;
    id: string;
    type: string;
    at: Date;
    data: string;
    attempts: number;
    user_id: number | null;
    user_name: string;
    user_im_id: string | null;
    sender_id: number | null;
    sender_name: string;
    sender_im_id: string | null;
  }>`
    with due as (
      select t.app_id, t.id from webhook w cross join lateral (
        select e.app_id, e.id, e.due_at from webhook_event e
        where e.app_id = w.app_id and e.due_at <= now()
        order by e.due_at limit ${perApp} for update skip locked
      ) t
      where w.disabled_at is null and w.app_id <> all(${except}::bigint[])
      order by row_number() over (partition by t.app_id order by t.due_at), t.due_at limit ${limit}
    ), leased as (
      update webhook_event e
      set attempts = e.attempts + 1, due_at = now() + ${leaseMs} * interval '1 millisecond'
      from due d where e.app_id = d.app_id and e.id = d.id
      returning e.*
    )
    select l.app_id, l.id, l.type, l.at, l.data, l.attempts, u.id as user_id, u.name as user_name, u.im_id as user_im_id,
      s.id as sender_id, s.name as sender_name, s.im_id as sender_im_id
    from leased l
    left join identity ur on ur.app_id = l.app_id and ur.id = l.user_id
    left join identity u on u.app_id = l.app_id and u.id = coalesce(ur.merged_into, ur.id)
    left join identity sr on sr.app_id = l.app_id and sr.id = l.sender_id
    left join identity s on s.app_id = l.app_id and s.id = coalesce(sr.merged_into, sr.id)`.execute(db);
  const called = (id: number | null, name: string, imId: string | null): User | undefined =>
    id === null ? undefined : toUser({ id, name, im_id: imId });
  return rows.map((row) => ({
    appId: row.app_id as AppId,
    id: row.id,
    type: row.type as WebhookEventType,
    at: row.at,
    user: called(row.user_id, row.user_name, row.user_im_id),
    sender: called(row.sender_id, row.sender_name, row.sender_im_id),
    data: row.data,
    attempts: row.attempts,
  }));
}

/** Gives one back: done, or to be taken again at a time, unless somebody else has taken it since. */
export async function returnEvent(
  db: Executor,
  { appId, id, attempts }: Pick<WebhookEvent, 'appId' | 'id' | 'attempts'>,
  again?: Date,
): Promise<void> {
  const isIt = sql`app_id = ${appId} and id = ${id}::uuid`;
  if (!again) await sql`delete from webhook_event where ${isIt}`.execute(db);
  else
    await sql`update webhook_event set due_at = ${again} where ${isIt} and attempts = ${attempts}`.execute(
      db,
    );
}

/** Deletes what happened before a time; gives back the types. An event's id begins with its time. */
export async function deleteOldEvents(db: Executor, before: Date): Promise<string[]> {
  const { rows } = await sql<{ type: string }>`
    delete from webhook_event e using webhook w
    where e.app_id = w.app_id and e.id < ${firstUuidAt(before)}::uuid returning e.type`.execute(db);
  return rows.map(({ type }) => type);
}

/** Deletes the oldest of what an app has too many of; gives back the types. */
export async function deleteSurplusEvents(db: Executor, maxPerApp: number): Promise<string[]> {
  const { rows } = await sql<{ type: string }>`
    delete from webhook_event e using webhook w cross join lateral (
      select id from webhook_event where app_id = w.app_id order by id desc offset ${maxPerApp} limit 1
    ) newest
    where e.app_id = w.app_id and e.id <= newest.id returning e.type`.execute(db);
  return rows.map(({ type }) => type);
}
