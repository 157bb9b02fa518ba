// What apps prove themselves to the providers of push with, sealed.

import { sql } from 'kysely';
import type { AppId } from '../ids.ts';
import type { Executor } from './database.ts';

export interface SealedCredential {
  sealed: string;
  changedAt: Date;
}

/** Each change has a millisecond of its own, so that who keeps what is made of it can tell two apart. */
export async function putPushCredential(
  db: Executor,
  appId: AppId,
  provider: string,
  sealed: string,
): Promise<{ changedAt: Date; isNew: boolean }> {
  const row = await db
    .insertInto('push_credential')
    .values({ app_id: appId, provider, sealed })
    .onConflict((conflict) =>
      conflict.columns(['app_id', 'provider']).doUpdateSet({
        sealed,
        changed_at: sql`greatest(clock_timestamp(), push_credential.changed_at + interval '1 ms')`,
      }),
    )
    .returning(['changed_at', sql<boolean>`xmax = 0`.as('is_new')])
    .executeTakeFirstOrThrow();
  return { changedAt: row.changed_at, isNew: row.is_new };
}

export async function findPushCredential(
  db: Executor,
  appId: AppId,
  provider: string,
): Promise<SealedCredential | undefined> {
  const row = await db
    .selectFrom('push_credential')
    .select(['sealed', 'changed_at'])
    .where('app_id', '=', appId)
    .where('provider', '=', provider)
    .executeTakeFirst();
  return row && { sealed: row.sealed, changedAt: row.changed_at };
}

export async function findPushProviders(
  db: Executor,
  appId: AppId,
): Promise<{ provider: string; changedAt: Date }[]> {
  const rows = await db
    .selectFrom('push_credential')
    .select(['provider', 'changed_at'])
    .where('app_id', '=', appId)
    .orderBy('provider')
    .execute();
  return rows.map((row) => ({ provider: row.provider, changedAt: row.changed_at }));
}

export async function deletePushCredential(db: Executor, appId: AppId, provider: string): Promise<boolean> {
  const gone = await db
    .deleteFrom('push_credential')
    .where('app_id', '=', appId)
    .where('provider', '=', provider)
    .returning('app_id')
    .executeTakeFirst();
  return gone !== undefined;
}

export interface DuePoll {
  appId: AppId;
  provider: string;
  /** When it was taken; whoever is bound from then on is none of those that the feed tells of. */
  at: Date;
}

/** Takes feeds of dead tokens that are due; they are due again when the lease is over. */
export async function leasePolls(
  db: Executor,
  providers: readonly string[],
  limit: number,
  leaseMs: number,
): Promise<DuePoll[]> {
  const { rows } = await sql<{ app_id: number; provider: string; at: Date }>`
    update push_credential c set poll_at = now() + ${leaseMs} * interval '1 millisecond'
    from (
      select app_id, provider from push_credential
      where provider = any(${providers}::text[]) and poll_at <= now()
      order by poll_at limit ${limit} for update skip locked
    ) t
    where c.app_id = t.app_id and c.provider = t.provider
    returning c.app_id, c.provider, now() as at`.execute(db);
  return rows.map((row) => ({ appId: row.app_id as AppId, provider: row.provider, at: row.at }));
}

/** It was asked, and is due again in so long. */
export async function markPolled(
  db: Executor,
  { appId, provider }: DuePoll,
  intervalMs: number,
): Promise<void> {
  await sql`
    update push_credential set poll_at = now() + ${intervalMs} * interval '1 millisecond'
    where app_id = ${appId} and provider = ${provider}`.execute(db);
}
