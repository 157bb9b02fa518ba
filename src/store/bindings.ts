// What devices can be reached by through push: bound to one device of an app at a time, and unbound with what it acts by.

import { sql, type RawBuilder, type Selectable } from 'kysely';
import { ImidError } from '../errors.ts';
import type { AppId } from '../ids.ts';
import type { Executor } from './database.ts';
import type { Tables } from './tables.ts';
import { transact } from './transact.ts';
import { insertEvents } from './webhook_events.ts';

/** What a client says of its device. */
export interface Binding {
  platform: string;
  provider: string;
  pushToken: string;
  environment: 'production' | 'sandbox';
  locale: string | undefined;
  appVersion: string | undefined;
}

/** What a device is bound by. */
export interface BindingToken {
  jti: string;
  issuedAt: Date;
}

/** A device with what it is bound to; undefined: it can't be reached by push. */
export interface BoundDevice {
  id: string;
  binding: (Binding & { boundAt: Date }) | undefined;
  lastSeenAt: Date;
  createdAt: Date;
}

const UNBOUND = sql`platform = null, provider = null, push_token = null, environment = null, locale = null,
  app_version = null, bound_at = null, bound_jti = null, push_shown = '{}'`;

/** A user who binds one more loses the one that was bound longest ago. */
const BOUND_MAX = 100;

// Who binds a device, and who unbinds what a token has bound, or all of an app, come one after the other.
const lockOfToken = (appId: AppId, jti: string) => sql`hashtextextended(${`${appId} ${jti}`}, 0)`;
const lockOfApp = (appId: AppId) => sql`hashtextextended(${`${appId} bindings`}, 0)`;

/**
 * Binds a device, which is known from then on, and takes its push token from whichever device of the app had it. False when
 * the user is gone, or merged into another one. Throws `token_revoked`.
 */
export function bindDevice(
  db: Executor,
  appId: AppId,
  userId: number,
  { deviceId, by, ...binding }: Binding & { deviceId: string; by: BindingToken },
): Promise<boolean> {
  const { platform, provider, pushToken, environment, locale = null, appVersion = null } = binding;
  return transact(db, async (trx) => {
    await sql`select pg_advisory_xact_lock_shared(${lockOfApp(appId)}), pg_advisory_xact_lock(${lockOfToken(appId, by.jti)})`.execute(
      trx,
    );
    // Who binds the same one at the same time comes after, and takes it.
    await sql`select pg_advisory_xact_lock(hashtextextended(${`${appId} ${provider} ${pushToken}`}, 0))`.execute(
      trx,
    );
    // What is stored from here on knows that there is something to push to.
    const user = await sql`
      update identity set has_push = true where app_id = ${appId} and id = ${userId} and merged_into is null
      returning id`.execute(trx);
    if (user.rows.length === 0) return false;
    await requireUnrevoked(trx, appId, userId, deviceId, by);
    await unbindWhere(
      trx,
      sql`app_id = ${appId} and provider = ${provider} and push_token = ${pushToken}
        and (identity_id, id) <> (${userId}, ${deviceId})`,
    );
    await sql`
      insert into device as d (app_id, identity_id, id, acked_seq, begun_seq, platform, provider, push_token, environment, locale,
        app_version, bound_at, bound_jti, pushed_seq)
      select app_id, id, ${deviceId}, last_seq, last_seq, ${platform}, ${provider}, ${pushToken}, ${environment}, ${locale}, ${appVersion},
        clock_timestamp(), ${by.jti}::uuid, last_seq
      from identity where app_id = ${appId} and id = ${userId}
      on conflict (app_id, identity_id, id) do update set platform = excluded.platform, provider = excluded.provider,
        push_token = excluded.push_token, environment = excluded.environment, locale = excluded.locale,
        app_version = excluded.app_version, bound_jti = excluded.bound_jti,
        bound_at = excluded.bound_at, push_attempts = 0, push_retry_at = null,
        -- what came before it could be reached is not pushed
        pushed_seq = case when d.push_token is null then greatest(d.pushed_seq, excluded.pushed_seq) else d.pushed_seq end`.execute(
      trx,
    );
    await unbindWhere(
      trx,
      sql`app_id = ${appId} and identity_id = ${userId} and id in (
        select id from device where app_id = ${appId} and identity_id = ${userId} and push_token is not null
        order by bound_at desc, id offset ${BOUND_MAX}
      )`,
    );
    return true;
  });
}

/** It may have been revoked since it was looked at. The user has to be locked. */
async function requireUnrevoked(
  trx: Executor,
  appId: AppId,
  userId: number,
  deviceId: string,
  { jti, issuedAt }: BindingToken,
): Promise<void> {
  const { rows } = await sql<{ is_revoked: boolean }>`
    select greatest(a.tokens_from, i.tokens_from, d.tokens_from) > ${issuedAt} or r.jti is not null as is_revoked
    from identity i join app a on a.id = i.app_id
    left join device d on d.app_id = i.app_id and d.identity_id = i.id and d.id = ${deviceId}
    left join revocation r on r.app_id = i.app_id and r.jti = ${jti}::uuid
    where i.app_id = ${appId} and i.id = ${userId}`.execute(trx);
  if (rows[0]!.is_revoked) throw new ImidError('token_revoked', 'The token was revoked.');
}

/** Forgets a device: it is unbound, and begins at the inbox's end when it comes again. False when there was none. */
export function forgetDevice(db: Executor, appId: AppId, userId: number, deviceId: string): Promise<boolean> {
  return transact(db, async (trx) => {
    const { rows } = await sql<{ is_revoked: boolean }>`
      update device set ${UNBOUND} where app_id = ${appId} and identity_id = ${userId} and id = ${deviceId}
      returning tokens_from is not null as is_revoked`.execute(trx);
    // What was revoked of it stays revoked.
    await sql`
      delete from device where app_id = ${appId} and identity_id = ${userId} and id = ${deviceId}
        and tokens_from is null`.execute(trx);
    return rows.length > 0;
  });
}

/** With what a token of this jti, revoked, has bound, is connected, or was used by last. */
export async function unbindToken(trx: Executor, appId: AppId, jti: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(${lockOfToken(appId, jti)})`.execute(trx);
  await unbindWhere(
    trx,
    sql`app_id = ${appId} and push_token is not null and (bound_jti = ${jti}::uuid or last_jti = ${jti}::uuid or (identity_id, id) in (
      select identity_id, device_id from connection where app_id = ${appId} and jti = ${jti}::uuid
    ))`,
  );
}

/**
 * The provider says that push tokens are dead: whoever has them is unbound, unless it was bound later than `since`; the app's
 * backend is told. Gives back how many were.
 */
export function unbindGone(
  db: Executor,
  { appId, provider, tokens }: { appId: AppId; provider: string; tokens: readonly string[] },
  since: Date,
): Promise<number> {
  return transact(db, async (trx) => {
    const { rows } = await sql<{ identity_id: number; id: string; now: Date }>`
      update device set ${UNBOUND}
      where app_id = ${appId} and provider = ${provider} and push_token = any(${tokens}::text[]) and bound_at <= ${since}
      returning identity_id, id, clock_timestamp() as now`.execute(trx);
    const [first] = rows;
    if (!first) return 0;
    const events = rows.map((row) => ({
      type: 'device.gone' as const,
      userId: row.identity_id,
      deviceId: row.id,
      provider,
    }));
    await insertEvents(trx, appId, events, first.now);
    return rows.length;
  });
}

/** Those of a user, or one of them. */
export function unbindUser(trx: Executor, appId: AppId, userId: number, deviceId?: string): Promise<void> {
  const one = deviceId === undefined ? sql`` : sql`and id = ${deviceId}`;
  return unbindWhere(
    trx,
    sql`app_id = ${appId} and identity_id = ${userId} and push_token is not null ${one}`,
  );
}

export async function unbindApp(trx: Executor, appId: AppId): Promise<void> {
  await sql`select pg_advisory_xact_lock(${lockOfApp(appId)})`.execute(trx);
  await unbindWhere(trx, sql`app_id = ${appId} and push_token is not null`);
}

async function unbindWhere(trx: Executor, condition: RawBuilder<unknown>): Promise<void> {
  await sql`update device set ${UNBOUND} where ${condition}`.execute(trx);
}

export async function findBoundDevices(db: Executor, appId: AppId, userId: number): Promise<BoundDevice[]> {
  const rows = await db
    .selectFrom('device')
    .selectAll()
    .where('app_id', '=', appId)
    .where('identity_id', '=', userId)
    .orderBy('id')
    .execute();
  return rows.map(toBoundDevice);
}

function toBoundDevice(row: Selectable<Tables['device']>): BoundDevice {
  return {
    id: row.id,
    binding:
      row.push_token === null
        ? undefined
        : {
            platform: row.platform!,
            provider: row.provider!,
            pushToken: row.push_token,
            environment: row.environment!,
            locale: row.locale ?? undefined,
            appVersion: row.app_version ?? undefined,
            boundAt: row.bound_at!,
          },
    lastSeenAt: row.last_seen_at,
    createdAt: row.created_at,
  };
}
