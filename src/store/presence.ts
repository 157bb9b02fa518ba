// Who is online, for others to see.

import { sql } from 'kysely';
import type { AppId } from '../ids.ts';
import { ALIVE } from './connections.ts';
import type { Executor } from './database.ts';
import { toUser, type User } from './identities.ts';

export interface Standing {
  user: User;
  /** Another process holds a connection of it. */
  isElsewhere: boolean;
  lastSeenAt: Date | undefined;
  /** It doesn't want others to know. */
  isHidden: boolean;
  mergedInto: number | undefined;
}

/** How users stand, by row; those that are gone are missing. */
export async function findOnline(
  db: Executor,
  appId: AppId,
  ids: readonly number[],
  exceptProcessId: string,
): Promise<Map<number, Standing>> {
  const { rows } = await sql<{
    id: number;
    name: string;
    im_id: string | null;
    last_seen_at: Date | null;
    hides_presence: boolean;
    merged_into: number | null;
    is_elsewhere: boolean;
  }>`
    select i.id, i.name, i.im_id, i.last_seen_at, i.hides_presence, i.merged_into, exists (
      select from connection c join process p on p.id = c.process_id
      where c.app_id = i.app_id and c.identity_id = i.id and c.process_id <> ${exceptProcessId} and ${sql.raw(ALIVE)}
    ) as is_elsewhere
    from identity i where i.app_id = ${appId} and i.id = any (${ids}::bigint[])`.execute(db);
  return new Map(
    rows.map((row) => [
      row.id,
      {
        user: toUser(row),
        isElsewhere: row.is_elsewhere,
        lastSeenAt: row.last_seen_at ?? undefined,
        isHidden: row.hides_presence,
        mergedInto: row.merged_into ?? undefined,
      },
    ]),
  );
}

/** Whether others may see when a user is online; undefined when it is gone. */
export async function findHidesPresence(
  db: Executor,
  appId: AppId,
  id: number,
): Promise<boolean | undefined> {
  const row = await db
    .selectFrom('identity')
    .select('hides_presence')
    .where('app_id', '=', appId)
    .where('id', '=', id)
    .executeTakeFirst();
  return row?.hides_presence;
}

export async function setHidesPresence(
  db: Executor,
  appId: AppId,
  id: number,
  hides: boolean,
): Promise<void> {
  await db
    .updateTable('identity')
    .set({ hides_presence: hides })
    .where('app_id', '=', appId)
    .where('id', '=', id)
    .execute();
}
