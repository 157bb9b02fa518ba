// Renames the users of a staged list, in one transaction. What can be done before a row is locked is done before.
// Invariant: rows are locked in the order of their ids, and a user that isn't called as it was found is not renamed.

import { setTimeout as sleep } from 'node:timers/promises';
import type { AppId } from '../ids.ts';
import { CLOCK_ERROR_MS } from './clock.ts';
import { violatedUnique } from './constraints.ts';
import type { Connection } from './database.ts';
import { PROVISIONAL_SECONDS, SETTLE_MS } from './name_changes.ts';
import { findRenames, type RenameSummary } from './rename_list.ts';
import { rerun } from './transact.ts';

/** The rows of a large act say this until its settlement says more; further ahead than any statement may take. */
const PROVISIONAL = `clock_timestamp() + interval '1 day'`;
const AFTER = (seconds: number): string =>
  `date_trunc('milliseconds', clock_timestamp()) + make_interval(secs => ${seconds})`;

// An act that was committed and isn't settled is over for who comes next.
const SETTLE_OTHERS = `
insert into settlement (app_id, provisional, at)
select $1, provisional, least(provisional, ${AFTER(SETTLE_MS / 1_000)}) from (
  select name_since as provisional from found where name_since > now()
  union
  select n.held_until from found f join former_name n on n.app_id = $1 and n.name_hash = f.name_hash
  where n.held_until > now()
) as unsettled
on conflict (app_id, provisional) do update set at = least(settlement.at, excluded.at)`;

const INSERT_FORMER_NAMES = `
insert into former_name (app_id, name_hash, name, identity_id, held_from, held_until)
select $1, name_hash, name, id, name_since, $2 from found where new_name <> name order by id`;

// Who wants the name of another line waits under a name that nobody can have, since the unique key is checked row by row.
const RENAME = `
update identity i
set name = case when f.follows then e'\\x01' || i.id else f.new_name end, name_since = $2
from (select id, name, new_name, name_since, follows from found where new_name <> name order by id) f
where i.app_id = $1 and i.id = f.id and i.merged_into is null and i.name = f.name
  and i.name_since is not distinct from f.name_since`;

const RENAME_WAITING = `
update identity i set name = f.new_name from found f where f.follows and i.app_id = $1 and i.id = f.id`;

const INSERT_SETTLEMENT = `
insert into settlement (app_id, provisional, at) values ($1, $2, ${AFTER(PROVISIONAL_SECONDS)})`;

/** A list that was tried: with faults nothing was done, else all of it; to be settled by `provisional` then. */
export interface Tried {
  summary: RenameSummary;
  provisional: string;
}

/** Undefined, and nothing was done, when a user or a name changed hands under way. Throws what Postgres throws. */
export function renameListed(
  client: Connection,
  appId: AppId,
  registeredOnly: boolean,
): Promise<Tried | undefined> {
  return rerun(async () => {
    await client.query('begin');
    try {
      const tried = await tryRename(client, appId, registeredOnly);
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
  appId: AppId,
  registeredOnly: boolean,
): Promise<Tried | undefined> {
  const summary = await findRenames(client, appId, registeredOnly);
  const { rows } = await client.query<{ provisional: string }>(
    `select (${PROVISIONAL})::text as provisional`,
  );
  const { provisional } = rows[0]!;
  if (summary.faults > 0 || summary.renames === 0) return { summary, provisional };
  await client.query(SETTLE_OTHERS, [appId]);
  await client.query(INSERT_FORMER_NAMES, [appId, provisional]);
  // From a hash table rows would come, and be locked, in any order.
  await client.query('set local enable_hashjoin = off');
  const { rowCount } = await client.query(RENAME, [appId, provisional]);
  if (rowCount !== summary.renames) return undefined;
  await client.query(RENAME_WAITING, [appId]);
  await client.query(INSERT_SETTLEMENT, [appId, provisional]);
  return { summary, provisional };
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
