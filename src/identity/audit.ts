// The audit trail: acts are written as they are done, uses of keys are counted. A user is found by name without a name being
// kept.

import type { AppId, Name } from '../ids.ts';
import { findAuditEvents, insertAuditEvents, type EventFilter, type EventPage } from '../store/audit.ts';
import type { Database } from '../store/database.ts';
import type { Hashes } from '../store/former_names.ts';
import { countUses, type Use } from './key_uses.ts';

export type Audit = ReturnType<typeof createAudit>;

export interface Act {
  appId: AppId | undefined;
  actor: string;
  action: string;
  /** The user it was done to, where it was one. */
  name?: Name | undefined;
  /** What it was done with; never personal. */
  target?: string | undefined;
}

export interface AuditOptions {
  database: Database;
  hashes: Hashes;
  log: (message: string, error?: unknown) => void;
}

export function createAudit({ database: { kysely }, hashes, log }: AuditOptions) {
  const uses = countUses((counted) => insertAuditEvents(kysely, counted), log);
  const hashOf = (appId: AppId | undefined, name: Name | undefined): Buffer | undefined =>
    appId === undefined || name === undefined ? undefined : hashes.ofName(appId, name);

  return {
    /** Resolves once it is written. */
    note: ({ name, ...act }: Act): Promise<void> =>
      insertAuditEvents(kysely, [{ ...act, subjectHash: hashOf(act.appId, name) }]),

    /** Counted here, and written within seconds. */
    count: (use: Use): void => uses.count(use),

    /** A part of the trail. A name is one of the app. */
    list: (
      { name, ...about }: Omit<EventFilter, 'subjectHash'> & { name?: Name | undefined },
      page: EventPage,
    ) => findAuditEvents(kysely, { ...about, subjectHash: hashOf(about.appId, name) }, page),

    /** Writes what is counted; to be called when nothing more comes. */
    stop: (): Promise<void> => uses.stop(),
  };
}
