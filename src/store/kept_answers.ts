// Answers kept under the keys that came with their requests. A key is claimed before its request is done, so that under
// any race one caller does it.
// Invariant: a claim that is lost to another one changes nothing any more.

import { sql } from 'kysely';
import type { AppId } from '../ids.ts';
import type { Executor } from './database.ts';

/** Keys of requests about no app, which only the admin makes, stand beside those of the apps. */
export const NO_APP = 0;

export interface Claim {
  readonly id: string;
  readonly appId: AppId | typeof NO_APP;
  readonly keyHash: Buffer;
}

/** What there is under a key already; without `sealed` its request is being done. */
export interface KeptAnswer {
  fingerprint: Buffer;
  sealed: string | undefined;
}

const RESEALED_AT_ONCE = 1_000;

const after = (ms: number) => sql`clock_timestamp() + make_interval(secs => ${ms / 1_000})`;

/**
 * Claims a key for `leaseMs`. Gives back what there is under it where somebody else has claimed it; `raced` where that
 * was in this instant, so that it isn't seen yet.
 */
export async function claimKey(
  db: Executor,
  { id, appId, keyHash }: Claim,
  { fingerprint, leaseMs }: { fingerprint: Buffer; leaseMs: number },
): Promise<'claimed' | 'raced' | KeptAnswer> {
  const { rows } = await sql<{ is_claimed: boolean; fingerprint: Buffer; sealed: string | null }>`
    with claimed as (
      insert into kept_answer as k (app_id, key_hash, fingerprint, claim_id, expires_at)
      values (${appId}, ${keyHash}, ${fingerprint}, ${id}, ${after(leaseMs)})
      on conflict (app_id, key_hash) do update set fingerprint = excluded.fingerprint,
        claim_id = excluded.claim_id, sealed = null, expires_at = excluded.expires_at
        where k.expires_at <= clock_timestamp()
      returning fingerprint
    )
    select true as is_claimed, fingerprint, null as sealed from claimed
    union all
    select false, fingerprint, sealed from kept_answer
    where app_id = ${appId} and key_hash = ${keyHash} and not exists (select from claimed)`.execute(db);
  const [found] = rows;
  if (!found) return 'raced';
  return found.is_claimed ? 'claimed' : { fingerprint: found.fingerprint, sealed: found.sealed ?? undefined };
}

export async function keepAnswer(
  db: Executor,
  claim: Claim,
  { sealed, lifeMs }: { sealed: string; lifeMs: number },
): Promise<void> {
  await sql`
    update kept_answer set sealed = ${sealed}, expires_at = ${after(lifeMs)}
    where ${mine(claim)}`.execute(db);
}

/** Seals what is kept anew, a portion at a time, since that may be much and is asked for meanwhile; how many there were. */
export async function resealAnswers(
  db: Executor,
  reseal: (sealed: string) => Promise<string>,
): Promise<number> {
  let count = 0;
  let last: { appId: number; keyHash: Buffer } = { appId: -1, keyHash: Buffer.alloc(0) };
  for (;;) {
    const { rows } = await sql<{ app_id: number; key_hash: Buffer; sealed: string }>`
      select app_id, key_hash, sealed from kept_answer
      where (app_id, key_hash) > (${last.appId}, ${last.keyHash}) and sealed is not null and expires_at > now()
      order by app_id, key_hash limit ${RESEALED_AT_ONCE}`.execute(db);
    const end = rows.at(-1);
    if (!end) return count;
    const resealed = await Promise.all(rows.map(({ sealed }) => reseal(sealed)));
    await sql`
      update kept_answer k set sealed = t.resealed
      from unnest(${rows.map((row) => row.app_id)}::bigint[], ${rows.map((row) => row.key_hash)}::bytea[],
        ${rows.map((row) => row.sealed)}::text[], ${resealed}::text[]) as t (app_id, key_hash, sealed, resealed)
      where k.app_id = t.app_id and k.key_hash = t.key_hash and k.sealed = t.sealed`.execute(db);
    count += rows.length;
    last = { appId: end.app_id, keyHash: end.key_hash };
  }
}

/** Gives keys of requests that are still being done another `leaseMs`. */
export async function renewClaims(db: Executor, claims: readonly Claim[], leaseMs: number): Promise<void> {
  await sql`
    update kept_answer k set expires_at = ${after(leaseMs)}
    from unnest(${claims.map(({ appId }) => appId)}::bigint[], ${claims.map(({ keyHash }) => keyHash)}::bytea[],
      ${claims.map(({ id }) => id)}::uuid[]) as c (app_id, key_hash, claim_id)
    where k.app_id = c.app_id and k.key_hash = c.key_hash and k.claim_id = c.claim_id
      and k.sealed is null`.execute(db);
}

/** Makes the key as good as new. */
export async function deleteClaim(db: Executor, claim: Claim): Promise<void> {
  await sql`delete from kept_answer where ${mine(claim)}`.execute(db);
}

/** Deletes what has expired, `limit` at most; how many that were. */
export async function deleteExpiredAnswers(db: Executor, limit: number): Promise<number> {
  const { numAffectedRows = 0n } = await sql`
    delete from kept_answer where (app_id, key_hash) in (
      select app_id, key_hash from kept_answer where expires_at <= now()
      order by expires_at limit ${limit} for update skip locked
    )`.execute(db);
  return Number(numAffectedRows);
}

const mine = ({ id, appId, keyHash }: Claim) =>
  sql`app_id = ${appId} and key_hash = ${keyHash} and claim_id = ${id}`;
