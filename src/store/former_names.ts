// Who held a name at a given time.
// Invariant: of each name, the times it was held never overlap, and their rows follow one another; the holder now has it
// from behind the last of them. A time that a settlement has stands for what that says.

import { sql } from 'kysely';
import type pg from 'pg';
import { registeredIdToUuid, type AppId, type Name, type RegisteredId } from '../ids.ts';
import type { Executor } from './database.ts';
import { toDatedUser, toUser, type DatedUser, type User, type UserRow } from './identities.ts';

/** What a former name, or the imId of an erased user, is found by without being kept. */
export interface Hashes {
  ofName(appId: AppId, name: Name): Buffer;
  ofImId(appId: AppId, imId: RegisteredId): Buffer;
}

/** Who a name stood for at a time: a user, nobody yet (the name was never used), or somebody who is no more. */
export type Holder = User | 'unused' | 'gone';

/**
 * Who held `name` at `instant` (to the millisecond), found as what it is called now. A name that nobody used
 * before its holder is that holder's from the beginning.
 */
export async function findHolderAt(
  db: Executor,
  appId: AppId,
  name: Name,
  nameHash: Buffer,
  instant: Date,
): Promise<Holder> {
  const { rows } = await sql<{
    former: boolean;
    in_time: boolean | null;
    id: number | null;
    name: string;
    im_id: string | null;
  }>`
    select f.id is not null as former,
      case when f.id is null then coalesce(s.at, c.name_since, '-infinity') <= ${instant} else f.in_time end as in_time,
      coalesce(h.id, m.id, c.id) as id, coalesce(h.name, m.name, c.name) as name,
      case when h.id is not null then h.im_id when m.id is not null then m.im_id else c.im_id end as im_id
    from (select 1) as one
    left join lateral (
      select n.id, n.identity_id, coalesce(s.at, n.held_from, '-infinity') <= ${instant} as in_time
      from former_name n
      left join settlement s on s.app_id = n.app_id and s.provisional = n.held_from
      left join settlement u on u.app_id = n.app_id and u.provisional = n.held_until
      where n.app_id = ${appId} and n.name_hash = ${nameHash} and coalesce(u.at, n.held_until) > ${instant}
      order by n.id limit 1
    ) f on true
    left join identity h on h.app_id = ${appId} and h.id = f.identity_id
    left join identity c on c.app_id = ${appId} and c.name = ${name} and f.id is null
    left join settlement s on s.app_id = c.app_id and s.provisional = c.name_since
    left join identity m on m.app_id = ${appId} and m.id = c.merged_into`.execute(db);
  const row = rows[0]!;
  if (row.id === null) return row.former ? 'gone' : 'unused';
  return row.in_time ? toUser({ ...row, id: row.id }) : 'gone';
}

/**
 * The user that has `imId`, unless a user with the same imId was erased after `instant` (an import may bring an imId
 * back). `imIdHash` is that of the imId.
 */
export async function findHolderOfImId(
  db: Executor,
  appId: AppId,
  imId: RegisteredId,
  imIdHash: Buffer,
  instant: Date,
): Promise<User | undefined> {
  const { rows } = await sql<UserRow>`
    select u.id, u.name, u.im_id
    from identity i join identity u on u.app_id = i.app_id and u.id = coalesce(i.merged_into, i.id)
    where i.app_id = ${appId} and i.im_id = ${registeredIdToUuid(imId)} and not exists (
      select from former_name where app_id = ${appId} and name_hash = ${imIdHash} and held_until > ${instant}
    )`.execute(db);
  return rows[0] && toUser(rows[0]);
}

const FORMER_HOLDERS_MAX = 1_000;

/** Whoever held a name before, with times; erased users are not among them. Newest first. */
export async function findFormerHolders(
  db: Executor,
  appId: AppId,
  nameHash: Buffer,
): Promise<{ user: DatedUser; name: Name; heldFrom: Date | undefined; heldUntil: Date }[]> {
  const rows = await db
    .selectFrom('former_name as f')
    .innerJoin('identity as i', (join) =>
      join.onRef('i.app_id', '=', 'f.app_id').onRef('i.id', '=', 'f.identity_id'),
    )
    .leftJoin('settlement as s', (join) =>
      join.onRef('s.app_id', '=', 'f.app_id').onRef('s.provisional', '=', 'f.held_from'),
    )
    .leftJoin('settlement as u', (join) =>
      join.onRef('u.app_id', '=', 'f.app_id').onRef('u.provisional', '=', 'f.held_until'),
    )
    .select(['i.id', 'i.name', 'i.im_id', 'i.created_at', 'f.name as former'])
    .select(({ fn }) => [
      fn.coalesce('s.at', 'f.held_from').as('held_from'),
      fn.coalesce('u.at', 'f.held_until').as('held_until'),
    ])
    .where('f.app_id', '=', appId)
    .where('f.name_hash', '=', nameHash)
    .orderBy('f.id', 'desc')
    .limit(FORMER_HOLDERS_MAX)
    .execute();
  return rows.map((row) => ({
    user: toDatedUser(row),
    name: row.former as Name,
    heldFrom: row.held_from ?? undefined,
    heldUntil: row.held_until,
  }));
}

/** Who had each of these names last; undefined where somebody has it, nobody had it, or the user was erased. */
export async function findLastHolders(
  pool: pg.Pool,
  appId: AppId,
  names: readonly Name[],
  hashes: Hashes,
): Promise<(User | undefined)[]> {
  if (names.length === 0) return [];
  const { rows } = await pool.query<UserRow & { id: number | null }>({
    name: 'find_last_holders',
    text: `select i.id, i.name, i.im_id
      from unnest($2::text[], $3::bytea[]) with ordinality as asked (name, hash, place)
      left join lateral (
        select identity_id from former_name where app_id = $1 and name_hash = asked.hash
        order by id desc limit 1
      ) f on not exists (select from identity where app_id = $1 and name = asked.name collate "C")
      left join identity i on i.app_id = $1 and i.id = f.identity_id
      order by asked.place`,
    values: [appId, names, names.map((name) => hashes.ofName(appId, name))],
  });
  return rows.map((row) => (row.id === null ? undefined : toUser(row)));
}

/** Of each name, the rows of those that gave it up. */
export async function findFormerIds(
  pool: pg.Pool,
  appId: AppId,
  names: readonly Name[],
  hashes: Hashes,
): Promise<number[][]> {
  const { rows } = await pool.query<{ ids: string[] }>({
    name: 'find_former_ids',
    text: `select array(
        select identity_id from former_name
        where app_id = $1 and name_hash = asked.hash and identity_id is not null
      )::text[] as ids
      from unnest($2::bytea[]) with ordinality as asked (hash, place) order by asked.place`,
    values: [appId, names.map((name) => hashes.ofName(appId, name))],
  });
  return rows.map(({ ids }) => ids.map(Number));
}
