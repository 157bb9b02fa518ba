// Keeps an account at a provider that is out of order from being asked again and again, and from taking up what the others
// need. An account is one app's at one provider.

import { LRUCache } from 'lru-cache';

export interface Circuit {
  readonly provider: string;
  readonly isOpen: boolean;
  /** For how long nothing may be sent; 0: it may now, and counts as under way until `leave`. */
  enter(): Promise<number>;
  leave(isOutOfOrder: boolean): void;
  /** Has those who wait told that everything is over. */
  stop(): void;
}

/** So many failures in a row open it. */
const FAILURES_MAX = 5;
const FIRST_OPEN_MS = 2_000;
const MAX_OPEN_MS = 300_000;
/** Pushes of one account that are under way on this process. */
const IN_FLIGHT_MAX = 500;
/** Others wait for their turn, for as long at most; who doesn't get it comes again, and is looked at again. */
export const WAIT_MAX_MS = 500;
/** Of all accounts, with those that wait. */
export const UNDER_WAY_MAX = 1_000;
/** An account has at most so many times as many as are left: so there are some for others, however many accounts are slow. */
const TIMES_LEFT = 3;
const BUSY_MS = 500;
const MAX_CIRCUITS = 10_000;

export type Circuits = ReturnType<typeof createCircuits>;

export function createCircuits(now: () => number = () => performance.now()) {
  let isStopped = false;
  /** Of all of them, with those that wait. */
  let underWay = 0;
  const circuits = new LRUCache<string, Circuit, string>({
    max: MAX_CIRCUITS,
    memoMethod: (_account, _stale, { context: provider }) => createCircuit(provider),
  });

  function createCircuit(provider: string): Circuit {
    /** Called with what `enter` answers. */
    const waiting = new Set<(forMs: number) => void>();
    /** Since one went well. */
    let failures = 0;
    let openUntilMs = 0;
    let inFlight = 0;

    /** As `enter` answers, without waiting; undefined: too many are under way. */
    function tryEnter(): number | undefined {
      if (isStopped) return BUSY_MS;
      const closedInMs = openUntilMs - now();
      if (closedInMs > 0) return closedInMs;
      // After a time-out one tries whether it goes again.
      if (inFlight >= (failures >= FAILURES_MAX ? 1 : IN_FLIGHT_MAX)) return undefined;
      inFlight += 1;
      underWay += 1;
      return 0;
    }

    function hasPlace(): boolean {
      return inFlight + waiting.size < TIMES_LEFT * (UNDER_WAY_MAX - underWay);
    }

    function admit(): void {
      for (const begin of waiting) {
        const forMs = tryEnter();
        if (forMs === undefined) return;
        begin(forMs);
      }
    }

    return {
      provider,
      get isOpen() {
        return openUntilMs > now();
      },

      async enter() {
        if (openUntilMs <= now() && !hasPlace()) return BUSY_MS;
        const forMs = tryEnter();
        if (forMs !== undefined) return forMs;
        if (failures >= FAILURES_MAX) return BUSY_MS;
        underWay += 1;
        return new Promise((resolve) => {
          const begin = (answer: number): void => {
            clearTimeout(timer);
            waiting.delete(begin);
            underWay -= 1;
            resolve(answer);
          };
          const timer = setTimeout(begin, WAIT_MAX_MS, BUSY_MS).unref();
          waiting.add(begin);
        });
      },

      leave(isOutOfOrder) {
        inFlight -= 1;
        underWay -= 1;
        failures = isOutOfOrder ? failures + 1 : 0;
        if (failures >= FAILURES_MAX && openUntilMs <= now()) {
          const openMs = Math.min(MAX_OPEN_MS, FIRST_OPEN_MS * 2 ** (failures - FAILURES_MAX));
          openUntilMs = now() + openMs * (0.5 + Math.random() / 2);
        }
        admit();
      },

      stop: admit,
    };
  }

  return {
    /** Of an account, such as an app's, at a provider. Who enters one leaves the same. */
    find: (provider: string, account: string): Circuit =>
      circuits.memo(`${provider} ${account}`, { context: provider }),

    /** Nothing is sent any more, and nobody waits for it. */
    stop(): void {
      isStopped = true;
      for (const circuit of circuits.values()) circuit.stop();
    },

    /** How many are open now, by provider. */
    countOpen(): Map<string, number> {
      const counts = new Map<string, number>();
      for (const { isOpen, provider } of circuits.values())
        if (isOpen) counts.set(provider, (counts.get(provider) ?? 0) + 1);
      return counts;
    },
  };
}
