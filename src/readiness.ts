// Whether the service can serve right now, and if not, why: what /readyz says.

import type { Router } from './routing/router.ts';
import type { Database } from './store/database.ts';
import { findMissingMigrations } from './store/migrations.ts';
import { createProbe } from './store/probe.ts';

export interface ReadinessOptions {
  database: Database;
  router: Router;
  trust: { readonly isBlind: boolean };
  isDraining: () => boolean;
}

const PATIENCE_MS = 1_000;

/** Gives back a function that says what is in the way; nothing is when the service can serve. */
export function createReadiness({
  database,
  router,
  trust,
  isDraining,
}: ReadinessOptions): () => Promise<string[]> {
  const probe = createProbe(() => findMissingMigrations(database.kysely), PATIENCE_MS);

  return async () => {
    const faults: string[] = [];
    if (isDraining()) faults.push('The service is shutting down.');
    const missing = await probe();
    if (!missing) faults.push(`The database didn’t answer within ${PATIENCE_MS / 1_000} second.`);
    else if (missing.length > 0)
      faults.push(`The schema is not that of this version: it lacks ${missing.join(', ')}.`);
    const { isHeartbeatLate } = router.state;
    if (isHeartbeatLate) faults.push('The database has not taken note of this process for too long.');
    if (trust.isBlind) faults.push('It has been unknown for too long which tokens count.');
    return faults;
  };
}
