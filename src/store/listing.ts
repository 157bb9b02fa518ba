// Lists of an app's users: pages of them, all of them at one moment, and how many there are.
// Rows that were merged into another one are nobody of their own, and in no list.

import type { SelectQueryBuilder } from 'kysely';
import { NAME_MAX_BYTES, type AppId, type Name, type Scheme } from '../ids.ts';
import type { Connection, Executor } from './database.ts';
import { toDatedUser, type DatedUser, type DatedUserRow } from './identities.ts';
import type { Tables } from './tables.ts';

export interface Filter {
  scheme?: Scheme | undefined;
  /** The page is in the order of names then, byte by byte; else in the order in which the users came. */
  namePrefix?: string | undefined;
  createdFrom?: Date | undefined;
  createdBefore?: Date | undefined;
}

/** Where a page begins: behind this name, or behind this row. */
export interface PageStart {
  name?: Name | undefined;
  id?: number | undefined;
}

/** Longer than a name may be, of the last code point there is: whatever begins with a prefix lies before prefix + this. */
const BEYOND_NAMES = '\u{10FFFF}'.repeat(NAME_MAX_BYTES / 4 + 1);

export async function findUsers(
  db: Executor,
  appId: AppId,
  filter: Filter,
  after: PageStart,
  limit: number,
): Promise<DatedUser[]> {
  const { scheme, namePrefix, createdFrom, createdBefore } = filter;
  let query = selectUsers(db, appId).limit(limit);
  if (scheme === 'composed') query = query.where('im_id', 'is', null);
  if (scheme === 'registered') query = query.where('im_id', 'is not', null);
  if (createdFrom) query = query.where('created_at', '>=', createdFrom);
  if (createdBefore) query = query.where('created_at', '<', createdBefore);
  if (namePrefix === undefined) query = query.where('id', '>', after.id ?? 0).orderBy('id');
  else {
    query = query.where('name', '>=', namePrefix).orderBy('name');
    query = query.where('name', '<', namePrefix + BEYOND_NAMES);
    if (after.name !== undefined) query = query.where('name', '>', after.name);
  }
  return (await query.execute()).map(toDatedUser);
}

export async function countUsers(
  db: Executor,
  appId: AppId,
): Promise<{ composed: number; registered: number }> {
  const row = await db
    .selectFrom('identity')
    .select(({ fn }) => [fn.countAll<number>().as('all'), fn.count<number>('im_id').as('registered')])
    .where('app_id', '=', appId)
    .where('merged_into', 'is', null)
    .where('name', '<>', '')
    .executeTakeFirstOrThrow();
  return { composed: row.all - row.registered, registered: row.registered };
}

const EXPORT_PORTION = 2_000;

/**
 * Every registered user of the app as they all are at one moment, in portions, in the order they came. `connection` is
 * its own, since a slow reader may keep it for long, and ends with it.
 */
export async function* streamRegisteredUsers(
  connection: Connection,
  appId: AppId,
): AsyncGenerator<DatedUser[]> {
  try {
    await connection.query('begin isolation level repeatable read read only');
    for (let afterId = 0; ;) {
      const { rows } = await connection.query<DatedUserRow>({
        name: 'export',
        text: `
          select id, name, im_id, created_at from identity
          where app_id = $1 and id > $2 and im_id is not null and merged_into is null order by id limit $3`,
        values: [appId, afterId, EXPORT_PORTION],
      });
      if (rows.length > 0) yield rows.map(toDatedUser);
      if (rows.length < EXPORT_PORTION) break;
      afterId = rows.at(-1)!.id;
    }
  } finally {
    await connection.end();
  }
}

function selectUsers(db: Executor, appId: AppId): SelectQueryBuilder<Tables, 'identity', DatedUserRow> {
  return db
    .selectFrom('identity')
    .select(['id', 'name', 'im_id', 'created_at'])
    .where('app_id', '=', appId)
    .where('merged_into', 'is', null)
    .where('name', '<>', '');
}
