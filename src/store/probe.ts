// Asks the database something that nobody may wait for.

import { setTimeout as sleep } from 'node:timers/promises';

/**
 * What `ask` answers, or undefined where that fails or takes longer than `patienceMs`. While an answer is outstanding,
 * nothing is asked again, so that a database that hangs takes one connection and no more.
 */
export function createProbe<T>(ask: () => Promise<T>, patienceMs: number): () => Promise<T | undefined> {
  let asking: Promise<T | undefined> | undefined;
  return async () => {
    asking ??= ask()
      .catch(() => undefined)
      .finally(() => (asking = undefined));
    const enough = new AbortController();
    const late = sleep(patienceMs, undefined, { signal: enough.signal }).catch(() => undefined);
    return Promise.race([asking, late]).finally(() => enough.abort());
  };
}
