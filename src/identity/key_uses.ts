// Counts what keys are used for, so that the trail grows with time and not with traffic: one event for each key and
// operation every ten seconds. What a crash loses is those seconds.

import type { AppId } from '../ids.ts';

export interface Use {
  appId: AppId | undefined;
  actor: string;
  action: 'key.use' | 'key.refuse';
  /** The operation. */
  target: string;
}

export type CountedUse = Use & { count: number };

const FLUSH_MS = 10_000;
/** Of keys and operations that are kept for Postgres while it is away; further ones are left out. */
const MAX_KINDS = 10_000;

export function countUses(
  write: (uses: readonly CountedUse[]) => Promise<void>,
  log: (message: string, error?: unknown) => void,
) {
  let counted = new Map<string, CountedUse>();
  let lost = 0;
  let writing = Promise.resolve();

  function count(use: Use, times = 1): void {
    const kind = `${use.actor} ${use.appId} ${use.action} ${use.target}`;
    const known = counted.get(kind);
    if (known) known.count += times;
    else if (counted.size < MAX_KINDS) counted.set(kind, { ...use, count: times });
    else lost += times;
  }

  async function flush(): Promise<void> {
    const uses = [...counted.values()];
    counted = new Map();
    if (uses.length === 0) return;
    try {
      await write(uses);
      if (lost > 0) log(`${lost} uses of keys are missing in the audit trail`);
      lost = 0;
    } catch (error) {
      log('uses of keys could not be written', error);
      for (const { count: times, ...use } of uses) count(use, times);
    }
  }

  /** One flush after the other. */
  const flushNext = (): Promise<void> => (writing = writing.then(flush));
  const timer = setInterval(() => void flushNext(), FLUSH_MS);
  timer.unref();

  return {
    count,
    async stop(): Promise<void> {
      clearInterval(timer);
      await flushNext();
    },
  };
}
