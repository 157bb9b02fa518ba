// Apps (tenants).

import { sql, type Selectable } from 'kysely';
import { ImidError } from '../errors.ts';
import type { AppId, Scheme } from '../ids.ts';
import type { Executor } from './database.ts';
import type { PushTemplates } from './push_templates.ts';
import type { Tables } from './tables.ts';
import { transact } from './transact.ts';

export interface App {
  id: AppId;
  name: string;
  schemes: Scheme[];
  /** Users were merged, so that a name may stand for another user than its own. */
  hasAliases: boolean;
  /** From which pages browsers may connect; empty: from every one. */
  allowedOrigins: string[];
  /** For how long a message can be recalled; 0: never. */
  recallSeconds: number;
  /** After how many days messages go; undefined: never. */
  retentionDays: number | undefined;
  /** Whether its users are shown to each other when they are online. */
  presence: boolean;
  /** `user`: while a device of a user is in the foreground, the others wait for it to ack. */
  pushWhen: 'device' | 'user';
  /** Whether pushes may show what a message says. */
  pushShowsText: boolean;
  pushTemplates: PushTemplates;
  /** Tokens that were issued before are revoked; undefined: none are. */
  tokensFrom: Date | undefined;
  createdAt: Date;
}

/** What of an app its operator chooses. */
export interface AppSettings {
  name: string;
  schemes: readonly Scheme[];
  allowedOrigins: readonly string[];
  recallSeconds: number;
  retentionDays: number | undefined;
  presence: boolean;
  pushWhen: 'device' | 'user';
  pushShowsText: boolean;
  pushTemplates: PushTemplates;
}

export async function insertApp(db: Executor, app: AppSettings): Promise<App> {
  const row = await db
    .insertInto('app')
    .values({ name: app.name, ...schemeColumns(app.schemes), ...columnsOf(app) })
    .returningAll()
    .executeTakeFirstOrThrow();
  return toApp(row);
}

export async function findApp(db: Executor, id: AppId): Promise<App | undefined> {
  const row = await db.selectFrom('app').selectAll().where('id', '=', id).executeTakeFirst();
  return row && toApp(row);
}

export async function findApps(db: Executor, afterId: number, limit: number): Promise<App[]> {
  const rows = await db
    .selectFrom('app')
    .selectAll()
    .where('id', '>', afterId)
    .orderBy('id')
    .limit(limit)
    .execute();
  return rows.map(toApp);
}

export async function updateApp(
  db: Executor,
  id: AppId,
  change: Partial<AppSettings>,
): Promise<App | undefined> {
  const row = await db
    .updateTable('app')
    .set({
      ...(change.name === undefined ? {} : { name: change.name }),
      ...(change.schemes === undefined ? {} : schemeColumns(change.schemes)),
      ...columnsOf(change),
    })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirst();
  return row && toApp(row);
}

/** As `updateApp`, of an app that nobody else can change meanwhile; what `check` throws, is thrown, and nothing is changed. */
export function updateCheckedApp(
  db: Executor,
  id: AppId,
  change: Partial<AppSettings>,
  check: (app: App) => void,
): Promise<App | undefined> {
  return transact(db, async (trx) => {
    const row = await trx
      .selectFrom('app')
      .selectAll()
      .where('id', '=', id)
      .forNoKeyUpdate()
      .executeTakeFirst();
    if (!row) return undefined;
    check(toApp(row));
    return Object.keys(change).length === 0 ? toApp(row) : updateApp(trx, id, change);
  });
}

/** Adds something to an app, one after the other, up to a number. Throws `not_found`, `conflict`. */
export function addToApp<T>(
  db: Executor,
  id: AppId,
  { table, max }: { table: 'api_key' | 'issuer'; max: number },
  add: (trx: Executor) => Promise<T>,
): Promise<T> {
  return transact(db, async (trx) => {
    const app = await trx
      .selectFrom('app')
      .select('id')
      .where('id', '=', id)
      .forNoKeyUpdate()
      .executeTakeFirst();
    if (!app) throw new ImidError('not_found', 'There is no such app.');
    const added = await add(trx);
    const { count } = await trx
      .selectFrom(table)
      .select(sql<number>`count(*)::int`.as('count'))
      .where('app_id', '=', id)
      .executeTakeFirstOrThrow();
    if (count > max) throw new ImidError('conflict', `The app has ${max} of these already.`);
    return added;
  });
}

/** Deletes the app with everything in it but its audit trail, in one transaction. */
export async function deleteApp(db: Executor, id: AppId): Promise<boolean> {
  return transact(db, async (trx) => {
    const app = await trx.selectFrom('app').select('id').where('id', '=', id).forUpdate().executeTakeFirst();
    if (!app) return false;
    // Identities first: a send holds the rows of its inboxes, so that none is on its way once they are gone.
    await trx.deleteFrom('identity').where('app_id', '=', id).execute();
    await trx.deleteFrom('message').where('app_id', '=', id).execute();
    await trx.deleteFrom('former_name').where('app_id', '=', id).execute();
    await trx.deleteFrom('settlement').where('app_id', '=', id).execute();
    await trx.deleteFrom('erasure').where('app_id', '=', id).execute();
    await trx.deleteFrom('kept_answer').where('app_id', '=', id).execute();
    await trx.deleteFrom('app').where('id', '=', id).execute();
    return true;
  });
}

function columnsOf(change: Partial<AppSettings>) {
  const { allowedOrigins, recallSeconds, retentionDays, presence, pushWhen, pushShowsText, pushTemplates } =
    change;
  return {
    ...(allowedOrigins && { allowed_origins: [...allowedOrigins] }),
    ...(recallSeconds !== undefined && { recall_seconds: recallSeconds }),
    ...('retentionDays' in change && { retention_days: retentionDays ?? null }),
    ...(presence !== undefined && { shows_presence: presence }),
    ...(pushWhen && { push_when: pushWhen }),
    ...(pushShowsText !== undefined && { push_shows_text: pushShowsText }),
    ...(pushTemplates && { push_templates: pushTemplates }),
  };
}

function schemeColumns(schemes: readonly Scheme[]): { composed: boolean; registered: boolean } {
  return { composed: schemes.includes('composed'), registered: schemes.includes('registered') };
}

function toApp(row: Selectable<Tables['app']>): App {
  const schemes: Scheme[] = [];
  if (row.composed) schemes.push('composed');
  if (row.registered) schemes.push('registered');
  return {
    id: row.id as AppId,
    name: row.name,
    schemes,
    hasAliases: row.has_aliases,
    allowedOrigins: row.allowed_origins,
    recallSeconds: row.recall_seconds,
    retentionDays: row.retention_days ?? undefined,
    presence: row.shows_presence,
    pushWhen: row.push_when,
    pushShowsText: row.push_shows_text,
    pushTemplates: row.push_templates as PushTemplates,
    tokensFrom: row.tokens_from ?? undefined,
    createdAt: row.created_at,
  };
}
