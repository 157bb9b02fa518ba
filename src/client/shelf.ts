// What is kept in the app's store: one act after the other, and a store that fails costs no more than what it was to keep.

import type { Store } from './contract.ts';
import { ImidError } from './errors.ts';

/** Undefined: it is none. */
export function readJson(text = ''): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

export type Shelf = ReturnType<typeof createShelf>;

export function createShelf(store: Store | undefined, timeoutMs: number, fail: (error: ImidError) => void) {
  let last: Promise<unknown> = Promise.resolve();
  const act = <T>(what: (store: Store) => T | Promise<T>): Promise<T | undefined> => {
    if (!store) return Promise.resolve(undefined);
    const done = last.then(() => what(store));
    last = done.catch(() => {});
    return within(timeoutMs, done).catch((cause: unknown) => {
      fail(new ImidError('store_failed', 'The store failed.', { cause }));
      return undefined;
    });
  };

  return {
    set: (key: string, value: string) => act((each) => each.set(key, value)),
    delete: (key: string) => act((each) => each.delete(key)),
    /** All there is, by key. */
    load: async (): Promise<[string, string][]> =>
      ((await act(async (each) => [...(await each.entries())])) ?? []).toSorted(([a], [b]) =>
        a < b ? -1 : 1,
      ),
    clear: () =>
      act(async (each) => {
        for (const [key] of await each.entries()) await each.delete(key);
      }),
  };
}

/** Nobody waits for ever for a store that doesn't answer. */
function within<T>(ms: number, done: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`It hasn't answered for ${ms} ms.`)), ms);
  return Promise.race([done, late.promise]).finally(() => clearTimeout(timer));
}
