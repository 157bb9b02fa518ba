// What came of pushes, written down for many devices at a time.

import { sql } from 'kysely';
import type { AppId } from '../ids.ts';
import type { Executor } from './database.ts';
import { toUser, type User } from './identities.ts';
import { transact } from './transact.ts';

/** A device, as long as it still has the push token that was used. */
export interface PushedDevice {
  appId: AppId;
  identityId: number;
  deviceId: string;
  token: string;
}

export interface PushResult extends PushedDevice {
  /** Up to here everything was pushed, or never will be. */
  settledSeq: number;
  /** Undefined: nothing is to be tried again. */
  retryAt: Date | undefined;
  attempts: number;
  shown: readonly { peerId: number; seq: number }[];
  hidden: readonly { peerId: number; seq: number }[];
  failures: readonly { provider: string; messageId: string; reason: string }[];
}

export async function storePushResults(db: Executor, results: readonly PushResult[]): Promise<void> {
  const ordered = results.toSorted(
    (a, b) =>
      a.appId - b.appId ||
      a.identityId - b.identityId ||
      (a.deviceId < b.deviceId ? -1 : Number(a.deviceId > b.deviceId)),
  );
  const of = <T>(pick: (result: PushResult) => readonly T[]) =>
    ordered.flatMap((result) => pick(result).map((each) => ({ ...result, ...each })));
  const keys = (rows: readonly PushedDevice[]) => sql`${rows.map(({ appId }) => appId)}::bigint[],
    ${rows.map(({ identityId }) => identityId)}::bigint[], ${rows.map(({ deviceId }) => deviceId)}::text[]`;
  const shown = of((result) => result.shown);
  const hidden = of((result) => result.hidden);
  const failures = of((result) => result.failures);
  await transact(db, async (trx) => {
    await sql`
      update device d set pushed_seq = greatest(d.pushed_seq, q.seq), push_attempts = q.attempts, push_retry_at = q.retry_at
      from unnest(${keys(ordered)}, ${ordered.map(({ token }) => token)}::text[],
        ${ordered.map(({ settledSeq }) => settledSeq)}::bigint[], ${ordered.map(({ attempts }) => attempts)}::integer[],
        ${ordered.map(({ retryAt }) => retryAt ?? null)}::timestamptz[])
        as q (app_id, identity_id, id, token, seq, attempts, retry_at)
      where d.app_id = q.app_id and d.identity_id = q.identity_id and d.id = q.id and d.push_token = q.token`.execute(
      trx,
    );
    if (hidden.length > 0)
      await sql`
        delete from push_shown s
        using unnest(${keys(hidden)}, ${hidden.map(({ peerId }) => peerId)}::bigint[], ${hidden.map(({ seq }) => seq)}::bigint[])
          as q (app_id, identity_id, device_id, peer_id, seq)
        where s.app_id = q.app_id and s.identity_id = q.identity_id and s.device_id = q.device_id and s.peer_id = q.peer_id
          and s.seq <= q.seq`.execute(trx);
    if (shown.length > 0)
      await sql`
        insert into push_shown as s (app_id, identity_id, device_id, peer_id, seq)
        select q.* from unnest(${keys(shown)}, ${shown.map(({ peerId }) => peerId)}::bigint[],
          ${shown.map(({ seq }) => seq)}::bigint[]) as q (app_id, identity_id, device_id, peer_id, seq)
        join device d on d.app_id = q.app_id and d.identity_id = q.identity_id and d.id = q.device_id
        on conflict (app_id, identity_id, device_id, peer_id) do update
          set seq = greatest(s.seq, excluded.seq), at = excluded.at`.execute(trx);
    if (failures.length > 0)
      await sql`
        insert into push_failure (app_id, identity_id, device_id, provider, message_id, reason)
        select i.app_id, i.id, q.device_id, q.provider, q.message_id, q.reason
        from unnest(${keys(failures)}, ${failures.map(({ provider }) => provider)}::text[],
          ${failures.map(({ messageId }) => messageId)}::uuid[], ${failures.map(({ reason }) => reason)}::text[])
          as q (app_id, identity_id, device_id, provider, message_id, reason)
        join identity i on i.app_id = q.app_id and i.id = q.identity_id`.execute(trx);
  });
}

/** Deletes what nobody can be showing any more, and failures that are old. */
export async function deleteOldPushes(db: Executor, days: number): Promise<void> {
  await sql`delete from push_shown where at < now() - ${days} * interval '1 day'`.execute(db);
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
    select f.id, f.at, f.identity_id, f.device_id, f.provider, f.message_id, f.reason, i.name, i.im_id
    from push_failure f join identity i on i.app_id = f.app_id and i.id = f.identity_id
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
