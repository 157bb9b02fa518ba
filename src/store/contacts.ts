// Contact lists. A contact is kept as the row of its user, so that it follows the user through every rename.

import { sql } from 'kysely';
import type { AppId } from '../ids.ts';
import type { Executor } from './database.ts';
import { awaitMergers, toUser, type User } from './identities.ts';
import { transact } from './transact.ts';

export interface NewContact {
  userId: number;
  displayName: string | undefined;
  /** JSON text. */
  data: string | undefined;
}

export interface Contact {
  position: number;
  user: User;
  displayName: string | undefined;
  data: string | undefined;
}

/** Replaces the whole list, in one transaction. False when the owner is gone, or merged into another user. */
export async function replaceContacts(
  db: Executor,
  appId: AppId,
  ownerId: number,
  contacts: readonly NewContact[],
): Promise<boolean> {
  return transact(db, async (trx) => {
    const owner = await trx
      .selectFrom('identity')
      .select('id')
      .where('app_id', '=', appId)
      .where('id', '=', ownerId)
      .where('merged_into', 'is', null)
      .forNoKeyUpdate()
      .executeTakeFirst();
    if (!owner) return false;
    await trx.deleteFrom('contact').where('app_id', '=', appId).where('owner_id', '=', ownerId).execute();
    const ids = contacts.map((contact) => contact.userId);
    await awaitMergers(trx, appId, sql`select unnest(${ids}::bigint[])`);
    await sql`
      insert into contact (app_id, owner_id, contact_id, position, display_name, data)
      select ${appId}, ${ownerId}, coalesce(i.merged_into, i.id), t.position, t.display_name, t.data
      from unnest(${ids}::bigint[],
        ${contacts.map((contact) => contact.displayName ?? null)}::text[],
        ${contacts.map((contact) => contact.data ?? null)}::text[])
        with ordinality as t (contact_id, display_name, data, position)
      join identity i on i.app_id = ${appId} and i.id = t.contact_id
      on conflict (app_id, owner_id, contact_id) do nothing`.execute(trx);
    return true;
  });
}

export async function findContacts(
  db: Executor,
  appId: AppId,
  ownerId: number,
  afterPosition: number,
  limit: number,
): Promise<Contact[]> {
  const rows = await db
    .selectFrom('contact as c')
    .innerJoin('identity as i', (join) =>
      join.onRef('i.app_id', '=', 'c.app_id').onRef('i.id', '=', 'c.contact_id'),
    )
    .select(['c.position', 'c.display_name', 'c.data', 'i.id', 'i.name', 'i.im_id'])
    .where('c.app_id', '=', appId)
    .where('c.owner_id', '=', ownerId)
    .where('c.position', '>', afterPosition)
    .orderBy('c.position')
    .limit(limit)
    .execute();
  return rows.map((row) => ({
    position: row.position,
    user: toUser(row),
    displayName: row.display_name ?? undefined,
    data: row.data ?? undefined,
  }));
}

/**
 * Gives one user's list to another, behind what is there, and the one user's place in every list to the other. Who
 * stands there already stays as it is; nobody is a contact of its own.
 */
export async function mergeContacts(
  trx: Executor,
  appId: AppId,
  fromId: number,
  intoId: number,
): Promise<void> {
  await sql`
    insert into contact (app_id, owner_id, contact_id, position, display_name, data)
    select app_id, ${intoId}, contact_id,
      position + coalesce((select max(position) from contact where app_id = ${appId} and owner_id = ${intoId}), 0),
      display_name, data
    from contact where app_id = ${appId} and owner_id = ${fromId} and contact_id not in (${fromId}, ${intoId})
    order by position
    on conflict (app_id, owner_id, contact_id) do nothing`.execute(trx);
  await trx.deleteFrom('contact').where('app_id', '=', appId).where('owner_id', '=', fromId).execute();
  await sql`
    update contact c set contact_id = ${intoId}
    where app_id = ${appId} and contact_id = ${fromId} and owner_id <> ${intoId} and not exists (
      select from contact o where o.app_id = ${appId} and o.owner_id = c.owner_id and o.contact_id = ${intoId}
    )`.execute(trx);
  await trx.deleteFrom('contact').where('app_id', '=', appId).where('contact_id', '=', fromId).execute();
}
