// What is kept in the app's store: one act after the other, and a store that fails costs no more than what it was to keep.

import type { Store } from './contract.ts';
import { ImidError } from './errors.ts';

/** Undefined: it isn't what was put there. */
export function readKept(text = ''): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

export type Shelf = ReturnType<typeof createShelf>;

export function createShelf(store: Store | undefined, fail: (error: ImidError) => void) {
  let last: Promise<unknown> = Promise.resolve();
  const act = <T>(what: (store: Store) => T | Promise<T>): Promise<T | undefined> => {
    if (!store) return Promise.resolve(undefined);
    const done = last
      .then(() => what(store))
      .catch((cause: unknown) => {
        fail(new ImidError('store_failed', 'The store failed.', { cause }));
        return undefined;
      });
    last = done;
    return done;
  };

  return {
    set: (key: string, value: string) => act((each) => each.set(key, value)),
    delete: (key: string) => act((each) => each.delete(key)),
    /** All there is, by key. */
    load: async (): Promise<[string, string][]> =>
      [...((await act((each) => each.entries())) ?? [])].toSorted(([a], [b]) => (a < b ? -1 : 1)),
    clear: () =>
      act(async (each) => {
        for (const [key] of await each.entries()) await each.delete(key);
      }),
  };
}
