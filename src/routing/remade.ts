// What is made of a row, kept until the row has changed: such as a client with its connections. Made once for all who ask
// meanwhile, since the one before is closed, once those who use it have had their time.

import { LRUCache } from 'lru-cache';

/** Longer than whatever is done with it. */
const IN_USE_MS = 15_000;

interface Closable {
  close(): unknown;
}

interface Made<V> {
  changedAt: number;
  value: Promise<V>;
  /** Once it is made. */
  ready?: V;
}

/** At most `max` are kept; whatever is kept no more is closed when what was begun with it has ended. */
export function createRemade<K extends {}, V extends Closable>(max: number) {
  const leaving = new Map<Made<V>, NodeJS.Timeout>();
  const made = new LRUCache<K, Made<V>>({
    max,
    dispose: (entry) => void leaving.set(entry, setTimeout(close, IN_USE_MS, entry).unref()),
  });

  function close(entry: Made<V>): void {
    clearTimeout(leaving.get(entry));
    leaving.delete(entry);
    entry.value.then((each) => each.close()).catch(() => {});
  }

  return {
    get(key: K, changedAt: Date, make: () => Promise<V>): Promise<V> {
      const known = made.get(key);
      if (known?.changedAt === changedAt.getTime()) return known.value;
      const value = make();
      const entry: Made<V> = { changedAt: changedAt.getTime(), value };
      made.set(key, entry);
      value.then(
        (ready) => (entry.ready = ready),
        () => made.delete(key),
      );
      return value;
    },

    /** What `get` would give, where it is made already. */
    peek(key: K, changedAt: Date): V | undefined {
      const known = made.get(key);
      return known?.changedAt === changedAt.getTime() ? known.ready : undefined;
    },

    delete: (key: K): void => void made.delete(key),

    /** Closes all of them, at once. */
    clear(): void {
      made.clear();
      for (const entry of leaving.keys()) close(entry);
    },
  };
}
