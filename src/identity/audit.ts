// The audit trail of an app, found by name without a name being kept.

import type { AppId, Name } from '../ids.ts';
import { findAuditEvents } from '../store/audit.ts';
import type { Database } from '../store/database.ts';
import type { Hashes } from '../store/former_names.ts';

export type Audit = ReturnType<typeof createAudit>;

export function createAudit({ database: { kysely }, hashes }: { database: Database; hashes: Hashes }) {
  return {
    /** Events behind `afterId`, oldest first: of all apps or of one, or about whoever had a name in it. */
    list(
      { appId, name }: { appId: AppId | undefined; name?: Name | undefined },
      afterId: number,
      limit: number,
    ) {
      const subjectHash = appId && name && hashes.ofName(appId, name);
      return findAuditEvents(kysely, { appId, subjectHash }, afterId, limit);
    },
  };
}
