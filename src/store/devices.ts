// Devices of a user, and how far each has acked.

import { sql } from 'kysely';
import type pg from 'pg';
import type { AppId } from '../ids.ts';
import { bigintArray, textArray } from './arrays.ts';
import type { Executor } from './database.ts';

export interface Device {
  id: string;
  lastSeenAt: Date;
}

export interface Ack {
  appId: AppId;
  identityId: number;
  deviceId: string;
  seq: number;
}

/** In the order of their keys: who writes many in one statement waits for nobody who waits for it. */
export function inOrder<T extends Pick<Ack, 'appId' | 'identityId' | 'deviceId'>>(
  devices: readonly T[],
): T[] {
  return devices.toSorted(
    (a, b) => a.appId - b.appId || a.identityId - b.identityId || (a.deviceId < b.deviceId ? -1 : 1),
  );
}

/**
 * Marks all up to a seq as handled, on each of these devices; never goes back, never beyond the inbox's end. Doesn't wait
 * for the disk, since one that gets lost only costs a repeat.
 */
export async function markAcked(pool: pg.Pool, acks: readonly Ack[]): Promise<void> {
  const ordered = inOrder(acks);
  await pool.query({
    name: 'mark_acked',
    text: `update device d set acked_seq = least(a.seq, i.last_seq), last_seen_at = now()
      from (
        select a.*, set_config('synchronous_commit', 'off', true)
        from unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[]) as a (app_id, identity_id, id, seq)
      ) a join identity i on i.app_id = a.app_id and i.id = a.identity_id
      where d.app_id = a.app_id and d.identity_id = a.identity_id and d.id = a.id and d.acked_seq < a.seq`,
    values: [
      bigintArray(ordered.map((ack) => ack.appId)),
      bigintArray(ordered.map((ack) => ack.identityId)),
      textArray(ordered.map((ack) => ack.deviceId)),
      bigintArray(ordered.map((ack) => ack.seq)),
    ],
  });
}

/** Marks that a device is shown all there is up to a seq, what was brought along too. */
export async function markWhole(db: Executor, { appId, identityId, deviceId, seq }: Ack): Promise<void> {
  await db
    .updateTable('device')
    .set({ whole_seq: seq })
    .where('app_id', '=', appId)
    .where('identity_id', '=', identityId)
    .where('id', '=', deviceId)
    .execute();
}

export async function findDevices(
  db: Executor,
  appId: AppId,
  identityIds: readonly number[],
): Promise<Map<number, { lastSeenAt: Date | undefined; devices: Device[] }>> {
  const users = await db
    .selectFrom('identity')
    .select(['id', 'last_seen_at'])
    .where('app_id', '=', appId)
    .where('id', '=', sql<number>`any(${identityIds})`)
    .execute();
  const found = new Map(
    users.map((user) => [user.id, { lastSeenAt: user.last_seen_at ?? undefined, devices: [] as Device[] }]),
  );
  const devices = await db
    .selectFrom('device')
    .select(['identity_id', 'id', 'last_seen_at'])
    .where('app_id', '=', appId)
    .where('identity_id', '=', sql<number>`any(${identityIds})`)
    .orderBy('id')
    .execute();
  for (const device of devices)
    found.get(device.identity_id)?.devices.push({ id: device.id, lastSeenAt: device.last_seen_at });
  return found;
}

/**
 * Gives the devices of one user to another, which has all that is in its inbox by now behind it on each; a device that
 * both have stays where it stands. What was revoked of either stays revoked.
 */
export async function mergeDevices(
  trx: Executor,
  appId: AppId,
  fromId: number,
  intoId: number,
): Promise<void> {
  // What was bound later, as far as either was.
  const isNewer = sql`(excluded.bound_at > coalesce(o.bound_at, '-infinity'))`;
  await sql`
    with d as (delete from device where app_id = ${appId} and identity_id = ${fromId} returning *)
    insert into device as o (app_id, identity_id, id, acked_seq, begun_seq, last_seen_at, created_at, tokens_from, last_jti,
      platform, provider, push_token, environment, locale, app_version, bound_at, bound_jti, pushed_seq)
    select d.app_id, i.id, d.id, i.last_seq, i.last_seq, d.last_seen_at, d.created_at, d.tokens_from, d.last_jti,
      d.platform, d.provider, d.push_token, d.environment, d.locale, d.app_version, d.bound_at, d.bound_jti, i.last_seq
    from d join identity i on i.app_id = d.app_id and i.id = ${intoId}
    on conflict (app_id, identity_id, id) do update
      set tokens_from = greatest(o.tokens_from, excluded.tokens_from),
        -- the newer one, as a jti begins with its time
        last_jti = greatest(o.last_jti, excluded.last_jti),
        platform = case when ${isNewer} then excluded.platform else o.platform end,
        provider = case when ${isNewer} then excluded.provider else o.provider end,
        push_token = case when ${isNewer} then excluded.push_token else o.push_token end,
        environment = case when ${isNewer} then excluded.environment else o.environment end,
        locale = case when ${isNewer} then excluded.locale else o.locale end,
        app_version = case when ${isNewer} then excluded.app_version else o.app_version end,
        bound_at = greatest(o.bound_at, excluded.bound_at),
        bound_jti = case when ${isNewer} then excluded.bound_jti else o.bound_jti end`.execute(trx);
}

/** A message that a device may be showing, for a conversation. */
interface ShownMessage {
  deviceId: string;
  peer: string;
  messageId: string;
  atMs: number;
}

/** What the devices of a user may be showing, by what stays as it is in a merger. */
export async function findShown(trx: Executor, appId: AppId, fromId: number): Promise<ShownMessage[]> {
  const { rows } = await sql<ShownMessage>`
    select d.id as "deviceId", s.key as peer, m.id as "messageId", (s.value ->> 1)::bigint as "atMs"
    from device d cross join jsonb_each(d.push_shown) s
    join message m on m.app_id = d.app_id and m.recipient_id = d.identity_id and m.recipient_seq = (s.value ->> 0)::bigint
    where d.app_id = ${appId} and d.identity_id = ${fromId}`.execute(trx);
  return rows;
}

/** Notes it of devices that are another user's by now; what is still on its way there is left out. */
export async function markShown(
  trx: Executor,
  appId: AppId,
  intoId: number,
  shown: readonly ShownMessage[],
): Promise<void> {
  if (shown.length === 0) return;
  await sql`
    update device d set push_shown = q.shown
    from (
      select s.device_id, jsonb_object_agg(s.peer, jsonb_build_array(m.recipient_seq, s.at_ms)) as shown
      from unnest(${shown.map(({ deviceId }) => deviceId)}::text[], ${shown.map(({ peer }) => peer)}::text[],
        ${shown.map(({ messageId }) => messageId)}::uuid[], ${shown.map(({ atMs }) => atMs)}::bigint[])
        as s (device_id, peer, message_id, at_ms)
      join message m on m.app_id = ${appId} and m.id = s.message_id and m.recipient_id = ${intoId}
      group by s.device_id
    ) q
    where d.app_id = ${appId} and d.identity_id = ${intoId} and d.id = q.device_id
      and d.push_token is not null and d.push_shown = '{}'`.execute(trx);
}
