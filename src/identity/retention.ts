// Deletes what is older than its app keeps it.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Database } from '../store/database.ts';
import { deleteExpired, findRetentions } from '../store/retention.ts';
import { attemptEach } from '../store/transact.ts';

const DAY_MS = 86_400_000;
/** Between two portions, for everybody else. */
const PAUSE_MS = 20;

export function createRetention({ kysely, clock }: Database): () => Promise<void> {
  let isUnderWay = false;

  return async () => {
    if (isUnderWay) return;
    isUnderWay = true;
    try {
      await attemptEach(await findRetentions(kysely), async ({ appId, days }) => {
        const before = new Date(clock.now().getTime() - days * DAY_MS);
        while (await deleteExpired(kysely, appId, before)) await sleep(PAUSE_MS, undefined, { ref: false });
      });
    } finally {
      isUnderWay = false;
    }
  };
}
