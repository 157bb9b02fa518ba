// Work that nobody waits for: what a process that ended has left half done of mergers and erasures, and messages that are
// older than their app keeps them. At the start, and from time to time. Doing the same twice, or at once, does no harm.

import type { Mergers } from './mergers.ts';
import type { Registry } from './registry.ts';

const INTERVAL_MS = 60_000;

export interface FinishingOptions {
  registry: Registry;
  mergers: Mergers;
  expire: () => Promise<void>;
  log: (message: string, error: unknown) => void;
}

export function finishActs({ registry, mergers, expire, log }: FinishingOptions): { stop(): void } {
  const finish = (): void => {
    mergers.bringAll().catch((error: unknown) => log('merged users could not be brought together', error));
    expire().catch((error: unknown) => log('messages that have expired could not be deleted', error));
    registry.clearAll().catch((error: unknown) => log('erased users could not be cleared away', error));
  };
  finish();
  const timer = setInterval(finish, INTERVAL_MS);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}
