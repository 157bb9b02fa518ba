// Users: one row each, found by name or by imId. Names given up are in former_names.ts.
// Invariant: (app, name) and (app, imId) are unique, so whatever races, the database decides once.

import { sql, type RawBuilder, type Selectable } from 'kysely';
import type pg from 'pg';
import { registeredIdToUuid, uuidToRegisteredId, type AppId, type Name, type RegisteredId } from '../ids.ts';
import type { Executor } from './database.ts';
import type { Tables } from './tables.ts';

/** One user. `id` is its internal row, which never leaves the service. */
export interface User {
  readonly id: number;
  readonly name: Name;
  /** Undefined: not registered, its imId is composed. */
  readonly imId: RegisteredId | undefined;
}

export interface DatedUser extends User {
  readonly createdAt: Date;
}

export type UserRow = Pick<Selectable<Tables['identity']>, 'id' | 'name' | 'im_id'>;
export type DatedUserRow = UserRow & Pick<Selectable<Tables['identity']>, 'created_at'>;

export function toUser(row: UserRow): User {
  return {
    id: row.id,
    name: row.name as Name,
    imId: row.im_id === null ? undefined : uuidToRegisteredId(row.im_id),
  };
}

export function toDatedUser(row: DatedUserRow): DatedUser {
  return { ...toUser(row), createdAt: row.created_at };
}

export function isCalled(user: User, { name, imId }: Pick<User, 'name' | 'imId'>): boolean {
  return user.name === name && user.imId === imId;
}

// Where a row was merged into another one, the user is that of the other row.
const CURRENT = `select case when m.id is null then i.id else m.id end as id,
  case when m.id is null then i.name else m.name end as name,
  case when m.id is null then i.im_id else m.im_id end as im_id`;
const FROM_IDENTITY = `from identity i left join identity m on m.app_id = i.app_id and m.id = i.merged_into`;

/** The user of a row, also if it was merged into another one since. */
export async function findUser(pool: pg.Pool, appId: AppId, id: number): Promise<DatedUser | undefined> {
  const { rows } = await pool.query<DatedUserRow>({
    name: 'find_user',
    text: `${CURRENT}, coalesce(m.created_at, i.created_at) as created_at ${FROM_IDENTITY}
      where i.app_id = $1 and i.id = $2`,
    values: [appId, id],
  });
  return rows[0] && toDatedUser(rows[0]);
}

const BY_NAME = `${CURRENT}, i.name as asked ${FROM_IDENTITY} where i.app_id = $1 and i.name = any($2::text[])`;
const BY_IM_ID = `${CURRENT}, i.im_id as asked ${FROM_IDENTITY} where i.app_id = $1 and i.im_id = any($2::uuid[])`;
const BY_BOTH = `${CURRENT}, i.name as asked, null::uuid as asked_im_id ${FROM_IDENTITY}
    where i.app_id = $1 and i.name = any($2::text[])
  union all ${CURRENT}, null, i.im_id ${FROM_IDENTITY}
    where i.app_id = $1 and i.im_id = any($3::uuid[])`;

/** Who has each of these names, by the name asked for: a user that was merged lends its name to the other one. */
export async function findUsersByName(
  pool: pg.Pool,
  appId: AppId,
  names: readonly Name[],
): Promise<Map<Name, User>> {
  const { rows } = await pool.query<UserRow & { asked: string }>({
    name: 'find_users_by_name',
    text: BY_NAME,
    values: [appId, names],
  });
  return new Map(rows.map((row) => [row.asked as Name, toUser(row)]));
}

async function findUsersByImId(
  pool: pg.Pool,
  appId: AppId,
  imIds: readonly RegisteredId[],
): Promise<Map<RegisteredId, User>> {
  const { rows } = await pool.query<UserRow & { asked: string }>({
    name: 'find_users_by_im_id',
    text: BY_IM_ID,
    values: [appId, imIds.map(registeredIdToUuid)],
  });
  return new Map(rows.map((row) => [uuidToRegisteredId(row.asked), toUser(row)]));
}

export interface Found {
  byName: ReadonlyMap<Name, User>;
  byImId: ReadonlyMap<RegisteredId, User>;
}

/** Who has each of these names and imIds, by what was asked for, in one query. */
export async function findUsersBy(
  pool: pg.Pool,
  appId: AppId,
  names: readonly Name[],
  imIds: readonly RegisteredId[],
): Promise<Found> {
  if (imIds.length === 0) return { byName: await findUsersByName(pool, appId, names), byImId: new Map() };
  if (names.length === 0) return { byName: new Map(), byImId: await findUsersByImId(pool, appId, imIds) };
  const { rows } = await pool.query<UserRow & { asked: string | null; asked_im_id: string }>({
    name: 'find_users_by',
    text: BY_BOTH,
    values: [appId, names, imIds.map(registeredIdToUuid)],
  });
  const byName = new Map<Name, User>();
  const byImId = new Map<RegisteredId, User>();
  for (const row of rows) {
    if (row.asked !== null) byName.set(row.asked as Name, toUser(row));
    else byImId.set(uuidToRegisteredId(row.asked_im_id), toUser(row));
  }
  return { byName, byImId };
}

/** Waits for those who are just being merged, so that the next statement sees whom they became; `ids`: a query. */
export async function awaitMergers(trx: Executor, appId: AppId, ids: RawBuilder<unknown>): Promise<void> {
  await sql`
    select from identity where app_id = ${appId} and id in (${ids}) order by id for key share`.execute(trx);
}

/** The app's id, kept from being deleted until what is inserted under it is committed; null when it is gone. */
function lockApp(appId: AppId): RawBuilder<number> {
  return sql`(select id from app where id = ${appId} for key share)`;
}

/** Gives each name that has no row one (not registered); in order, so that two calls don't deadlock. */
export async function insertUsers(db: Executor, appId: AppId, names: readonly Name[]): Promise<void> {
  await sql`
    insert into identity (app_id, name)
    select ${lockApp(appId)}, n from unnest(${names}::text[]) as n order by n collate "C"
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
): Promise<{ user: DatedUser; isNew: boolean }[]> {
  const imIds = new Map(registrations.map(({ name, imId }) => [name, imId]));
  const dates = registrations.map(({ createdAt }) => createdAt?.toISOString() ?? 'null');
  // As text that is cheap to make and to read: an import does this for every row. No name holds a line break.
  const { rows } = await sql<{ id: number; name: Name; created_ms: number; is_new: boolean }>`
    insert into identity (app_id, name, im_id, created_at)
    select ${lockApp(appId)}, t.name, t.im_id, coalesce(t.created_at, now())
    from unnest(string_to_array(${[...imIds.keys()].join('\n')}, e'\\n'),
      ${`{${[...imIds.values()].map(registeredIdToUuid).join(',')}}`}::uuid[],
      ${`{${dates.join(',')}}`}::timestamptz[]) as t (name, im_id, created_at)
    order by t.name collate "C"
    on conflict (app_id, name) do update set im_id = excluded.im_id
      where identity.im_id is null and identity.merged_into is null
        and identity.name <> all (${registrations.filter(({ adopt }) => !adopt).map(({ name }) => name)}::text[])
    returning id, name, floor(date_part('epoch', created_at) * 1000) as created_ms,
      (xmax = 0) as is_new`.execute(db);
  return rows.map(({ id, name, created_ms: createdMs, is_new: isNew }) => ({
    user: { id, name, imId: imIds.get(name), createdAt: new Date(createdMs) },
    isNew,
  }));
}

/**
 * Gives rows that were found to have none, and are locked, their imIds. Throws the unique violation of identity__im_id
 * when somebody has one of them.
 */
export async function markRegistered(
  trx: Executor,
  appId: AppId,
  rows: readonly { id: number; imId: RegisteredId }[],
): Promise<void> {
  await sql`
    update identity i set im_id = t.im_id
    from unnest(${rows.map(({ id }) => id)}::bigint[],
      ${rows.map(({ imId }) => registeredIdToUuid(imId))}::uuid[]) as t (id, im_id)
    where i.app_id = ${appId} and i.id = t.id`.execute(trx);
}

/** Where the inboxes of these rows stand now, by row, or which row they were merged into; one that is missing was erased. */
export async function findPositions(
  db: Executor,
  rows: readonly { appId: AppId; id: number }[],
): Promise<Map<number, { lastSeq: number; mergedInto: number | undefined }>> {
  const { rows: found } = await sql<{ id: number; last_seq: number; merged_into: number | null }>`
    select i.id, i.last_seq, i.merged_into
    from unnest(${rows.map((row) => row.appId)}::bigint[], ${rows.map((row) => row.id)}::bigint[]) as u (app_id, id)
    join identity i on i.app_id = u.app_id and i.id = u.id`.execute(db);
  return new Map(
    found.map((row) => [row.id, { lastSeq: row.last_seq, mergedInto: row.merged_into ?? undefined }]),
  );
}
