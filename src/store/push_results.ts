// What came of pushes, written down for many devices at a time.

import { sql } from 'kysely';
import type pg from 'pg';
import type { AppId } from '../ids.ts';
import { bigintArray, integerArray, textArray } from './arrays.ts';
import type { Executor } from './database.ts';
import { inOrder } from './devices.ts';
import { toUser, type User } from './identities.ts';
import type { Pushable } from './pushables.ts';
import type { PushStanding, Shown } from './push_standings.ts';
import { transact } from './transact.ts';
import { insertEvents } from './webhook_events.ts';

/** A device, as long as it still has the push token that was used. */
export interface PushResult {
  appId: AppId;
  identityId: number;
  deviceId: string;
  token: string;
  /** Up to here everything was pushed, or never will be. */
  settledSeq: number;
  /** Undefined: nothing is to be tried again. */
  retryAt: Date | undefined;
  attempts: number;
  shown: readonly Omit<Shown, 'isOver'>[];
}

export interface NewPushFailure {
  deviceId: string;
  provider: string;
  messageId: string;
  reason: string;
}

const STORE = `
update device d set pushed_seq = greatest(d.pushed_seq, q.seq), push_attempts = q.attempts,
  push_retry_at = q.retry_at::timestamptz, push_shown = q.shown::jsonb
from unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::integer[], $7::text[], $8::text[])
  as q (app_id, identity_id, id, token, seq, attempts, retry_at, shown)
where d.app_id = q.app_id and d.identity_id = q.identity_id and d.id = q.id and d.push_token = q.token`;

export async function storePushResults(pool: pg.Pool, results: readonly PushResult[]): Promise<void> {
  if (results.length === 0) return;
  const ordered = inOrder(results);
  await pool.query({
    name: 'store_push_results',
    text: STORE,
    values: [
      bigintArray(ordered.map(({ appId }) => appId)),
      bigintArray(ordered.map(({ identityId }) => identityId)),
      textArray(ordered.map(({ deviceId }) => deviceId)),
      textArray(ordered.map(({ token }) => token)),
      bigintArray(ordered.map(({ settledSeq }) => settledSeq)),
      integerArray(ordered.map(({ attempts }) => attempts)),
      textArray(ordered.map(({ retryAt }) => retryAt?.toISOString() ?? null)),
      textArray(ordered.map(({ shown }) => writeShown(shown))),
    ],
  });
}

function writeShown(shown: PushResult['shown']): string {
  return `{${shown.map(({ peerId, seq, atMs }) => `"${peerId}":[${seq},${atMs}]`).join(',')}}`;
}

/** What the backend of an app is to be told of an inbox. */
export interface PushNews {
  appId: AppId;
  userId: number;
  failures: readonly NewPushFailure[];
  /** What has come while the user wasn't there; up to `toldSeq` it was told then. */
  offline: { messages: readonly Pushable[]; toldSeq?: number | undefined };
  standing: Pick<PushStanding, 'unread' | 'devices'>;
}

export async function storeNews(
  db: Executor,
  { appId, userId, failures, offline: { messages, toldSeq }, standing }: PushNews,
  now: Date,
): Promise<void> {
  await transact(db, async (trx) => {
    // It may be erased just now.
    const { rows } = await sql`
      select from identity where app_id = ${appId} and id = ${userId} for key share`.execute(trx);
    if (rows.length === 0) return;
    if (failures.length > 0)
      await trx
        .insertInto('push_failure')
        .values(
          failures.map(({ deviceId, provider, messageId, reason }) => ({
            app_id: appId,
            identity_id: userId,
            device_id: deviceId,
            provider,
            message_id: messageId,
            reason,
          })),
        )
        .execute();
    if (toldSeq !== undefined)
      await sql`
        insert into offline_told as o (app_id, identity_id, seq) values (${appId}, ${userId}, ${toldSeq})
        on conflict (app_id, identity_id) do update set seq = greatest(o.seq, excluded.seq)`.execute(trx);
    const offline = messages.map(({ messageId, seq, at, sender }) => ({
      type: 'message.offline' as const,
      userId,
      senderId: sender?.id,
      messageId,
      seq,
      at,
      unread: standing.unread,
      devices: standing.devices.length,
    }));
    const failed = failures.map((failure) => ({ type: 'push.failed' as const, userId, ...failure }));
    await insertEvents(trx, appId, [...offline, ...failed], now);
  });
}

export async function deleteOldFailures(db: Executor, days: number): Promise<void> {
  await sql`delete from push_failure where at < now() - ${days} * interval '1 day'`.execute(db);
}

export interface PushFailure {
  id: number;
  at: Date;
  deviceId: string;
  provider: string;
  messageId: string;
  reason: string;
  user: User;
}

/** The newest first; `beforeId`: older ones. */
export async function findPushFailures(
  db: Executor,
  appId: AppId,
  beforeId: number,
  limit: number,
): Promise<PushFailure[]> {
  const { rows } = await sql<{
    id: number;
    at: Date;
    identity_id: number;
    device_id: string;
    provider: string;
    message_id: string;
    reason: string;
    name: string;
    im_id: string | null;
  }>`
    select f.id, f.at, i.id as identity_id, f.device_id, f.provider, f.message_id, f.reason, i.name, i.im_id
    from push_failure f join identity o on o.app_id = f.app_id and o.id = f.identity_id
    join identity i on i.app_id = o.app_id and i.id = coalesce(o.merged_into, o.id)
    where f.app_id = ${appId} and f.id < ${beforeId} order by f.id desc limit ${limit}`.execute(db);
  return rows.map((row) => ({
    id: row.id,
    at: row.at,
    deviceId: row.device_id,
    provider: row.provider,
    messageId: row.message_id,
    reason: row.reason,
    user: toUser({ id: row.identity_id, name: row.name, im_id: row.im_id }),
  }));
}
