// Where the backends of apps are told what happens, with sealed secrets.

import { sql } from 'kysely';
import type { AppId } from '../ids.ts';
import type { Executor } from './database.ts';

export interface WebhookSettings {
  url: string;
  /** The types of events that it is told. */
  events: string[];
}

export interface StoredWebhook extends WebhookSettings {
  sealed: string;
  changedAt: Date;
  disabledAt: Date | undefined;
}

/**
 * Makes it, or replaces it and has it told again. `given`: its secrets from now on; else those that it has stay, and one that is
 * new gets `otherwise`.
 * Each change has a millisecond of its own, so that who keeps what is made of it can tell two apart.
 */
export async function putWebhook(
  db: Executor,
  appId: AppId,
  { url, events }: WebhookSettings,
  sealed: { given: string } | { otherwise: string },
): Promise<{ changedAt: Date; isNew: boolean }> {
  const row = await db
    .insertInto('webhook')
    .values({ app_id: appId, url, events, sealed: 'given' in sealed ? sealed.given : sealed.otherwise })
    .onConflict((conflict) =>
      conflict.column('app_id').doUpdateSet({
        url,
        events,
        ...('given' in sealed && { sealed: sealed.given }),
        disabled_at: null,
        // What was held back while it was put again is told all the same.
        offline_since: sql`case when webhook.disabled_at is null and 'message.offline' = any(webhook.events)
          then webhook.offline_since else clock_timestamp() end`,
        changed_at: sql`greatest(clock_timestamp(), webhook.changed_at + interval '1 ms')`,
      }),
    )
    .returning(['changed_at', sql<boolean>`xmax = 0`.as('is_new')])
    .executeTakeFirstOrThrow();
  return { changedAt: row.changed_at, isNew: row.is_new };
}

export async function findWebhook(db: Executor, appId: AppId): Promise<StoredWebhook | undefined> {
  const row = await db
    .selectFrom('webhook')
    .select(['url', 'events', 'sealed', 'changed_at', 'disabled_at'])
    .where('app_id', '=', appId)
    .executeTakeFirst();
  return (
    row && {
      url: row.url,
      events: row.events,
      sealed: row.sealed,
      changedAt: row.changed_at,
      disabledAt: row.disabled_at ?? undefined,
    }
  );
}

/** With all that it has not been told. */
export async function deleteWebhook(db: Executor, appId: AppId): Promise<boolean> {
  const gone = await db
    .deleteFrom('webhook')
    .where('app_id', '=', appId)
    .returning('app_id')
    .executeTakeFirst();
  return gone !== undefined;
}

/** Has one that was not changed since told nothing any more; gives back the types of what it will not be told. */
export async function disableWebhook(db: Executor, appId: AppId, changedAt: Date): Promise<string[]> {
  const { rows } = await sql<{ type: string }>`
    with disabled as (
      update webhook set disabled_at = now()
      where app_id = ${appId} and date_trunc('milliseconds', changed_at) = ${changedAt} and disabled_at is null
      returning app_id
    )
    delete from webhook_event e using disabled d where e.app_id = d.app_id returning e.type`.execute(db);
  return rows.map(({ type }) => type);
}

/** Of a webhook `w`: it is told of messages for who isn't there. */
export const HEARS_OF_OFFLINE = `w.disabled_at is null and 'message.offline' = any(w.events)`;

/** Apps whose backends are told of messages for who isn't there. */
export async function findTold(db: Executor): Promise<Set<AppId>> {
  const { rows } = await sql<{ app_id: number }>`
    select w.app_id from webhook w where ${sql.raw(HEARS_OF_OFFLINE)}`.execute(db);
  return new Set(rows.map((row) => row.app_id as AppId));
}
