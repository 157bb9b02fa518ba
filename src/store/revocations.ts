// Revocations: of single tokens, and of all that a user, a device or an app was issued before a time. Written once, and
// followed by every process.

import { sql } from 'kysely';
import type pg from 'pg';
import type { AppId } from '../ids.ts';
import { CLOCK_ERROR_MS } from './clock.ts';
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
export async function insertRevokedToken(
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

/** Revokes what was issued to a user until now, also under names that were merged into it; false where it is gone. */
export function revokeUser(db: Executor, appId: AppId, identityId: number): Promise<boolean> {
  return transact(db, async (trx) => {
    const { rows } = await sql<{ tokens_from: Date }>`
      with locked as materialized (
        select app_id, id, ${FROM} as tokens_from from identity
        where app_id = ${appId} and (id = ${identityId} or merged_into = ${identityId})
        order by id for no key update
      )
      update identity i set tokens_from = greatest(i.tokens_from, l.tokens_from)
      from locked l where i.app_id = l.app_id and i.id = l.id
      returning i.tokens_from`.execute(trx);
    const [row] = rows;
    if (row) await insertFollowed(trx, { appId, identityId, tokensFrom: row.tokens_from });
    return row !== undefined;
  });
}

/**
 * Revokes what was issued to a device until now: tokens that are bound to it, and the one that it is connected with, or was
 * last. A device that has never been here is known from then on. False where the user is gone.
 */
export function revokeDevice(
  db: Executor,
  appId: AppId,
  identityId: number,
  deviceId: string,
  expiryOf: (jti: string) => Date,
): Promise<boolean> {
  return transact(db, async (trx) => {
    const { rows } = await sql<{ tokens_from: Date; last_jti: string | null; jti: string | null }>`
      with revoked as (
        insert into device as d (app_id, identity_id, id, acked_seq, tokens_from)
        select app_id, id, ${deviceId}, last_seq, ${FROM} from identity
        where app_id = ${appId} and id = ${identityId} and merged_into is null
        on conflict (app_id, identity_id, id) do update
          set tokens_from = greatest(d.tokens_from, excluded.tokens_from)
        returning tokens_from, last_jti
      )
      select r.*, c.jti from revoked r left join connection c
        on c.app_id = ${appId} and c.identity_id = ${identityId} and c.device_id = ${deviceId}`.execute(trx);
    const [row] = rows;
    if (!row) return false;
    await insertFollowed(trx, { appId, identityId, deviceId, tokensFrom: row.tokens_from });
    for (const jti of new Set([row.jti, row.last_jti]))
      if (jti !== null) await insertRevokedToken(trx, appId, jti, expiryOf(jti));
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

/**
 * What was revoked since a point, and the next one; from '0' on, all that counts. Whatever isn't committed by then comes at
 * the next one, and some may come twice. With it, how often the signing keys were changed.
 */
export async function findRevocationsSince(
  pool: pg.Pool,
  point: string,
): Promise<{ revoked: Revocation[]; point: string; keysVersion: number }> {
  const { rows } = await pool.query<Partial<Row> & { point: string; keys_version: number }>({
    // One snapshot for both: what it doesn't see has an xid from its xmin on. Not prepared: a plan that is kept from when
    // the table was small reads all of it, until Postgres next counts its rows.
    text: `select s.point::text, s.keys_version, r.app_id, r.jti, r.identity_id, r.device_id, r.tokens_from
      from (select pg_snapshot_xmin(pg_current_snapshot()) as point, keys_version from service) s
      left join revocation r on r.xid >= $1::xid8`,
    values: [point],
  });
  return {
    point: rows[0]!.point,
    keysVersion: rows[0]!.keys_version,
    revoked: rows.filter((row): row is Row & (typeof rows)[0] => row.app_id != null).map(toRevocation),
  };
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
