// The trail of what was done, by whom and to whom. Append-only, which the database sees to; names nobody.

import { sql } from 'kysely';
import type { AppId } from '../ids.ts';
import type { Executor } from './database.ts';

export interface AuditEvent {
  appId?: AppId | undefined;
  /** An API key's id, `admin`, `client`, or `service`. */
  actor: string;
  action: string;
  /** The keyed hash of the name it was done to. */
  subjectHash?: Buffer | undefined;
  /** What it was done with, where that isn't personal. */
  target?: string | undefined;
  /** How many times; once unless said. */
  count?: number | undefined;
}

export interface WrittenEvent extends AuditEvent {
  id: number;
  at: Date;
  count: number;
}

/**
 * Writes events, in one statement. In a transaction it comes last: until that ends, the trail stops short of what others
 * write after it.
 */
export async function insertAuditEvents(db: Executor, events: readonly AuditEvent[]): Promise<void> {
  if (events.length === 0) return;
  await sql`
    insert into audit_event (app_id, actor, action, subject_hash, target, count)
    select * from unnest(
      ${events.map(({ appId }) => appId ?? null)}::bigint[],
      ${events.map(({ actor }) => actor)}::text[],
      ${events.map(({ action }) => action)}::text[],
      ${events.map(({ subjectHash }) => subjectHash ?? null)}::bytea[],
      ${events.map(({ target }) => target ?? null)}::text[],
      ${events.map(({ count }) => count ?? 1)}::bigint[]
    )`.execute(db);
}

/** Of which events: all without a field. */
export interface EventFilter {
  appId?: AppId | undefined;
  subjectHash?: Buffer | undefined;
  actor?: string | undefined;
  action?: string | undefined;
  /** At this time or later. */
  from?: Date | undefined;
  /** Earlier than this. */
  to?: Date | undefined;
}

export interface EventPage {
  order: 'asc' | 'desc';
  /** Behind this event in that order. */
  afterId: number | undefined;
  limit: number;
}

/** A part of the trail, up to where no event can come in between any more: who goes on behind the last misses none. */
export async function findAuditEvents(
  db: Executor,
  { appId, subjectHash, actor, action, from, to }: EventFilter,
  { order, afterId, limit }: EventPage,
): Promise<WrittenEvent[]> {
  const { rows: settled } = await sql<{ id: number }>`select settled_audit_id() as id`.execute(db);
  let query = db
    .selectFrom('audit_event')
    .selectAll()
    .where('id', '<=', settled[0]!.id)
    .orderBy('id', order)
    .limit(limit);
  if (afterId !== undefined) query = query.where('id', order === 'asc' ? '>' : '<', afterId);
  if (appId !== undefined) query = query.where('app_id', '=', appId);
  if (subjectHash) query = query.where('subject_hash', '=', subjectHash);
  if (actor !== undefined) query = query.where('actor', '=', actor);
  if (action !== undefined) query = query.where('action', '=', action);
  if (from) query = query.where('at', '>=', from);
  if (to) query = query.where('at', '<', to);
  const rows = await query.execute();
  return rows.map((row) => ({
    id: row.id,
    at: row.at,
    appId: (row.app_id ?? undefined) as AppId | undefined,
    actor: row.actor,
    action: row.action,
    subjectHash: row.subject_hash ?? undefined,
    target: row.target ?? undefined,
    count: row.count,
  }));
}
