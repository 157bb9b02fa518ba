// A store in localStorage, or in whatever has its shape.

import type { Store } from './contract.ts';

/** What a store needs of `localStorage`. */
export interface WebStorage {
  readonly length: number;
  key(index: number): string | null;
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/**
 * A store that outlives a reload, shared by all tabs of an origin: what one tab couldn't send any more, the next one sends, and
 * never twice. Give each user a name of its own, such as the customer's id of it.
 */
export function webStore(
  name: string,
  storage: WebStorage = (globalThis as unknown as { localStorage: WebStorage }).localStorage,
): Store {
  const prefix = `imid:${name}:`;
  return {
    entries() {
      const keys = Array.from({ length: storage.length }, (_, index) => storage.key(index));
      return keys
        .filter((key) => key !== null && key.startsWith(prefix))
        .map((key) => [key!.slice(prefix.length), storage.getItem(key!) ?? '']);
    },
    set: (key, value) => storage.setItem(prefix + key, value),
    delete: (key) => storage.removeItem(prefix + key),
  };
}
