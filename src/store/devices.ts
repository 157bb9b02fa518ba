// Devices of a user, and how far each has acked.

import { sql } from 'kysely';
import type { AppId } from '../ids.ts';
import type { Executor } from './database.ts';

export interface Device {
  id: string;
  lastSeenAt: Date;
}

/**
 * The device with where it stands; one that is seen for the first time starts at the inbox's end of this moment.
 * Undefined when the user is gone, or merged into another one.
 */
export async function openDevice(
  db: Executor,
  appId: AppId,
  identityId: number,
  deviceId: string,
): Promise<{ acked: number; isNew: boolean } | undefined> {
  const { rows } = await sql<{ acked_seq: number; is_new: boolean }>`
    insert into device (app_id, identity_id, id, acked_seq)
    select app_id, id, ${deviceId}, last_seq from identity
    where app_id = ${appId} and id = ${identityId} and merged_into is null
    on conflict (app_id, identity_id, id) do update set last_seen_at = now()
    returning acked_seq, (xmax = 0) as is_new`.execute(db);
  return rows[0] && { acked: rows[0].acked_seq, isNew: rows[0].is_new };
}

/** Marks all up to `seq` as handled; never goes back, never beyond the inbox's end. */
export async function markAcked(
  db: Executor,
  appId: AppId,
  identityId: number,
  deviceId: string,
  seq: number,
): Promise<void> {
  await sql`
    update device d set acked_seq = least(${seq}, i.last_seq), last_seen_at = now()
    from identity i
    where d.app_id = ${appId} and d.identity_id = ${identityId} and d.id = ${deviceId} and d.acked_seq < ${seq}
      and i.app_id = d.app_id and i.id = d.identity_id`.execute(db);
}

/** Notes that a connection of the user ended now; `deviceId` undefined: one without a device. */
export async function markSeen(
  db: Executor,
  appId: AppId,
  identityId: number,
  deviceId: string | undefined,
): Promise<void> {
  await sql`update identity set last_seen_at = now() where app_id = ${appId} and id = ${identityId}`.execute(
    db,
  );
  if (deviceId === undefined) return;
  await sql`
    update device set last_seen_at = now()
    where app_id = ${appId} and identity_id = ${identityId} and id = ${deviceId}`.execute(db);
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
 * both have stays where it stands.
 */
export async function mergeDevices(
  trx: Executor,
  appId: AppId,
  fromId: number,
  intoId: number,
): Promise<void> {
  await sql`
    insert into device (app_id, identity_id, id, acked_seq, last_seen_at, created_at)
    select d.app_id, i.id, d.id, i.last_seq, d.last_seen_at, d.created_at
    from device d join identity i on i.app_id = d.app_id and i.id = ${intoId}
    where d.app_id = ${appId} and d.identity_id = ${fromId}
    on conflict (app_id, identity_id, id) do nothing`.execute(trx);
  await trx.deleteFrom('device').where('app_id', '=', appId).where('identity_id', '=', fromId).execute();
}
