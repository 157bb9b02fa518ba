// When each key was used last, to the minute: written behind the requests, many keys at once. What a crash loses is a minute.

import { LRUCache } from 'lru-cache';
import type { Clock } from '../store/clock.ts';

const EVERY_MS = 60_000;
const MAX_KEYS = 10_000;

export function noteLastUses(
  write: (uses: ReadonlyMap<string, Date>) => Promise<void>,
  clock: Pick<Clock, 'now'>,
  log: (message: string, error?: unknown) => void,
) {
  /** Those that need not be written yet. */
  const written = new LRUCache<string, true>({ max: MAX_KEYS, ttl: EVERY_MS });
  let waiting = new Map<string, Date>();
  let writing: Promise<void> | undefined;

  /** What is used while others are being written goes with the next ones. */
  async function writeAll(): Promise<void> {
    while (waiting.size > 0) {
      const uses = waiting;
      waiting = new Map();
      await write(uses).catch((error: unknown) => log('when keys were used could not be written', error));
    }
    writing = undefined;
  }

  return {
    note(keyId: string): void {
      if (written.has(keyId)) return;
      written.set(keyId, true);
      waiting.set(keyId, clock.now());
      writing ??= writeAll();
    },

    stop: (): Promise<void> => writing ?? Promise.resolve(),
  };
}
