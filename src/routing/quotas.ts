// How often something may be used, and how often it was: counted here, in windows that all processes begin and end at the
// same time, without I/O and in bounded memory.

import { LRUCache } from 'lru-cache';

/** So many uses in each window of so many seconds. */
export interface Quota {
  uses: number;
  windowSeconds: number;
}

/** By a key, of an app, of a user, and from an address that has no good credential to show. */
export const quotaNames = ['key', 'app', 'user', 'address'] as const;
export type QuotaName = (typeof quotaNames)[number];
export type Quotas = Readonly<Record<QuotaName, Quota | 'off'>>;

const DEFAULTS: Quotas = {
  key: { uses: 100_000, windowSeconds: 10 },
  app: { uses: 200_000, windowSeconds: 10 },
  user: { uses: 600, windowSeconds: 10 },
  address: { uses: 60_000, windowSeconds: 60 },
};

/** The quotas that are given, and for each other one its default. */
export function completeQuotas(given: { [Name in QuotaName]?: Quotas[Name] | undefined } = {}): Quotas {
  return {
    key: given.key ?? DEFAULTS.key,
    app: given.app ?? DEFAULTS.app,
    user: given.user ?? DEFAULTS.user,
    address: given.address ?? DEFAULTS.address,
  };
}

interface Use {
  own: number;
  /** By the other processes, as far as they have told. */
  others: number;
}

/** Whose uses are kept in mind: beyond that, those who have used nothing for the longest time start afresh. */
const HOLDERS_MAX = 50_000;

/** The uses of one quota by whoever has it. */
export class Uses {
  readonly #windowMs: number;
  readonly #now: () => number;
  readonly #holders: LRUCache<string, Use>;
  #windowEnd = 0;

  /** `now` is the time by which all processes go, in milliseconds. */
  constructor({ windowSeconds }: Quota, now: () => number, holdersMax = HOLDERS_MAX) {
    this.#windowMs = windowSeconds * 1_000;
    this.#now = now;
    // Of a size, since one with a `max` makes room for all of them at once.
    this.#holders = new LRUCache({ maxSize: holdersMax, sizeCalculation: () => 1 });
  }

  /** Of how many holders anything is counted. */
  get size(): number {
    return this.#holders.size;
  }

  /** How often it was used, with this one, and in how many milliseconds the window ends. */
  add(holder: string): { uses: number; leftMs: number } {
    const leftMs = this.#turn();
    let use = this.#holders.get(holder);
    if (!use) this.#holders.set(holder, (use = { own: 0, others: 0 }));
    use.own += 1;
    return { uses: use.own + use.others, leftMs };
  }

  /** As `add`, without one. */
  read(holder: string): { uses: number; leftMs: number } {
    const leftMs = this.#turn();
    const use = this.#holders.get(holder);
    return { uses: use ? use.own + use.others : 0, leftMs };
  }

  /** What this process let be used in the current window. */
  *own(): Generator<{ holder: string; windowEnd: number; uses: number }> {
    this.#turn();
    for (const [holder, { own }] of this.#holders.entries())
      yield { holder, windowEnd: this.#windowEnd, uses: own };
  }

  /** What the other processes let be used. */
  hear({ holder, windowEnd, uses }: { holder: string; windowEnd: number; uses: number }): void {
    const use = windowEnd === this.#windowEnd ? this.#holders.peek(holder) : undefined;
    if (use) use.others = uses;
  }

  #turn(): number {
    const now = this.#now();
    if (now >= this.#windowEnd) {
      this.#holders.clear();
      this.#windowEnd = (Math.floor(now / this.#windowMs) + 1) * this.#windowMs;
    }
    return this.#windowEnd - now;
  }
}
