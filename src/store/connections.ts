// Connections of all processes, and the processes that hold them. What a process that is gone has left behind counts for
// nothing.

import { sql } from 'kysely';
import type pg from 'pg';
import type { AppId, Scheme } from '../ids.ts';
import { bigintArray, booleanArray, textArray, uuidArray } from './arrays.ts';
import { BLOCKS_OF, toBlocks, type Blocks, type BlocksJson } from './blocks.ts';
import type { Executor } from './database.ts';
import { inOrder } from './devices.ts';

/** A device has one connection, on whichever process. */
export interface ConnectionKey {
  appId: AppId;
  identityId: number;
  deviceId: string;
}

export interface NewConnection extends ConnectionKey {
  id: string;
  scheme: Scheme;
  isForeground: boolean;
  /** When its token was issued. */
  tokenAt: Date;
  /** Of its token. */
  jti: string;
  /** A device of its own, of which nothing is kept. */
  isAnonymous: boolean;
}

/** Where a device stands that connects. */
export interface OpenedConnection {
  lastSeq: number;
  /** Undefined for a device of its own, and for one that another process has just taken in: to be asked for again. */
  acked: number | undefined;
  /** Up to here it is shown what was brought along, too. */
  wholeSeq: number;
  isNew: boolean;
  /** False: the device has a connection with a newer token. */
  isHeld: boolean;
  /** What the user, or the device, was issued before is revoked; undefined: nothing is. */
  tokensFrom: Date | undefined;
  /** The connection that this one has replaced. */
  former: { processId: string; id: string } | undefined;
  /** What is withheld of its inbox. */
  blocks: Blocks;
}

/** A process that hasn't been seen for this long is gone. */
const PROCESS_LIFE = "interval '10 seconds'";
/** Of a process `p`. */
export const ALIVE = `p.seen_at > now() - ${PROCESS_LIFE}`;

// The row of a device is another connection's from now on, and remembers whose it was.
const TAKE_OVER = `on conflict (app_id, identity_id, device_id) do update set
    process_id = excluded.process_id, id = excluded.id, scheme = excluded.scheme,
    is_foreground = excluded.is_foreground, token_at = excluded.token_at, jti = excluded.jti,
    former_process_id = case when c.id = excluded.id then c.former_process_id else c.process_id end,
    former_id = case when c.id = excluded.id then c.former_id else c.id end`;

// A device that is known is read only, so that taking it in waits for no disk.
const OPEN = `
with asked as materialized (
  select q.*, i.last_seq, i.tokens_from, i.blocks_version
  from unnest($2::bigint[], $3::bigint[], $4::text[], $5::uuid[], $6::text[], $7::boolean[], $8::timestamptz[], $9::uuid[], $10::boolean[])
    as q (app_id, identity_id, device_id, id, scheme, is_foreground, token_at, jti, is_anonymous)
  join identity i on i.app_id = q.app_id and i.id = q.identity_id and i.merged_into is null
), seen as (
  insert into device (app_id, identity_id, id, acked_seq, begun_seq)
  select app_id, identity_id, device_id, last_seq, last_seq from asked where not is_anonymous
  order by app_id, identity_id, device_id
  on conflict (app_id, identity_id, id) do nothing
  returning app_id, identity_id, id, acked_seq
), held as (
  insert into connection as c (app_id, identity_id, device_id, process_id, id, scheme, is_foreground, token_at, jti)
  select app_id, identity_id, device_id, $1::uuid, id, scheme, is_foreground, token_at, jti from asked
  order by app_id, identity_id, device_id
  ${TAKE_OVER}
  where c.token_at <= excluded.token_at
    or not exists (select from process p where p.id = c.process_id and p.seen_at > now() - ${PROCESS_LIFE})
  returning id, former_process_id, former_id
)
select a.id, a.last_seq, coalesce(s.acked_seq, d.acked_seq) as acked_seq, coalesce(d.whole_seq, 0) as whole_seq,
  s.id is not null as is_new,
  h.id is not null as is_held, h.former_process_id, h.former_id, greatest(a.tokens_from, d.tokens_from) as tokens_from, a.blocks_version,
  ${BLOCKS_OF('a.app_id', 'a.identity_id')} as blocks
from asked a left join held h on h.id = a.id
left join seen s on s.app_id = a.app_id and s.identity_id = a.identity_id and s.id = a.device_id
left join device d on d.app_id = a.app_id and d.identity_id = a.identity_id and d.id = a.device_id`;

/**
 * Takes connections in, each of another device; a device that is seen for the first time starts at the inbox's end of this
 * moment. By id; one whose user is gone, or merged into another one, is missing.
 */
export async function openConnections(
  pool: pg.Pool,
  processId: string,
  connections: readonly NewConnection[],
): Promise<Map<string, OpenedConnection>> {
  const { rows } = await pool.query<{
    id: string;
    last_seq: number;
    acked_seq: number | null;
    whole_seq: number;
    is_new: boolean;
    is_held: boolean;
    former_process_id: string | null;
    former_id: string | null;
    tokens_from: Date | null;
    blocks_version: number;
    blocks: BlocksJson;
  }>({
    name: 'open_connections',
    text: OPEN,
    values: [
      processId,
      ...columnsOf(connections),
      booleanArray(connections.map((connection) => connection.isAnonymous)),
    ],
  });
  return new Map(
    rows.map((row) => [
      row.id,
      {
        lastSeq: row.last_seq,
        acked: row.acked_seq ?? undefined,
        wholeSeq: row.whole_seq,
        isNew: row.is_new,
        isHeld: row.is_held,
        tokensFrom: row.tokens_from ?? undefined,
        former: toFormer(row),
        blocks: { version: row.blocks_version, all: toBlocks(row.blocks) },
      },
    ]),
  );
}

/**
 * Takes connections in again that Postgres has forgotten. By id, with the connection that was replaced; one whose device
 * has got another one since, of a token that isn't older, is missing.
 */
export async function restoreConnections(
  pool: pg.Pool,
  processId: string,
  connections: readonly NewConnection[],
): Promise<Map<string, OpenedConnection['former']>> {
  const { rows } = await pool.query<{
    id: string;
    former_process_id: string | null;
    former_id: string | null;
  }>({
    name: 'restore_connections',
    text: `insert into connection as c
        (app_id, identity_id, device_id, process_id, id, scheme, is_foreground, token_at, jti)
      select app_id, identity_id, device_id, $1::uuid, id, scheme, is_foreground, token_at, jti
      from unnest($2::bigint[], $3::bigint[], $4::text[], $5::uuid[], $6::text[], $7::boolean[], $8::timestamptz[], $9::uuid[])
        as q (app_id, identity_id, device_id, id, scheme, is_foreground, token_at, jti)
      order by app_id, identity_id, device_id
      ${TAKE_OVER}
      where c.id = excluded.id or c.token_at < excluded.token_at
      returning id, former_process_id, former_id`,
    values: [processId, ...columnsOf(connections)],
  });
  return new Map(rows.map((row) => [row.id, toFormer(row)]));
}

function toFormer(row: { former_process_id: string | null; former_id: string | null }) {
  return row.former_id === null ? undefined : { processId: row.former_process_id!, id: row.former_id };
}

/** Those of the connections whose devices have another one by now. */
export async function findReplaced(
  pool: pg.Pool,
  connections: readonly (ConnectionKey & { id: string })[],
): Promise<string[]> {
  const { rows } = await pool.query<{ id: string }>({
    name: 'find_replaced',
    text: `select q.id
      from unnest($1::bigint[], $2::bigint[], $3::text[], $4::uuid[]) as q (app_id, identity_id, device_id, id)
      join connection c on c.app_id = q.app_id and c.identity_id = q.identity_id and c.device_id = q.device_id
      where c.id <> q.id`,
    values: [...keysOf(connections), uuidArray(connections.map((connection) => connection.id))],
  });
  return rows.map((row) => row.id);
}

/** Writes down what of connections changes while they are open. */
export async function markConnections(pool: pg.Pool, connections: readonly Described[]): Promise<void> {
  await pool.query({
    name: 'mark_connections',
    text: `update connection c
      set scheme = q.scheme, is_foreground = q.is_foreground, token_at = q.token_at, jti = q.jti
      from unnest($1::bigint[], $2::bigint[], $3::text[], $4::uuid[], $5::text[], $6::boolean[], $7::timestamptz[], $8::uuid[])
        as q (app_id, identity_id, device_id, id, scheme, is_foreground, token_at, jti)
      where c.app_id = q.app_id and c.identity_id = q.identity_id and c.device_id = q.device_id and c.id = q.id`,
    values: columnsOf(connections),
  });
}

/** Marks up to where connections have handled their inboxes that are of no device; forgotten with them. */
export async function markConnectionsAcked(
  pool: pg.Pool,
  acks: readonly (ConnectionKey & { seq: number })[],
): Promise<void> {
  const ordered = inOrder(acks);
  await pool.query({
    name: 'mark_connections_acked',
    text: `update connection c set acked_seq = a.seq
      from unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[]) as a (app_id, identity_id, device_id, seq)
      where c.app_id = a.app_id and c.identity_id = a.identity_id and c.device_id = a.device_id and c.acked_seq < a.seq`,
    values: [...keysOf(ordered), bigintArray(ordered.map(({ seq }) => seq))],
  });
}

// What gets lost in a crash is a time that is wrong by the length of one connection.
const CLOSE = `
with ended as materialized (
  select q.*, set_config('synchronous_commit', 'off', true)
  from unnest($1::bigint[], $2::bigint[], $3::text[], $4::uuid[]) as q (app_id, identity_id, device_id, id)
), gone as (
  delete from connection c using ended e
  where c.app_id = e.app_id and c.identity_id = e.identity_id and c.device_id = e.device_id and c.id = e.id
  returning c.id, c.jti
), locked as materialized (
  select app_id, id from identity where (app_id, id) in (select app_id, identity_id from ended)
  order by app_id, id for no key update
), users as (
  update identity i set last_seen_at = now() from locked l where i.app_id = l.app_id and i.id = l.id
)
update device d set last_seen_at = now(), last_jti = coalesce(g.jti, d.last_jti)
from ended e left join gone g on g.id = e.id
where d.app_id = e.app_id and d.identity_id = e.identity_id and d.id = e.device_id`;

/** Forgets connections that have ended, and notes when their users and devices were seen last. */
export async function deleteConnections(
  pool: pg.Pool,
  connections: readonly (ConnectionKey & { id: string })[],
): Promise<void> {
  await pool.query({
    name: 'delete_connections',
    text: CLOSE,
    values: [...keysOf(connections), uuidArray(connections.map((connection) => connection.id))],
  });
}

/** The processes, but for one, that hold connections of these users. */
export async function findHolders(
  pool: pg.Pool,
  processId: string,
  users: readonly { appId: AppId; id: number }[],
): Promise<{ processId: string; identityId: number }[]> {
  const { rows } = await pool.query<{ process_id: string; identity_id: number }>({
    name: 'find_holders',
    text: `select distinct c.process_id, c.identity_id
      from unnest($2::bigint[], $3::bigint[]) as u (app_id, id)
      join connection c on c.app_id = u.app_id and c.identity_id = u.id
      where c.process_id <> $1`,
    values: [
      processId,
      bigintArray(users.map((user) => user.appId)),
      bigintArray(users.map((user) => user.id)),
    ],
  });
  return rows.map((row) => ({ processId: row.process_id, identityId: row.identity_id }));
}

/** The connections of users that other processes hold. */
export async function findConnections(
  db: Executor,
  appId: AppId,
  identityIds: readonly number[],
  exceptProcessId: string,
): Promise<{ identityId: number; deviceId: string; isForeground: boolean }[]> {
  const { rows } = await sql<{ identity_id: number; device_id: string; is_foreground: boolean }>`
    select c.identity_id, c.device_id, c.is_foreground from connection c join process p on p.id = c.process_id
    where c.app_id = ${appId} and c.identity_id = any(${identityIds}) and c.process_id <> ${exceptProcessId}
      and p.seen_at > now() - ${sql.raw(PROCESS_LIFE)}
    order by c.device_id`.execute(db);
  return rows.map((row) => ({
    identityId: row.identity_id,
    deviceId: row.device_id,
    isForeground: row.is_foreground,
  }));
}

/** How many connections of an app other processes hold. */
export async function countConnections(
  db: Executor,
  appId: AppId,
  exceptProcessId: string,
): Promise<Record<Scheme, number>> {
  const { rows } = await sql<{ scheme: Scheme; count: number }>`
    select c.scheme, count(*) from connection c join process p on p.id = c.process_id
    where c.app_id = ${appId} and c.process_id <> ${exceptProcessId}
      and p.seen_at > now() - ${sql.raw(PROCESS_LIFE)}
    group by c.scheme`.execute(db);
  return { composed: 0, registered: 0, ...Object.fromEntries(rows.map((row) => [row.scheme, row.count])) };
}

/**
 * Says that a process is here. Gives back whether that was known, which other processes are, and the epoch of the
 * database.
 */
export async function markProcess(
  db: Executor,
  processId: string,
): Promise<{ wasKnown: boolean; others: string[]; epoch: string }> {
  const { rows } = await sql<{ was_known: boolean; others: string[]; epoch: string }>`
    with own as (
      insert into process (id) values (${processId})
      on conflict (id) do update set seen_at = clock_timestamp()
      returning (xmax <> 0) as was_known
    )
    select was_known, (select epoch from service) as epoch, array(
      select id::text from process where id <> ${processId} and seen_at > now() - ${sql.raw(PROCESS_LIFE)}
    ) as others from own`.execute(db);
  const { was_known: wasKnown, ...mark } = rows[0]!;
  return { wasKnown, ...mark };
}

/** Of the connections that have `ended`: what their devices were here with last. */
const KEEP_JTIS = sql`
  update device d set last_jti = coalesce(e.jti, d.last_jti) from ended e
  where d.app_id = e.app_id and d.identity_id = e.identity_id and d.id = e.device_id`;

/** Forgets a process and its connections. */
export async function deleteProcess(db: Executor, processId: string): Promise<void> {
  await sql`
    with gone as (delete from process where id = ${processId}), ended as (
      delete from connection where process_id = ${processId} returning app_id, identity_id, device_id, jti
    )
    ${KEEP_JTIS}`.execute(db);
}

/** How many processes are there now. */
export async function countProcesses(db: Executor): Promise<number> {
  const { rows } = await sql<{ count: number }>`
    select count(*) from process where seen_at > now() - ${sql.raw(PROCESS_LIFE)}`.execute(db);
  return rows[0]!.count;
}

/** Forgets all processes and connections; those that are there write themselves down again. Gives back how many are. */
export async function forgetProcesses(db: Executor): Promise<number> {
  await sql`lock table process, connection in access exclusive mode`.execute(db);
  const count = await countProcesses(db);
  await sql`truncate process, connection`.execute(db);
  return count;
}

/** Forgets the processes that are gone, with what they have left behind. */
export async function deleteDeadProcesses(db: Executor): Promise<void> {
  await sql`
    with gone as (delete from process where seen_at < now() - 3 * ${sql.raw(PROCESS_LIFE)}), ended as (
      delete from connection where process_id not in (
        select id from process where seen_at >= now() - 3 * ${sql.raw(PROCESS_LIFE)}
      ) returning app_id, identity_id, device_id, jti
    )
    ${KEEP_JTIS}`.execute(db);
}

type Described = ConnectionKey & Pick<NewConnection, 'id' | 'scheme' | 'isForeground' | 'tokenAt' | 'jti'>;

/** The keys of connections, and what is known of each. */
function columnsOf(connections: readonly Described[]): unknown[] {
  return [
    ...keysOf(connections),
    uuidArray(connections.map((connection) => connection.id)),
    textArray(connections.map((connection) => connection.scheme)),
    booleanArray(connections.map((connection) => connection.isForeground)),
    connections.map((connection) => connection.tokenAt),
    uuidArray(connections.map((connection) => connection.jti)),
  ];
}

function keysOf(connections: readonly ConnectionKey[]): [Buffer, Buffer, Buffer] {
  return [
    bigintArray(connections.map((connection) => connection.appId)),
    bigintArray(connections.map((connection) => connection.identityId)),
    textArray(connections.map((connection) => connection.deviceId)),
  ];
}
