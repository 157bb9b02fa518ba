// A bounded cache of rows that change rarely: an answer is at most `maxAgeMs` old, so that a change on another
// process is seen within that time; look-ups of one key that arrive together become one.

import { LRUCache } from 'lru-cache';

/** How often a cache knew the answer, and how often not; only ever grows. */
export interface Uses {
  hits: number;
  misses: number;
}

export interface Fresh<K, V> {
  readonly uses: Readonly<Uses>;
  get(key: K): Promise<V | undefined>;
  /** What `get` would answer, where that is known. */
  peek(key: K): V | undefined;
  /** Makes the next get read anew. */
  forget(key: K): void;
}

const MAX_ENTRIES = 10_000;

export function createFresh<K extends {}, V extends {}>(
  maxAgeMs: number,
  find: (key: K) => Promise<V | undefined>,
): Fresh<K, V> {
  const cache = new LRUCache<K, { found: Promise<V | undefined>; value?: V }>({
    max: MAX_ENTRIES,
    ttl: maxAgeMs,
  });
  const uses: Uses = { hits: 0, misses: 0 };
  return {
    uses,
    get(key) {
      const cached = cache.get(key);
      uses[cached ? 'hits' : 'misses'] += 1;
      if (cached) return cached.found;
      const entry: { found: Promise<V | undefined>; value?: V } = { found: find(key) };
      cache.set(key, entry);
      const drop = (): void => {
        if (cache.peek(key) === entry) cache.delete(key);
      };
      // What is absent may appear at any moment, and a failure is nobody's answer but the caller's.
      entry.found.then((value) => {
        if (value === undefined) drop();
        else entry.value = value;
      }, drop);
      return entry.found;
    },
    peek(key) {
      const value = cache.get(key)?.value;
      if (value !== undefined) uses.hits += 1; // else a `get` follows
      return value;
    },
    forget: (key) => void cache.delete(key),
  };
}
