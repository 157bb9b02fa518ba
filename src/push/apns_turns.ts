// Who may use a connection next: in the order in which they came, and no more at once than its limit.

export interface Turns {
  /** None at first. */
  limit: number;
  readonly taken: number;
  /** Resolves when it is one's turn, which lasts until `give`; rejects with what `signal` or `stop` says. */
  take(signal: AbortSignal): Promise<void>;
  give(): void;
  /** Whoever waits has waited in vain, and so has who comes later. */
  stop(reason: Error): void;
}

interface Waiter {
  begin(): void;
  refuse(reason: Error): void;
}

export function createTurns(): Turns {
  const waiting = new Set<Waiter>();
  let limit = 0;
  let taken = 0;
  let stopped: Error | undefined;

  function admit(): void {
    for (const waiter of waiting) {
      if (taken >= limit) return;
      waiting.delete(waiter);
      taken += 1;
      waiter.begin();
    }
  }

  return {
    get limit() {
      return limit;
    },
    set limit(value) {
      limit = value;
      admit();
    },
    get taken() {
      return taken;
    },

    take: (signal) =>
      new Promise((begin, refuse) => {
        if (stopped) return refuse(stopped);
        if (signal.aborted) return refuse(signal.reason as Error);
        const giveUp = (): void => {
          waiting.delete(waiter);
          refuse(signal.reason as Error);
        };
        const waiter: Waiter = {
          begin() {
            signal.removeEventListener('abort', giveUp);
            begin();
          },
          refuse(reason) {
            signal.removeEventListener('abort', giveUp);
            refuse(reason);
          },
        };
        signal.addEventListener('abort', giveUp);
        waiting.add(waiter);
        admit();
      }),

    give() {
      taken -= 1;
      admit();
    },

    stop(reason) {
      stopped = reason;
      for (const waiter of waiting) waiter.refuse(reason);
      waiting.clear();
    },
  };
}
