// Names that change hands: rename and erase, and who held a name at a given time.
// Invariant: of each name, the times it was held never overlap; the holder now has it from behind the last of them.
// An act is committed first, with an end of the former time that is well ahead, and settled right after.

import { setTimeout as sleep } from 'node:timers/promises';
import { sql, type Insertable } from 'kysely';
import { registeredIdToUuid, uuidToRegisteredId, type AppId, type Name, type RegisteredId } from '../ids.ts';
import { CLOCK_ERROR_MS } from './clock.ts';
import type { Executor } from './database.ts';
import { toUser, type User, type UserRow } from './identities.ts';
import type { Tables } from './tables.ts';
import { rerun } from './transact.ts';

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
    created_at: Date;
  }>`
    select f.held_until is not null as former,
      case when f.held_until is null then coalesce(c.name_since, '-infinity') <= ${instant} else f.in_time end as in_time,
      coalesce(h.id, c.id) as id, coalesce(h.name, c.name) as name,
      case when f.held_until is null then c.im_id else h.im_id end as im_id,
      coalesce(h.created_at, c.created_at) as created_at
    from (select 1) as one
    left join lateral (
      select identity_id, held_until, coalesce(held_from, '-infinity') <= ${instant} as in_time from former_name
      where app_id = ${appId} and name_hash = ${nameHash} and held_until > ${instant}
      order by held_until limit 1
    ) f on true
    left join identity h on h.app_id = ${appId} and h.id = f.identity_id
    left join identity c on c.app_id = ${appId} and c.name = ${name} and f.held_until is null`.execute(db);
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
  const row = await db
    .selectFrom('identity')
    .select(['id', 'name', 'im_id', 'created_at'])
    .where('app_id', '=', appId)
    .where('im_id', '=', registeredIdToUuid(imId))
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('former_name')
            .select('id')
            .where('app_id', '=', appId)
            .where('name_hash', '=', imIdHash)
            .where('held_until', '>', instant),
        ),
      ),
    )
    .executeTakeFirst();
  return row && toUser(row);
}

/** Whoever held a name before, with times; erased users are not among them. Newest first. */
export async function findFormerHolders(
  db: Executor,
  appId: AppId,
  nameHash: Buffer,
): Promise<{ user: User; name: Name; heldFrom: Date | undefined; heldUntil: Date }[]> {
  const rows = await db
    .selectFrom('former_name as f')
    .innerJoin('identity as i', (join) =>
      join.onRef('i.app_id', '=', 'f.app_id').onRef('i.id', '=', 'f.identity_id'),
    )
    .select(['i.id', 'i.name', 'i.im_id', 'i.created_at', 'f.name as former', 'f.held_from', 'f.held_until'])
    .where('f.app_id', '=', appId)
    .where('f.name_hash', '=', nameHash)
    .orderBy('f.held_until', 'desc')
    .execute();
  return rows.map((row) => ({
    user: toUser(row),
    name: row.former as Name,
    heldFrom: row.held_from ?? undefined,
    heldUntil: row.held_until,
  }));
}

/** An act that gave names up, committed but not settled: until then tokens for them count for the former holders. */
export interface NameChange {
  users: User[];
  identityIds: number[];
  formerNameIds: number[];
  provisional: Date;
}

/**
 * Gives users other names, all at once, so that they may swap or follow one another. Undefined, and nothing is renamed,
 * when one of the rows is gone. Throws the unique violation of identity__name when somebody else has a name.
 * Once committed, it is to be settled.
 */
export async function renameUsers(
  trx: Executor,
  appId: AppId,
  renames: readonly { id: number; name: Name }[],
  hashes: Hashes,
): Promise<NameChange | undefined> {
  const ids = renames.map(({ id }) => id);
  const held = await lockNames(trx, appId, ids);
  if (held.length < ids.length) return undefined;
  const provisional = await findProvisional(trx);
  const formerNameIds = await insertFormerNames(
    trx,
    held.map((holder) => toFormerName(appId, holder, hashes, provisional)),
  );
  // Out of the way first: the unique key is checked row by row, and nobody can be called by a control character.
  if (ids.length > 1)
    await sql`
      update identity set name = e'\\x01' || id
      where app_id = ${appId} and id = any (${ids}::bigint[])`.execute(trx);
  const { rows } = await sql<UserRow>`
    update identity i set name = t.name, name_since = ${provisional}
    from unnest(${ids}::bigint[], ${renames.map(({ name }) => name)}::text[]) as t (id, name)
    where i.app_id = ${appId} and i.id = t.id
    returning i.id, i.name, i.im_id, i.created_at`.execute(trx);
  return { users: rows.map(toUser), identityIds: ids, formerNameIds, provisional };
}

/**
 * Erases the user in row `id` with its devices and contacts, and frees its name; its messages are cleared away after
 * that. Undefined when there is no such row. Once committed, it is to be settled.
 */
export async function eraseUser(
  trx: Executor,
  appId: AppId,
  id: number,
  hashes: Hashes,
): Promise<NameChange | undefined> {
  const [holder] = await lockNames(trx, appId, [id]);
  if (!holder) return undefined;
  const provisional = await findProvisional(trx);
  const forgotten = { ...toFormerName(appId, holder, hashes, provisional), name: null, identity_id: null };
  const formerNames: FormerName[] = [forgotten];
  if (holder.im_id !== null)
    formerNames.push({
      ...forgotten,
      name_hash: hashes.ofImId(appId, uuidToRegisteredId(holder.im_id)),
      held_from: null,
    });
  const formerNameIds = await insertFormerNames(trx, formerNames);
  await trx
    .updateTable('former_name')
    .set({ identity_id: null, name: null })
    .where('app_id', '=', appId)
    .where('identity_id', '=', id)
    .execute();
  await trx.insertInto('erasure').values({ app_id: appId, identity_id: id }).execute();
  await trx.deleteFrom('identity').where('app_id', '=', appId).where('id', '=', id).execute();
  return { users: [], identityIds: [], formerNameIds, provisional };
}

/**
 * Fixes the instant from which the names count for others: behind every token that was issued before the act was
 * committed, and, when this resolves, before every one that is issued from now on. Whatever the clocks of the
 * processes do, since each stamps its tokens by the database's clock with a bounded error.
 */
export async function settleNames(db: Executor, appId: AppId, change: NameChange): Promise<void> {
  await rerun(() =>
    sql`
    with instant as (
      -- need not be flushed: what a crash would leave, the provisional end, is safe
      select set_config('synchronous_commit', 'off', true),
        date_trunc('milliseconds', clock_timestamp()) + make_interval(secs => ${SETTLE_MS / 1000}) as at
    ), moved as (
      update identity i set name_since = instant.at from instant
      where i.app_id = ${appId} and i.id = any (${change.identityIds}::bigint[])
        and i.name_since = ${change.provisional}
      returning i.id
    )
    -- after the identities, which is the order in which everybody locks the two
    update former_name f set held_until = instant.at from instant, (select count(*) from moved) as m
    where f.app_id = ${appId} and f.id = any (${change.formerNameIds}::bigint[])
      and f.held_until = ${change.provisional}`.execute(db),
  );
  await sleep(SETTLE_MS + CLOCK_ERROR_MS + 1);
}

/**
 * How far ahead the instant lies: further than a token that was issued before may be stamped ahead, and than it takes to
 * commit it, so that nobody sees a token of behind it act for the former holder.
 */
const SETTLE_MS = 30;
/** How long tokens count for the former holders when a process dies before it has settled what it committed. */
const PROVISIONAL_SECONDS = 60;

interface HeldName {
  id: number;
  name: string;
  name_since: Date | null;
  im_id: string | null;
}

type FormerName = Insertable<Tables['former_name']>;

/** Locks rows, in the order in which everybody locks them, and tells what they are called. */
async function lockNames(trx: Executor, appId: AppId, ids: readonly number[]): Promise<HeldName[]> {
  const { rows } = await sql<HeldName>`
    select id, name, im_id,
      -- not settled yet: it is now, since it was committed; and null stays null
      case when name_since > clock_timestamp() then
        date_trunc('milliseconds', clock_timestamp()) + make_interval(secs => ${SETTLE_MS / 1000})
      else name_since end as name_since
    from identity
    where app_id = ${appId} and id = any (${ids}::bigint[]) order by app_id, id for update`.execute(trx);
  return rows;
}

async function findProvisional(trx: Executor): Promise<Date> {
  const { rows } = await sql<{ provisional: Date }>`
    select date_trunc('milliseconds', clock_timestamp()) + make_interval(secs => ${PROVISIONAL_SECONDS}) as provisional`.execute(
    trx,
  );
  return rows[0]!.provisional;
}

/** Notes names as given up. Where the holder before was not settled yet, that is over now: it was committed. */
async function insertFormerNames(trx: Executor, formerNames: readonly FormerName[]): Promise<number[]> {
  await sql`
    update former_name
    set held_until = date_trunc('milliseconds', clock_timestamp()) + make_interval(secs => ${SETTLE_MS / 1000})
    where app_id = ${formerNames[0]!.app_id} and name_hash = any (${formerNames.map((former) => former.name_hash)}::bytea[])
      and held_until > clock_timestamp() + make_interval(secs => ${SETTLE_MS / 1000})`.execute(trx);
  const rows = await trx.insertInto('former_name').values(formerNames).returning('id').execute();
  return rows.map(({ id }) => id);
}

function toFormerName(appId: AppId, holder: HeldName, hashes: Hashes, provisional: Date): FormerName {
  return {
    app_id: appId,
    name_hash: hashes.ofName(appId, holder.name as Name),
    name: holder.name,
    identity_id: holder.id,
    held_from: holder.name_since,
    held_until: provisional,
  };
}
