// Inboxes that have something to be pushed, taken by one worker at a time.

import { sql } from 'kysely';
import type pg from 'pg';
import type { AppId } from '../ids.ts';
import { bigintArray, textArray } from './arrays.ts';
import type { Executor } from './database.ts';
import type { Pipeline } from './pipeline.ts';
import { transact } from './transact.ts';

export interface Inbox {
  appId: AppId;
  id: number;
}

/** An inbox that was taken to be looked at; nobody else does until the lease is over. */
export interface DueInbox extends Inbox {
  /** As it was when it was taken; another one: more has come. */
  version: number;
  /** When the lease is over, as Postgres writes it; another one: it was, and somebody else has taken the inbox. */
  lease: string;
  /** Something that its devices may be showing has been read, or recalled. */
  clears: boolean;
}

/** Takes inboxes that are due, for so long. Doesn't wait for the disk, since a lease that gets lost only ends sooner. */
export async function leaseDue(pipeline: Pipeline, limit: number, leaseMs: number): Promise<DueInbox[]> {
  const { rows } = await pipeline.query<{
    app_id: number;
    identity_id: number;
    version: number;
    lease: string;
    clears: boolean;
  }>({
    // By its place in the table, since a join would be planned for any number of rows, and read all of them. Not prepared:
    // a plan that is kept from when little was due reads all of it as well.
    text: `with unflushed as (select set_config('synchronous_commit', 'off', true))
      update push_due set leased_until = now() + $2 * interval '1 millisecond' from unflushed
      where ctid = any (array(
        select ctid from push_due where due_at <= now() and (leased_until is null or leased_until < now())
        order by due_at limit $1 for update skip locked
      ))
      returning app_id, identity_id, version, leased_until::text as lease, clears`,
    values: [limit, leaseMs],
  });
  return rows.map((row) => ({
    appId: row.app_id as AppId,
    id: row.identity_id,
    version: row.version,
    lease: row.lease,
    clears: row.clears,
  }));
}

/**
 * Gives inboxes back: done, unless more has come meanwhile, or due again after so many milliseconds. Those that somebody else
 * has taken since stay as they are. In the order of their keys, as they are written by who stores messages: else the two might
 * wait for each other.
 */
export async function returnDue(
  pool: pg.Pool,
  returned: readonly (DueInbox & { againMs: number | undefined })[],
): Promise<void> {
  const inboxes = returned.toSorted((a, b) => a.appId - b.appId || a.id - b.id);
  const done = inboxes.filter(({ againMs }) => againMs === undefined);
  const { rows } = await pool.query<{ identity_id: number }>({
    name: 'delete_push_due',
    text: `delete from push_due d
      using unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) as q (app_id, identity_id, version, lease)
      where d.app_id = q.app_id and d.identity_id = q.identity_id and d.version = q.version
        and d.leased_until = q.lease::timestamptz
      returning d.identity_id`,
    values: [...keysOf(done), ...takenAs(done)],
  });
  const gone = new Set(rows.map((row) => row.identity_id));
  const left = inboxes.filter(({ id }) => !gone.has(id));
  if (left.length === 0) return;
  // Not in the same statement, which would not see what has come while it waited for a row.
  await pool.query({
    name: 'return_push_due',
    text: `update push_due d set leased_until = null, clears = d.clears and d.version <> q.version, due_at = case
        when d.version = q.version then now() + q.again_ms::double precision * interval '1 millisecond' else d.due_at end
      from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[])
        as q (app_id, identity_id, version, lease, again_ms)
      where d.app_id = q.app_id and d.identity_id = q.identity_id and d.leased_until = q.lease::timestamptz`,
    values: [...keysOf(left), ...takenAs(left), textArray(left.map(({ againMs }) => String(againMs ?? 0)))],
  });
}

function takenAs(inboxes: readonly DueInbox[]): [versions: Buffer, leases: Buffer] {
  return [bigintArray(inboxes.map(({ version }) => version)), textArray(inboxes.map(({ lease }) => lease))];
}

export function keysOf(inboxes: readonly Inbox[]): [appIds: Buffer, ids: Buffer] {
  return [bigintArray(inboxes.map(({ appId }) => appId)), bigintArray(inboxes.map(({ id }) => id))];
}

/** Has an inbox looked at, as something in it has been read or recalled; nothing, where nobody is to be told of it. */
export async function makeDue(trx: Executor, { appId, id }: Inbox): Promise<void> {
  await sql`
    insert into push_due as d (app_id, identity_id, due_at, clears)
    select app_id, id, now(), true from identity i where app_id = ${appId} and id = ${id} and (has_push or exists (
      -- its app's backend is told, at least
      select from push_due w where w.app_id = i.app_id and w.identity_id = i.id
    ))
    on conflict (app_id, identity_id) do update
      set version = d.version + 1, clears = true, due_at = least(d.due_at, excluded.due_at)`.execute(trx);
}

/** What is to be pushed to a user that is merged is to be pushed to the other one. */
export async function mergeDue(trx: Executor, appId: AppId, fromId: number, intoId: number): Promise<void> {
  await sql`
    with d as (delete from push_due where app_id = ${appId} and identity_id = ${fromId} returning due_at)
    insert into push_due as o (app_id, identity_id, due_at) select ${appId}, ${intoId}, due_at from d
    on conflict (app_id, identity_id) do update
      set version = o.version + 1, due_at = least(o.due_at, excluded.due_at)`.execute(trx);
}

/** What has come by a merger is no news, unless something of either was still to be pushed, or told. The inbox has to be locked. */
export async function settleJoined(trx: Executor, { appId, id }: Inbox): Promise<void> {
  const isSettled = sql`not exists (select from push_due where app_id = ${appId} and identity_id = ${id})`;
  await sql`
    update device d set pushed_seq = i.last_seq from identity i
    where i.app_id = ${appId} and i.id = ${id} and d.app_id = i.app_id and d.identity_id = i.id
      and d.push_token is not null and ${isSettled}`.execute(trx);
  await sql`
    insert into offline_told (app_id, identity_id, seq)
    select i.app_id, i.id, i.last_seq from identity i join webhook w on w.app_id = i.app_id
    where i.app_id = ${appId} and i.id = ${id} and 'message.offline' = any(w.events) and ${isSettled}
    on conflict (app_id, identity_id) do update set seq = excluded.seq`.execute(trx);
}

/** Nothing is due any more for those who have no device that can be reached; who binds one meanwhile comes before or after. */
export async function forgetUnreachable(db: Executor, { appId, id }: Inbox): Promise<void> {
  await transact(db, async (trx) => {
    await sql`select from identity where app_id = ${appId} and id = ${id} for no key update`.execute(trx);
    await sql`
      update identity set has_push = false where app_id = ${appId} and id = ${id} and has_push and not exists (
        select from device where app_id = ${appId} and identity_id = ${id} and push_token is not null
      )`.execute(trx);
  });
}
