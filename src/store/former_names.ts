// Who held a name at a given time.
// Invariant: of each name, the times it was held never overlap, and their rows follow one another; the holder now has it
// from behind the last of them. A time that a settlement has stands for what that says.

import type pg from 'pg';
import { registeredIdToUuid, type AppId, type Name, type RegisteredId } from '../ids.ts';
import { bigintArray, textArray, uuidArray } from './arrays.ts';
import type { Executor } from './database.ts';
import { toDatedUser, toUser, type DatedUser, type User, type UserRow } from './identities.ts';

/** What a former name, or the imId of an erased user, is found by without being kept. */
export interface Hashes {
  ofName(appId: AppId, name: Name): Buffer;
  ofImId(appId: AppId, imId: RegisteredId): Buffer;
}

/**
 * Whom a token acts for: a user, nobody yet (the name was never used), somebody who is no more, or nobody, since what was
 * issued at that time was revoked.
 */
export type Holder = User | 'unused' | 'gone' | 'revoked';

/** What a token says: a name, when it was issued, and on which device it is used. */
export interface HolderAsk {
  appId: AppId;
  name: Name;
  instant: Date;
  deviceId: string | undefined;
}

/**
 * Who held each name at its instant (to the millisecond), found as what it is called now. A name that nobody used
 * before its holder is that holder's from the beginning. What was revoked before a merger, of either user, stays revoked.
 */
export async function findHoldersAt(
  pool: pg.Pool,
  asks: readonly HolderAsk[],
  hashes: Hashes,
): Promise<Holder[]> {
  const { rows } = await pool.query<{
    former: boolean;
    in_time: boolean | null;
    id: number | null;
    name: string;
    im_id: string | null;
    is_revoked: boolean;
  }>({
    name: 'find_holders_at',
    text: `
    select f.id is not null as former,
      case when f.id is null then coalesce(s.at, c.name_since, '-infinity') <= a.instant else f.in_time end as in_time,
      coalesce(h.id, m.id, c.id) as id, coalesce(h.name, m.name, c.name) as name,
      case when h.id is not null then h.im_id when m.id is not null then m.im_id else c.im_id end as im_id,
      coalesce(a.instant < greatest(f.tokens_from, h.tokens_from, c.tokens_from, m.tokens_from, d.tokens_from), false)
        as is_revoked
    from unnest($1::bigint[], $2::text[], $3::bytea[], $4::timestamptz[], $5::text[]) with ordinality
      as a (app_id, name, name_hash, instant, device_id, place)
    left join lateral (
      select n.id, n.identity_id, n.tokens_from, coalesce(s.at, n.held_from, '-infinity') <= a.instant as in_time
      from former_name n
      left join settlement s on s.app_id = n.app_id and s.provisional = n.held_from
      left join settlement u on u.app_id = n.app_id and u.provisional = n.held_until
      where n.app_id = a.app_id and n.name_hash = a.name_hash and coalesce(u.at, n.held_until) > a.instant
      order by n.id limit 1
    ) f on true
    left join identity h on h.app_id = a.app_id and h.id = f.identity_id
    left join identity c on c.app_id = a.app_id and c.name = a.name and f.id is null
    left join settlement s on s.app_id = c.app_id and s.provisional = c.name_since
    left join identity m on m.app_id = c.app_id and m.id = c.merged_into
    left join device d on d.app_id = a.app_id and d.identity_id = coalesce(h.id, m.id, c.id) and d.id = a.device_id
    order by a.place`,
    values: [
      bigintArray(asks.map((ask) => ask.appId)),
      textArray(asks.map((ask) => ask.name)),
      asks.map((ask) => hashes.ofName(ask.appId, ask.name)),
      asks.map((ask) => ask.instant),
      textArray(asks.map((ask) => ask.deviceId ?? null)),
    ],
  });
  return rows.map((row) => {
    if (row.id === null) return row.former ? 'gone' : 'unused';
    if (row.is_revoked) return 'revoked';
    return row.in_time ? toUser({ ...row, id: row.id }) : 'gone';
  });
}

/** As HolderAsk, of an imId. */
export interface ImIdAsk extends Omit<HolderAsk, 'name'> {
  imId: RegisteredId;
}

/**
 * The user that has each imId, unless a user with the same imId was erased after its instant (an import may bring an
 * imId back).
 */
export async function findHoldersOfImIds(
  pool: pg.Pool,
  asks: readonly ImIdAsk[],
  hashes: Hashes,
): Promise<(User | 'gone' | 'revoked')[]> {
  const { rows } = await pool.query<UserRow & { id: number | null; is_revoked: boolean }>({
    name: 'find_holders_of_im_ids',
    text: `
    select u.id, u.name, u.im_id,
      coalesce(a.instant < greatest(i.tokens_from, u.tokens_from, d.tokens_from, (
        select max(s.tokens_from) from merger g join identity s on s.app_id = g.app_id and s.id = g.from_id
        where g.app_id = a.app_id and g.im_id = a.im_id
      )), false) as is_revoked
    from unnest($1::bigint[], $2::uuid[], $3::bytea[], $4::timestamptz[], $5::text[]) with ordinality
      as a (app_id, im_id, im_id_hash, instant, device_id, place)
    left join identity i on i.app_id = a.app_id and i.im_id = a.im_id and not exists (
      select from former_name where app_id = a.app_id and name_hash = a.im_id_hash and held_until > a.instant
    )
    left join identity u on u.app_id = i.app_id and u.id = coalesce(i.merged_into, i.id)
    left join device d on d.app_id = a.app_id and d.identity_id = u.id and d.id = a.device_id
    order by a.place`,
    values: [
      bigintArray(asks.map((ask) => ask.appId)),
      uuidArray(asks.map((ask) => registeredIdToUuid(ask.imId))),
      asks.map((ask) => hashes.ofImId(ask.appId, ask.imId)),
      asks.map((ask) => ask.instant),
      textArray(asks.map((ask) => ask.deviceId ?? null)),
    ],
  });
  return rows.map((row) => {
    if (row.id === null) return 'gone';
    return row.is_revoked ? 'revoked' : toUser(row);
  });
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
