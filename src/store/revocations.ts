// Revocations: of single tokens, and of all that a user, a device or an app was issued before a time. Written once, and
// followed by every process.

import { sql } from 'kysely';
import type pg from 'pg';
import type { AppId } from '../ids.ts';
import { CLOCK_ERROR_MS } from './clock.ts';
import { unbindApp, unbindToken, unbindUser } from './bindings.ts';
import type { Executor } from './database.ts';
import { transact } from './transact.ts';

/** One token; or what was issued before a time to a device of a user, to a user, or to all of an app. */
export type Revocation = { appId: AppId } & (
  | { jti: string }
  | { jti?: undefined; identityId: number | undefined; deviceId: string | undefined; tokensFrom: Date }
);

/** Behind every token that was issued before it is taken: a stamp is at most this far from the database's clock. */
const STAMP_MARGIN_MS = CLOCK_ERROR_MS + 1;
/** How long what only closes connections is there to be followed. */
const FOLLOWED = "interval '10 minutes'";
const FROM = sql<Date>`(date_trunc('milliseconds', clock_timestamp()) + make_interval(secs => ${STAMP_MARGIN_MS / 1_000}))`;

/** How long to wait after a revocation, so that what is issued from then on isn't taken for something from before. */
export const SETTLED_AFTER_MS = STAMP_MARGIN_MS + CLOCK_ERROR_MS;

/** False where the app is gone. */
async function insertRevokedToken(
  db: Executor,
  appId: AppId,
  jti: string,
  expiresAt: Date,
): Promise<boolean> {
  const { rows } = await sql`
    with app as (select id from app where id = ${appId} for key share), revoked as (
      insert into revocation (app_id, jti, expires_at) select id, ${jti}::uuid, ${expiresAt} from app
      on conflict (app_id, jti) where jti is not null do nothing
    )
    select from app`.execute(db);
  return rows.length > 0;
}

/** Revokes one token, and unbinds what it has bound; false where the app is gone. */
export function revokeToken(db: Executor, appId: AppId, jti: string, expiresAt: Date): Promise<boolean> {
  return transact(db, async (trx) => {
    const isThere = await insertRevokedToken(trx, appId, jti, expiresAt);
    if (isThere) await unbindToken(trx, appId, jti);
    return isThere;
  });
}

/** Revokes what was issued to a user until now, also under names that were merged into it; false where it is gone. */
export function revokeUser(db: Executor, appId: AppId, rowId: number): Promise<boolean> {
  return transact(db, async (trx) => {
    const identityId = await lockUser(trx, appId, rowId);
    if (identityId === undefined) return false;
    const { rows } = await sql<{ tokens_from: Date }>`
      update identity i set tokens_from = greatest(i.tokens_from, f.tokens_from)
      from (select ${FROM} as tokens_from) f
      where i.app_id = ${appId} and (i.id = ${identityId} or i.merged_into = ${identityId})
      returning i.tokens_from`.execute(trx);
    await insertFollowed(trx, { appId, identityId, tokensFrom: rows[0]!.tokens_from });
    await unbindUser(trx, appId, identityId);
    return true;
  });
}

/** Locks the user of a row, who may have been merged into another one just now; undefined where it is gone. */
async function lockUser(trx: Executor, appId: AppId, rowId: number): Promise<number | undefined> {
  for (let id: number | null | undefined = rowId; ;) {
    const row: { merged_into: number | null } | undefined = await trx
      .selectFrom('identity')
      .select('merged_into')
      .where('app_id', '=', appId)
      .where('id', '=', id)
      .forNoKeyUpdate()
      .executeTakeFirst();
    if (!row) return undefined;
    if (row.merged_into === null) return id;
    id = row.merged_into;
  }
}

/**
 * Revokes what was issued to a device until now: tokens that are bound to it, and the one that it is connected with, or was
 * last. A device that has never been here is known from then on. False where the user is gone.
 */
export function revokeDevice(
  db: Executor,
  appId: AppId,
  rowId: number,
  deviceId: string,
  expiryOf: (jti: string) => Date,
): Promise<boolean> {
  return transact(db, async (trx) => {
    const identityId = await lockUser(trx, appId, rowId);
    if (identityId === undefined) return false;
    const { rows } = await sql<{ tokens_from: Date; last_jti: string | null; jti: string | null }>`
      with revoked as (
        insert into device as d (app_id, identity_id, id, acked_seq, begun_seq, tokens_from)
        select app_id, id, ${deviceId}, last_seq, last_seq, ${FROM} from identity
        where app_id = ${appId} and id = ${identityId}
        on conflict (app_id, identity_id, id) do update
          set tokens_from = greatest(d.tokens_from, excluded.tokens_from)
        returning tokens_from, last_jti
      )
      select r.*, c.jti from revoked r left join connection c
        on c.app_id = ${appId} and c.identity_id = ${identityId} and c.device_id = ${deviceId}`.execute(trx);
    const { tokens_from: tokensFrom, last_jti: lastJti, jti } = rows[0]!;
    await insertFollowed(trx, { appId, identityId, deviceId, tokensFrom });
    await unbindUser(trx, appId, identityId, deviceId);
    for (const each of new Set([jti, lastJti]))
      if (each !== null) await insertRevokedToken(trx, appId, each, expiryOf(each));
    return true;
  });
}

/** Revokes all that was issued in an app until now; false where it is gone. */
export function revokeApp(db: Executor, appId: AppId): Promise<boolean> {
  return transact(db, async (trx) => {
    const { rows } = await sql<{ tokens_from: Date }>`
      update app set tokens_from = greatest(tokens_from, ${FROM}) where id = ${appId}
      returning tokens_from`.execute(trx);
    const [row] = rows;
    if (row) await insertFollowed(trx, { appId, tokensFrom: row.tokens_from });
    if (row) await unbindApp(trx, appId);
    return row !== undefined;
  });
}

async function insertFollowed(
  trx: Executor,
  revoked: { appId: AppId; identityId?: number; deviceId?: string; tokensFrom: Date },
): Promise<void> {
  await trx
    .insertInto('revocation')
    .values({
      app_id: revoked.appId,
      identity_id: revoked.identityId ?? null,
      device_id: revoked.deviceId ?? null,
      tokens_from: revoked.tokensFrom,
      expires_at: sql`now() + ${sql.raw(FOLLOWED)}`,
    })
    .execute();
}

interface Row {
  app_id: AppId;
  jti: string | null;
  identity_id: number | null;
  device_id: string | null;
  tokens_from: Date | null;
}

/** Now, in terms of what is committed. */
export async function findPoint(db: Executor): Promise<string> {
  const { rows } = await sql<{ point: string }>`select pg_current_snapshot()::text as point`.execute(db);
  return rows[0]!.point;
}

/**
 * What was revoked since a point, and the next one: whatever isn't committed by then comes at the next one. With it, how
 * often the signing keys were changed.
 */
export async function findRevocationsSince(
  pool: pg.Pool,
  point: string,
): Promise<{ revoked: Revocation[]; point: string; keysVersion: number }> {
  const { rows } = await pool.query<Partial<Row> & { point: string; keys_version: number }>({
    // One snapshot for all. The xmin is what the index can look for; behind it, only what that point didn't see. Not
    // prepared: a plan that is kept from when the table was small reads all of it.
    text: `select s.point::text, s.keys_version, r.app_id, r.jti, r.identity_id, r.device_id, r.tokens_from
      from (select pg_current_snapshot() as point, keys_version from service) s
      left join revocation r on r.xid >= pg_snapshot_xmin($1::pg_snapshot)
        and not pg_visible_in_snapshot(r.xid, $1::pg_snapshot)`,
    values: [point],
  });
  return {
    point: rows[0]!.point,
    keysVersion: rows[0]!.keys_version,
    revoked: rows.filter((row): row is Row & (typeof rows)[0] => row.app_id != null).map(toRevocation),
  };
}

/** All revocations that there are, many at a time. */
export async function* streamRevocations(db: Executor): AsyncGenerator<Revocation[]> {
  const columns = ['app_id', 'jti', 'identity_id', 'device_id', 'tokens_from'] as const;
  const others = await db.selectFrom('revocation').select(columns).where('jti', 'is', null).execute();
  yield (others as Row[]).map(toRevocation);
  let last: Row | undefined;
  do {
    const { rows } = await sql<Row>`
      select app_id, jti, identity_id, device_id, tokens_from from revocation
      where jti is not null and (app_id, jti) > (${last?.app_id ?? 0}, ${last?.jti ?? FIRST_UUID}::uuid)
      order by app_id, jti limit ${PAGE}`.execute(db);
    yield rows.map(toRevocation);
    last = rows.length === PAGE ? rows.at(-1) : undefined;
  } while (last);
}

const PAGE = 20_000;
const FIRST_UUID = '00000000-0000-0000-0000-000000000000';

/**
 * Makes revocations that another cluster has dumped look as if they were made now: they would lie beyond every point, and
 * be found again and again.
 */
export async function renewForeignRevocations(db: Executor): Promise<void> {
  await sql`
    update revocation set xid = pg_current_xact_id()
    where xid > pg_snapshot_xmax(pg_current_snapshot())`.execute(db);
}

function toRevocation(row: Row): Revocation {
  if (row.jti !== null) return { appId: row.app_id, jti: row.jti };
  return {
    appId: row.app_id,
    identityId: row.identity_id ?? undefined,
    deviceId: row.device_id ?? undefined,
    tokensFrom: row.tokens_from!,
  };
}

const PORTION = 10_000;

/** Deletes some of what counts no more; gives back whether there may be more. */
export async function deleteOverRevocations(db: Executor): Promise<boolean> {
  const { numAffectedRows = 0n } = await sql`
    delete from revocation where ctid = any (array(
      select ctid from revocation where expires_at < now() order by expires_at limit ${PORTION}
    ))`.execute(db);
  return numAffectedRows === BigInt(PORTION);
}
