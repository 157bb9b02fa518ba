// What users want to be told of by push.

import { sql } from 'kysely';
import type { AppId } from '../ids.ts';
import type { Executor } from './database.ts';
import { awaitMergers, toUser, type User } from './identities.ts';
import { makeDue } from './push_due.ts';
import { toQuietHours, type QuietHours } from './push_standings.ts';
import { transact } from './transact.ts';

export interface NotificationSettings<Peer> {
  quietHours: QuietHours | undefined;
  pausedUntil: Date | undefined;
  /** Whether pushes may say what a message says. */
  showsText: boolean;
  /** Whose messages it gets no push for; `until` undefined: until it says otherwise. */
  muted: readonly { peer: Peer; until: Date | undefined }[];
}

export async function findNotificationSettings(
  db: Executor,
  appId: AppId,
  userId: number,
): Promise<NotificationSettings<User>> {
  const row = await db
    .selectFrom('notification_setting')
    .selectAll()
    .where('app_id', '=', appId)
    .where('identity_id', '=', userId)
    .executeTakeFirst();
  const muted = await db
    .selectFrom('muted_peer as m')
    .innerJoin('identity as i', (join) =>
      join.onRef('i.app_id', '=', 'm.app_id').onRef('i.id', '=', 'm.peer_id'),
    )
    .select(['i.id', 'i.name', 'i.im_id', 'm.until'])
    .where('m.app_id', '=', appId)
    .where('m.owner_id', '=', userId)
    .orderBy('m.position')
    .orderBy('i.id')
    .execute();
  return {
    quietHours: row && toQuietHours(row),
    pausedUntil: row?.paused_until ?? undefined,
    showsText: row?.shows_text ?? true,
    muted: muted.map((each) => ({ peer: toUser(each), until: each.until ?? undefined })),
  };
}

/** Replaces all of them. False when the user is gone, or merged into another one. */
export async function replaceNotificationSettings(
  db: Executor,
  appId: AppId,
  userId: number,
  { quietHours, pausedUntil, showsText, muted }: NotificationSettings<number>,
): Promise<boolean> {
  return transact(db, async (trx) => {
    const { rows } = await sql`
      select from identity where app_id = ${appId} and id = ${userId} and merged_into is null for no key update`.execute(
      trx,
    );
    if (rows.length === 0) return false;
    const values = {
      quiet_from: quietHours?.from ?? null,
      quiet_to: quietHours?.to ?? null,
      quiet_zone: quietHours?.timeZone ?? null,
      paused_until: pausedUntil ?? null,
      shows_text: showsText,
    };
    await trx
      .insertInto('notification_setting')
      .values({ app_id: appId, identity_id: userId, ...values })
      .onConflict((oc) => oc.columns(['app_id', 'identity_id']).doUpdateSet(values))
      .execute();
    await trx.deleteFrom('muted_peer').where('app_id', '=', appId).where('owner_id', '=', userId).execute();
    const ids = muted.map(({ peer }) => peer);
    await awaitMergers(trx, appId, sql`select unnest(${ids}::bigint[])`);
    await sql`
      insert into muted_peer (app_id, owner_id, peer_id, position, until)
      select ${appId}, ${userId}, coalesce(i.merged_into, i.id), t.position, t.until
      from unnest(${ids}::bigint[], ${muted.map(({ until }) => until ?? null)}::timestamptz[])
        with ordinality as t (peer_id, until, position)
      join identity i on i.app_id = ${appId} and i.id = t.peer_id
      on conflict (app_id, owner_id, peer_id) do nothing`.execute(trx);
    // What was held back may be wanted now.
    await makeDue(trx, { appId, id: userId });
    return true;
  });
}

/** Gives what one user has said to another that has said nothing, and its place in everybody's to the other. */
export async function mergeNotificationSettings(
  trx: Executor,
  appId: AppId,
  fromId: number,
  intoId: number,
): Promise<void> {
  await sql`
    with d as (delete from notification_setting where app_id = ${appId} and identity_id = ${fromId} returning *)
    insert into notification_setting (app_id, identity_id, quiet_from, quiet_to, quiet_zone, paused_until, shows_text)
    select app_id, ${intoId}, quiet_from, quiet_to, quiet_zone, paused_until, shows_text from d
    on conflict (app_id, identity_id) do nothing`.execute(trx);
  await sql`
    with d as (delete from muted_peer where app_id = ${appId} and (owner_id = ${fromId} or peer_id = ${fromId}) returning *)
    insert into muted_peer as m (app_id, owner_id, peer_id, position, until)
    select app_id, case owner_id when ${fromId} then ${intoId} else owner_id end,
      case peer_id when ${fromId} then ${intoId} else peer_id end, position, until
    from d where not (owner_id in (${fromId}, ${intoId}) and peer_id in (${fromId}, ${intoId}))
    order by 2, 3
    on conflict (app_id, owner_id, peer_id) do nothing`.execute(trx);
}
