// Users: one row each, found by name or by imId. Names given up are in former_names.ts.
// Invariant: (app, name) and (app, imId) are unique, so whatever races, the database decides once.

import { sql, type Selectable } from 'kysely';
import { registeredIdToUuid, uuidToRegisteredId, type AppId, type Name, type RegisteredId } from '../ids.ts';
import type { Connection, Executor } from './database.ts';
import type { Tables } from './tables.ts';

/** One user. `id` is its internal row, which never leaves the service. */
export interface User {
  readonly id: number;
  readonly name: Name;
  /** Undefined: not registered, its imId is composed. */
  readonly imId: RegisteredId | undefined;
  readonly createdAt: Date;
}

const COLUMNS = ['id', 'name', 'im_id', 'created_at'] as const;
export type UserRow = Pick<Selectable<Tables['identity']>, (typeof COLUMNS)[number]>;

export function toUser(row: UserRow): User {
  return {
    id: row.id,
    name: row.name as Name,
    imId: row.im_id === null ? undefined : uuidToRegisteredId(row.im_id),
    createdAt: row.created_at,
  };
}

export async function findUser(db: Executor, appId: AppId, id: number): Promise<User | undefined> {
  const row = await db
    .selectFrom('identity')
    .select(COLUMNS)
    .where('app_id', '=', appId)
    .where('id', '=', id)
    .executeTakeFirst();
  return row && toUser(row);
}

export async function findUsersByName(db: Executor, appId: AppId, names: readonly Name[]): Promise<User[]> {
  const rows = await db
    .selectFrom('identity')
    .select(COLUMNS)
    .where('app_id', '=', appId)
    .where('name', '=', sql<string>`any(${names})`)
    .execute();
  return rows.map(toUser);
}

export async function findUsersByImId(
  db: Executor,
  appId: AppId,
  imIds: readonly RegisteredId[],
): Promise<User[]> {
  const rows = await db
    .selectFrom('identity')
    .select(COLUMNS)
    .where('app_id', '=', appId)
    .where('im_id', '=', sql<string>`any(${imIds.map(registeredIdToUuid)}::uuid[])`)
    .execute();
  return rows.map(toUser);
}

/** The app's users in the order they came, from behind `afterId`. */
export async function findUsers(db: Executor, appId: AppId, afterId: number, limit: number): Promise<User[]> {
  const rows = await db
    .selectFrom('identity')
    .select(COLUMNS)
    .where('app_id', '=', appId)
    .where('id', '>', afterId)
    .orderBy('id')
    .limit(limit)
    .execute();
  return rows.map(toUser);
}

export async function countUsers(
  db: Executor,
  appId: AppId,
): Promise<{ composed: number; registered: number }> {
  const row = await db
    .selectFrom('identity')
    .select(({ fn }) => [fn.countAll<number>().as('all'), fn.count<number>('im_id').as('registered')])
    .where('app_id', '=', appId)
    .executeTakeFirstOrThrow();
  return { composed: row.all - row.registered, registered: row.registered };
}

/** Gives each name that has no row one (not registered); in order, so that two calls don't deadlock. */
export async function insertUsers(db: Executor, appId: AppId, names: readonly Name[]): Promise<void> {
  await sql`
    insert into identity (app_id, name)
    select ${appId}, n from unnest(${names}::text[]) as n order by n collate "C"
    on conflict (app_id, name) do nothing`.execute(db);
}

export interface NewRegistration {
  name: Name;
  imId: RegisteredId;
  /** Whether a row that has the name and no imId yet takes this one. */
  adopt: boolean;
  createdAt: Date | undefined;
}

/**
 * Registers names, each once, in one statement: a row with this imId, or, where `adopt`, this imId for the row that
 * has none yet. Gives back the rows that were changed, and nothing of those that stayed as they were.
 * Throws the unique violation of identity__im_id, and nothing is registered, when somebody has one of the imIds.
 */
export async function registerNames(
  db: Executor,
  appId: AppId,
  registrations: readonly NewRegistration[],
): Promise<{ user: User; isNew: boolean }[]> {
  const imIds = new Map(registrations.map(({ name, imId }) => [name, imId]));
  const dates = registrations.map(({ createdAt }) => createdAt?.toISOString() ?? 'null');
  // As text that is cheap to make and to read: an import does this for every row. No name holds a line break.
  const { rows } = await sql<{ id: number; name: Name; created_ms: number; is_new: boolean }>`
    insert into identity (app_id, name, im_id, created_at)
    select ${appId}, t.name, t.im_id, coalesce(t.created_at, now())
    from unnest(string_to_array(${[...imIds.keys()].join('\n')}, e'\\n'),
      ${`{${[...imIds.values()].map(registeredIdToUuid).join(',')}}`}::uuid[],
      ${`{${dates.join(',')}}`}::timestamptz[]) as t (name, im_id, created_at)
    order by t.name collate "C"
    on conflict (app_id, name) do update set im_id = excluded.im_id
      where identity.im_id is null
        and identity.name <> all (${registrations.filter(({ adopt }) => !adopt).map(({ name }) => name)}::text[])
    returning id, name, floor(extract(epoch from created_at) * 1000)::bigint as created_ms,
      (xmax = 0) as is_new`.execute(db);
  return rows.map(({ id, name, created_ms: createdMs, is_new: isNew }) => ({
    user: { id, name, imId: imIds.get(name), createdAt: new Date(createdMs) },
    isNew,
  }));
}

const EXPORT_PORTION = 2_000;

/**
 * Every registered user of the app as they all are at one moment, in portions, in the order they came. `connection` is
 * its own, since a slow reader may keep it for long, and ends with it.
 */
export async function* streamRegisteredUsers(connection: Connection, appId: AppId): AsyncGenerator<User[]> {
  try {
    await connection.query('begin isolation level repeatable read read only');
    for (let afterId = 0; ;) {
      const { rows } = await connection.query<UserRow>({
        name: 'export',
        text: `
          select id, name, im_id, created_at from identity
          where app_id = $1 and id > $2 and im_id is not null order by id limit $3`,
        values: [appId, afterId, EXPORT_PORTION],
      });
      if (rows.length > 0) yield rows.map(toUser);
      if (rows.length < EXPORT_PORTION) break;
      afterId = rows.at(-1)!.id;
    }
  } finally {
    await connection.end();
  }
}

/** Sets the imId of a row that has none; false when it has one. */
export async function markRegistered(
  db: Executor,
  appId: AppId,
  id: number,
  imId: RegisteredId,
): Promise<boolean> {
  const done = await db
    .updateTable('identity')
    .set({ im_id: registeredIdToUuid(imId) })
    .where('app_id', '=', appId)
    .where('id', '=', id)
    .where('im_id', 'is', null)
    .executeTakeFirst();
  return done.numUpdatedRows > 0n;
}

/** Where the inboxes of these rows stand now, by row; a row that is missing was erased. */
export async function findPositions(
  db: Executor,
  rows: readonly { appId: AppId; id: number }[],
): Promise<Map<number, number>> {
  const { rows: found } = await sql<{ id: number; last_seq: number }>`
    select i.id, i.last_seq
    from unnest(${rows.map((row) => row.appId)}::bigint[], ${rows.map((row) => row.id)}::bigint[]) as u (app_id, id)
    join identity i on i.app_id = u.app_id and i.id = u.id`.execute(db);
  return new Map(found.map((row) => [row.id, row.last_seq]));
}
