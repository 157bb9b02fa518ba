// Goes on with what a process that ended has left half done: mergers and erasures. At the start, and from time to time
// for processes that end while this one lives. Doing the same twice, or at once, does no harm.

import type { Mergers } from './mergers.ts';
import type { Registry } from './registry.ts';

const INTERVAL_MS = 60_000;

export interface FinishingOptions {
  registry: Registry;
  mergers: Mergers;
  log: (message: string, error: unknown) => void;
}

export function finishActs({ registry, mergers, log }: FinishingOptions): { stop(): void } {
  const finish = (): void => {
    mergers.bringAll().catch((error: unknown) => log('merged users could not be brought together', error));
    registry.clearAll().catch((error: unknown) => log('erased users could not be cleared away', error));
  };
  finish();
  const timer = setInterval(finish, INTERVAL_MS);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}
