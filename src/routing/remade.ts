// What is made of a row, kept until the row has changed: such as a client with its connections. Made once for all who ask
// meanwhile, since the one before is closed.

import { LRUCache } from 'lru-cache';

interface Closable {
  close(): unknown;
}

interface Made<V> {
  changedAt: number;
  value: Promise<V>;
  /** Once it is made. */
  ready?: V;
}

/** At most `max` are kept; whatever is kept no more is closed. */
export function createRemade<K extends {}, V extends Closable>(max: number) {
  const made = new LRUCache<K, Made<V>>({
    max,
    dispose: ({ value }) => void value.then((each) => each.close()).catch(() => {}),
  });
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

    /** Gives up all of them. */
    clear: (): void => made.clear(),
  };
}
