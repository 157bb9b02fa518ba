// Keeps an account at a provider that is out of order from being asked again and again, and from taking up what the others
// need. An account is one app's at one provider.

import { LRUCache } from 'lru-cache';

interface Circuit {
  /** Since one went well. */
  failures: number;
  openUntilMs: number;
  inFlight: number;
  /** Called with what `enter` answers. */
  waiting: Set<(forMs: number) => void>;
}

/** So many failures in a row open it. */
const FAILURES_MAX = 5;
const FIRST_OPEN_MS = 2_000;
const MAX_OPEN_MS = 300_000;
/** Pushes of one account that are under way on this process. */
const IN_FLIGHT_MAX = 500;
/** So many more wait for their turn, for as long at most; who doesn't get it comes again. */
const WAITING_MAX = 250;
export const WAIT_MAX_MS = 2_000;
const BUSY_MS = 500;
const MAX_CIRCUITS = 10_000;

export type Circuits = ReturnType<typeof createCircuits>;

export function createCircuits(now: () => number = () => performance.now()) {
  const circuits = new LRUCache<string, Circuit>({
    max: MAX_CIRCUITS,
    memoMethod: () => ({ failures: 0, openUntilMs: 0, inFlight: 0, waiting: new Set() }),
  });
  let isStopped = false;

  /** As `enter` answers, without waiting; undefined: too many are under way. */
  function tryEnter(circuit: Circuit): number | undefined {
    if (isStopped) return BUSY_MS;
    const closedInMs = circuit.openUntilMs - now();
    if (closedInMs > 0) return closedInMs;
    // After a time-out one tries whether it goes again.
    const isProbing = circuit.failures >= FAILURES_MAX;
    if (circuit.inFlight >= (isProbing ? 1 : IN_FLIGHT_MAX)) return undefined;
    circuit.inFlight += 1;
    return 0;
  }

  function admit(circuit: Circuit): void {
    for (const begin of circuit.waiting) {
      const forMs = tryEnter(circuit);
      if (forMs === undefined) return;
      begin(forMs);
    }
  }

  return {
    /** For how long nothing may be sent by an account; 0: it may now, and counts as under way. */
    async enter(account: string): Promise<number> {
      const circuit = circuits.memo(account);
      const forMs = tryEnter(circuit);
      if (forMs !== undefined) return forMs;
      if (circuit.failures >= FAILURES_MAX || circuit.waiting.size >= WAITING_MAX) return BUSY_MS;
      return new Promise((resolve) => {
        const begin = (answer: number): void => {
          clearTimeout(timer);
          circuit.waiting.delete(begin);
          resolve(answer);
        };
        const timer = setTimeout(begin, WAIT_MAX_MS, BUSY_MS).unref();
        circuit.waiting.add(begin);
      });
    },

    leave(account: string, isOutOfOrder: boolean): void {
      const circuit = circuits.memo(account);
      circuit.inFlight -= 1;
      circuit.failures = isOutOfOrder ? circuit.failures + 1 : 0;
      if (circuit.failures >= FAILURES_MAX && circuit.openUntilMs <= now()) {
        const openMs = Math.min(MAX_OPEN_MS, FIRST_OPEN_MS * 2 ** (circuit.failures - FAILURES_MAX));
        circuit.openUntilMs = now() + openMs * (0.5 + Math.random() / 2);
      }
      admit(circuit);
    },

    /** Nothing is sent any more, and nobody waits for it. */
    stop(): void {
      isStopped = true;
      for (const circuit of circuits.values()) admit(circuit);
    },

    /** How many are open now. */
    countOpen: (): number => [...circuits.values()].filter(({ openUntilMs }) => openUntilMs > now()).length,
  };
}
