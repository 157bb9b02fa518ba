// The API keys of an app's backends.

import { sql, type Selectable } from 'kysely';
import type { AppId } from '../ids.ts';
import type { Executor } from './database.ts';
import type { Tables } from './tables.ts';

export interface ApiKey {
  id: string;
  appId: AppId;
  name: string;
  scopes: string[];
  secretHash: Buffer;
  createdAt: Date;
  /** From when on it is refused. */
  expiresAt: Date | undefined;
  /** To the minute. */
  lastUsedAt: Date | undefined;
}

export interface NewApiKey {
  id: string;
  appId: AppId;
  name: string;
  scopes: readonly string[];
  secretHash: Buffer;
  expiresAt: Date | undefined;
}

export async function insertApiKey(db: Executor, key: NewApiKey): Promise<ApiKey> {
  const row = await db
    .insertInto('api_key')
    .values({
      id: key.id,
      app_id: key.appId,
      name: key.name,
      scopes: [...key.scopes],
      secret_hash: key.secretHash,
      expires_at: key.expiresAt ?? null,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
  return toApiKey(row);
}

export async function findApiKey(db: Executor, id: string): Promise<ApiKey | undefined> {
  const row = await db.selectFrom('api_key').selectAll().where('id', '=', id).executeTakeFirst();
  return row && toApiKey(row);
}

export async function findApiKeys(
  db: Executor,
  appId: AppId,
  afterId: string,
  limit: number,
): Promise<ApiKey[]> {
  const rows = await db
    .selectFrom('api_key')
    .selectAll()
    .where('app_id', '=', appId)
    .where('id', '>', afterId)
    .orderBy('id')
    .limit(limit)
    .execute();
  return rows.map(toApiKey);
}

export async function deleteApiKey(db: Executor, appId: AppId, id: string): Promise<boolean> {
  const gone = await db
    .deleteFrom('api_key')
    .where('app_id', '=', appId)
    .where('id', '=', id)
    .executeTakeFirst();
  return gone.numDeletedRows > 0n;
}

/** Leaves keys out that another process is marking just now, rather than waiting for it. */
export async function markUsed(db: Executor, uses: ReadonlyMap<string, Date>): Promise<void> {
  await sql`
    with used as materialized (
      select k.id, u.at
      from api_key k
      join unnest(${[...uses.keys()]}::text[], ${[...uses.values()]}::timestamptz[]) as u (id, at) on u.id = k.id
      for no key update of k skip locked
    )
    update api_key k set last_used_at = greatest(k.last_used_at, used.at) from used where k.id = used.id`.execute(
    db,
  );
}

function toApiKey(row: Selectable<Tables['api_key']>): ApiKey {
  return {
    id: row.id,
    appId: row.app_id as AppId,
    name: row.name,
    scopes: row.scopes,
    secretHash: row.secret_hash,
    createdAt: row.created_at,
    expiresAt: row.expires_at ?? undefined,
    lastUsedAt: row.last_used_at ?? undefined,
  };
}
