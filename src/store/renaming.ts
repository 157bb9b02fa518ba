// Renames the users of a staged list, in one transaction. What can be done before a row is locked is done before.
// Invariant: rows are locked in the order of their ids, and a user that isn't called as it was found is not renamed.

import { setTimeout as sleep } from 'node:timers/promises';
import type { AppId, Name } from '../ids.ts';
import { CLOCK_ERROR_MS } from './clock.ts';
import { violatedUnique } from './constraints.ts';
import type { Connection } from './database.ts';
import type { Hashes } from './former_names.ts';
import { PROVISIONAL_SECONDS, SETTLE_MS } from './name_changes.ts';
import { findRenames } from './rename_list.ts';
import { rerun } from './transact.ts';

/** The rows of a large act say this until its settlement says more; further ahead than any statement may take. */
const PROVISIONAL = `clock_timestamp() + interval '1 day'`;
const AFTER = (seconds: number): string =>
  `date_trunc('milliseconds', clock_timestamp()) + make_interval(secs => ${seconds})`;

// An act that was committed and isn't settled, as after a crash, is over for who comes next.
const SETTLE_OTHERS = `
with soon as (
  select now() + make_interval(secs => ${2 * PROVISIONAL_SECONDS}) as at
), small as materialized (
  select name_hash, held_until from former_name
  where app_id = $1 and held_until > now() and held_until < (select at from soon)
)
insert into settlement (app_id, provisional, at)
select $1, provisional, least(provisional, ${AFTER(SETTLE_MS / 1_000)}) from (
  select provisional from settlement where app_id = $1 and at > now()
  union
  select name_since from found where name_since > now() and name_since < (select at from soon)
  union
  select s.held_until from small s join found f on f.name_hash = s.name_hash
) as act
on conflict (app_id, provisional) do update set at = least(settlement.at, excluded.at)`;

const INSERT_FORMER_NAMES = `
insert into former_name (app_id, name_hash, name, identity_id, held_from, held_until)
select $1, name_hash, name, id, name_since, $2 from found where new_name <> name order by name_hash`;

// Who gets the name of another waits under one that nobody can have, since the unique key is checked row by row.
const RENAME = `
update identity i
set name = case when f.holder_id is null then f.new_name else e'\\x01' || i.id end, name_since = $2
from (select id, name, new_name, name_since, holder_id from found where new_name <> name order by id) f
where i.app_id = $1 and i.id = f.id and i.merged_into is null and i.name = f.name
  and i.name_since is not distinct from f.name_since`;

const RENAME_WAITING = `
update identity i set name = f.new_name from found f where f.holder_id is not null and i.app_id = $1 and i.id = f.id`;

const FIND_LENT = 'select new_name as name from found where lent';
const INSERT_LENT_NAMES = `
insert into former_name (app_id, name_hash, name, identity_id, held_from, held_until)
select $1, t.hash, h.name, f.id, h.name_since, $2
from unnest($3::text[], $4::bytea[]) as t (name, hash) join found f on f.lent and f.new_name = t.name
join identity h on h.app_id = $1 and h.id = f.holder_id`;
const CLEAR_LENT_NAMES = `
update identity h set name = e'\\x01' || h.id from found f
where f.lent and h.app_id = $1 and h.id = f.holder_id and h.merged_into = f.id and h.name = f.new_name`;

const INSERT_SETTLEMENT = `
insert into settlement (app_id, provisional, at) values ($1, $2, ${AFTER(PROVISIONAL_SECONDS)})`;

/** What came of a list: nothing, since it is faulty, or all of it, which is to be settled by `provisional` then. */
export type Tried = { isFaulty: true } | { isFaulty: false; renamed: number; provisional: string };

/** In which app, and whom its names mean: anybody, or none but registered users. */
export interface ListOptions {
  appId: AppId;
  registeredOnly: boolean;
  hashes: Hashes;
}

/** Undefined, and nothing was done, when a user or a name changed hands under way. Throws what Postgres throws. */
export function renameListed(client: Connection, options: ListOptions): Promise<Tried | undefined> {
  return rerun(async () => {
    await client.query('begin');
    try {
      const tried = await tryRename(client, options);
      await client.query(tried ? 'commit' : 'rollback');
      return tried;
    } catch (error) {
      await client.query('rollback').catch(() => {}); // the connection may be gone: that is what was thrown
      if (violatedUnique(error) === 'identity__name') return undefined;
      throw error;
    }
  });
}

async function tryRename(
  client: Connection,
  { appId, registeredOnly, hashes }: ListOptions,
): Promise<Tried | undefined> {
  const { isFaulty } = await findRenames(client, appId, registeredOnly);
  if (isFaulty) return { isFaulty };
  await client.query(SETTLE_OTHERS, [appId]);
  const { rows } = await client.query<{ provisional: string }>(
    `select (${PROVISIONAL})::text as provisional`,
  );
  const { provisional } = rows[0]!;
  const { rowCount: listed } = await client.query(INSERT_FORMER_NAMES, [appId, provisional]);
  const lent = (await client.query<{ name: Name }>(FIND_LENT)).rows.map(({ name }) => name);
  const lentHashes = lent.map((name) => hashes.ofName(appId, name));
  await client.query(INSERT_LENT_NAMES, [appId, provisional, lent, lentHashes]);
  // From a hash table rows would come, and be locked, in any order.
  await client.query('set local enable_hashjoin = off');
  const { rowCount: renamed } = await client.query(RENAME, [appId, provisional]);
  if (renamed !== listed) return undefined;
  const { rowCount: cleared } = await client.query(CLEAR_LENT_NAMES, [appId]);
  if (cleared !== lent.length) return undefined;
  await client.query(RENAME_WAITING, [appId]);
  await client.query(INSERT_SETTLEMENT, [appId, provisional]);
  return { isFaulty, renamed: renamed ?? 0, provisional };
}

/** As `settleNames` does, whatever the number of names. */
export async function settleListed(client: Connection, appId: AppId, provisional: string): Promise<void> {
  await rerun(() =>
    client.query(
      `with unflushed as (select set_config('synchronous_commit', 'off', true))
      update settlement set at = least(at, ${AFTER(SETTLE_MS / 1_000)}) from unflushed
      where app_id = $1 and provisional = $2`,
      [appId, provisional],
    ),
  );
  await sleep(SETTLE_MS + CLOCK_ERROR_MS + 1);
}

/** Makes lists of one app wait for one another, until the connection ends. */
export async function lockLists(client: Connection, appId: AppId): Promise<void> {
  await client.query(`select pg_advisory_lock(hashtextextended('renaming:' || $1::text, 0))`, [appId]);
}
