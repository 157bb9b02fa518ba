// Names that change hands: rename and erase.
// An act is committed first, with an end of the former time that is well ahead, and settled right after.

import { setTimeout as sleep } from 'node:timers/promises';
import { sql, type Insertable } from 'kysely';
import { uuidToRegisteredId, type AppId, type Name } from '../ids.ts';
import { CLOCK_ERROR_MS } from './clock.ts';
import { deleteWithheld } from './blocks.ts';
import type { Executor } from './database.ts';
import type { Hashes } from './former_names.ts';
import { isCalled, toDatedUser, toUser, type DatedUser, type DatedUserRow, type User } from './identities.ts';
import type { Tables } from './tables.ts';
import { rerun } from './transact.ts';

/** An act that gave names up, committed but not settled: until then tokens for them count for the former holders. */
export interface NameChange {
  users: DatedUser[];
  identityIds: number[];
  nameHashes: Buffer[];
  provisional: Date;
}

/**
 * Gives users other names, all at once, so that they may swap or follow one another. Undefined, and nothing is renamed,
 * when one of the rows is gone, or isn't called what it is to be renamed `from`. Throws the unique violation of identity__name when somebody else has a name.
 * Once committed, it is to be settled.
 */
export async function renameUsers(
  trx: Executor,
  appId: AppId,
  renames: readonly { id: number; name: Name; from?: Pick<User, 'name' | 'imId'> | undefined }[],
  hashes: Hashes,
): Promise<NameChange | undefined> {
  const ids = renames.map(({ id }) => id);
  const locked = await lockNames(trx, appId, ids);
  const held = locked.filter((row) => row.merged_into === null);
  if (held.length < ids.length) return undefined;
  const heldById = new Map(held.map((row) => [row.id, toUser(row)]));
  if (renames.some(({ id, from }) => from && !isCalled(heldById.get(id)!, from))) return undefined;
  const provisional = await findProvisional(trx);
  const nameOf = new Map(renames.map(({ id, name }) => [id, name]));
  const lent = locked.filter((row) => row.merged_into !== null && nameOf.get(row.merged_into) === row.name);
  const nameHashes = await insertFormerNames(
    trx,
    [...held, ...lent].map((holder) => toFormerName(appId, holder, hashes, provisional)),
  );
  if (lent.length > 0)
    await clearNames(
      trx,
      appId,
      lent.map(({ id }) => id),
    );
  // Out of the way first: the unique key is checked row by row.
  if (ids.length > 1) await clearNames(trx, appId, ids);
  const { rows } = await sql<DatedUserRow>`
    update identity i set name = t.name, name_since = ${provisional}
    from unnest(${ids}::bigint[], ${renames.map(({ name }) => name)}::text[]) as t (id, name)
    where i.app_id = ${appId} and i.id = t.id
    returning i.id, i.name, i.im_id, i.created_at`.execute(trx);
  return { users: rows.map(toDatedUser), identityIds: ids, nameHashes, provisional };
}

/** An erasure that is committed, with the rows whose messages are to be cleared away. */
export type Erasure = NameChange & { erasedIds: number[]; subjectHashes: Buffer[] };

/**
 * Erases the user in row `id`, and what was merged into it, with its devices and contacts, and frees its names; its
 * messages are cleared away after that. Undefined when there is no such row. Once committed, it is to be settled.
 */
export async function eraseUser(
  trx: Executor,
  appId: AppId,
  id: number,
  { hashes, blanksContent }: { hashes: Hashes; blanksContent: boolean },
): Promise<Erasure | undefined> {
  // Before the rows, as moving messages does it.
  await trx
    .selectFrom('merger')
    .select('from_id')
    .where('app_id', '=', appId)
    .where('into_id', '=', id)
    .forUpdate()
    .execute();
  const locked = await lockNames(trx, appId, [id]);
  if (!locked.some((row) => row.id === id && row.merged_into === null)) return undefined;
  const provisional = await findProvisional(trx);
  const formerNames = locked.flatMap((row) => {
    const forgotten = { ...toFormerName(appId, row, hashes, provisional), name: null, identity_id: null };
    if (row.im_id === null) return [forgotten];
    const imIdHash = hashes.ofImId(appId, uuidToRegisteredId(row.im_id));
    return [forgotten, { ...forgotten, name_hash: imIdHash, held_from: null }];
  });
  const nameHashes = await insertFormerNames(trx, formerNames);
  await trx
    .updateTable('former_name')
    .set({ identity_id: null, name: null })
    .where('app_id', '=', appId)
    .where('identity_id', '=', id)
    .execute();
  const erasedIds = locked.map((row) => row.id);
  await trx
    .insertInto('erasure')
    .values(erasedIds.map((each) => ({ app_id: appId, identity_id: each, blanks_content: blanksContent })))
    .execute();
  await deleteWithheld(trx, appId, erasedIds);
  await sql`delete from identity where app_id = ${appId} and id = any (${erasedIds}::bigint[])`.execute(trx);
  const subjectHashes = locked.map((row) => hashes.ofName(appId, row.name as Name));
  return { users: [], identityIds: [], nameHashes, provisional, erasedIds, subjectHashes };
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
    where f.app_id = ${appId} and f.name_hash = any (${change.nameHashes}::bytea[])
      and f.held_until = ${change.provisional}`.execute(db),
  );
  await sleep(SETTLE_MS + CLOCK_ERROR_MS + 1);
}

/**
 * How far ahead the instant lies: further than a token that was issued before may be stamped ahead, and than it takes to
 * commit it, so that nobody sees a token of behind it act for the former holder.
 */
export const SETTLE_MS = 30;
/** How long tokens count for the former holders when a process dies before it has settled what it committed. */
export const PROVISIONAL_SECONDS = 60;

export interface HeldName {
  id: number;
  name: string;
  name_since: Date | null;
  im_id: string | null;
  /** Not null: a name that was merged into this user. */
  merged_into: number | null;
  is_merging: boolean;
  tokens_from: Date | null;
}

type FormerName = Insertable<Tables['former_name']>;

/**
 * Locks rows, and then those merged into them, each in the order in which everybody locks them, and tells what they are
 * called. In two steps: who waited for a row must see what was merged into it meanwhile.
 */
export async function lockNames(trx: Executor, appId: AppId, ids: readonly number[]): Promise<HeldName[]> {
  const locked: HeldName[] = [];
  for (const column of ['id', 'merged_into'] as const) {
    const { rows } = await sql<HeldName>`
      select i.id, i.name, i.im_id, i.merged_into, i.is_merging, i.tokens_from,
        -- not settled yet: it is now, since it was committed; and null stays null
        case when i.name_since > clock_timestamp() then least(s.at,
          date_trunc('milliseconds', clock_timestamp()) + make_interval(secs => ${SETTLE_MS / 1000}))
        else coalesce(s.at, i.name_since) end as name_since
      from identity i left join settlement s on s.app_id = i.app_id and s.provisional = i.name_since
      where i.app_id = ${appId} and i.${sql.ref(column)} = any (${ids}::bigint[])
      order by i.app_id, i.id for update of i`.execute(trx);
    locked.push(...rows);
  }
  return locked;
}

/** Calls rows by nothing that anybody can be called, since no name holds a control character. */
async function clearNames(trx: Executor, appId: AppId, ids: readonly number[]): Promise<void> {
  await sql`
    update identity set name = e'\\x01' || id
    where app_id = ${appId} and id = any (${ids}::bigint[])`.execute(trx);
}

async function findProvisional(trx: Executor): Promise<Date> {
  const { rows } = await sql<{ provisional: Date }>`
    select date_trunc('milliseconds', clock_timestamp()) + make_interval(secs => ${PROVISIONAL_SECONDS}) as provisional`.execute(
    trx,
  );
  return rows[0]!.provisional;
}

/**
 * Notes names as given up, and gives back their hashes. Where the holder before was not settled yet, that is over now: it
 * was committed.
 */
export async function insertFormerNames(
  trx: Executor,
  formerNames: readonly FormerName[],
): Promise<Buffer[]> {
  const nameHashes = formerNames.map((former) => former.name_hash);
  await sql`
    update former_name f
    set held_until = least(
      (select s.at from settlement s where s.app_id = f.app_id and s.provisional = f.held_until),
      date_trunc('milliseconds', clock_timestamp()) + make_interval(secs => ${SETTLE_MS / 1000}))
    where app_id = ${formerNames[0]!.app_id} and name_hash = any (${nameHashes}::bytea[])
      and held_until > clock_timestamp() + make_interval(secs => ${SETTLE_MS / 1000})`.execute(trx);
  await trx.insertInto('former_name').values(formerNames).execute();
  return nameHashes;
}

export function toFormerName(appId: AppId, holder: HeldName, hashes: Hashes, heldUntil: Date): FormerName {
  return {
    app_id: appId,
    name_hash: hashes.ofName(appId, holder.name as Name),
    name: holder.name,
    identity_id: holder.merged_into ?? holder.id,
    held_from: holder.name_since,
    held_until: heldUntil,
    tokens_from: holder.tokens_from,
  };
}
