// The trail of what was done to whom. Append-only; names nobody.

import type { AppId } from '../ids.ts';
import type { Executor } from './database.ts';

export interface AuditEvent {
  appId: AppId;
  /** An API key's id, or `admin`. */
  actor: string;
  action: 'identity.erase' | 'identity.merge';
  /** The keyed hash of the name it was done to. */
  subjectHash: Buffer;
}

export async function insertAuditEvent(db: Executor, event: AuditEvent): Promise<void> {
  await db
    .insertInto('audit_event')
    .values({
      app_id: event.appId,
      actor: event.actor,
      action: event.action,
      subject_hash: event.subjectHash,
    })
    .execute();
}

/** The trail behind event `afterId`, in order: all of it, of one app, or of one subject. */
export async function findAuditEvents(
  db: Executor,
  about: { appId: AppId | undefined; subjectHash: Buffer | undefined },
  afterId: number,
  limit: number,
): Promise<(AuditEvent & { id: number; at: Date })[]> {
  let query = db.selectFrom('audit_event').selectAll().where('id', '>', afterId).orderBy('id').limit(limit);
  if (about.appId !== undefined) query = query.where('app_id', '=', about.appId);
  if (about.subjectHash) query = query.where('subject_hash', '=', about.subjectHash);
  const rows = await query.execute();
  return rows.map((row) => ({
    id: row.id,
    at: row.at,
    appId: row.app_id as AppId,
    actor: row.actor,
    action: row.action as AuditEvent['action'],
    subjectHash: row.subject_hash,
  }));
}
