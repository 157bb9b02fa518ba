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
export function webStore(name: string, storage?: WebStorage): Store {
  const prefix = `imid:${encodeURIComponent(name)}:`; // or the keys of "a:b" would begin with those of "a"
  // Asked for when it is needed: a page that may not keep anything throws at that, and talks all the same.
  const find = (): WebStorage =>
    storage ?? (globalThis as unknown as { localStorage: WebStorage }).localStorage;
  return {
    entries() {
      const found = find();
      const keys = Array.from({ length: found.length }, (_, index) => found.key(index));
      return keys
        .filter((key) => key !== null && key.startsWith(prefix))
        .map((key) => [key!.slice(prefix.length), found.getItem(key!) ?? '']);
    },
    set: (key, value) => find().setItem(prefix + key, value),
    delete: (key) => find().removeItem(prefix + key),
  };
}
