// Who may use a connection next: in the order in which they came, and no more at once than its limit.

/** How long somebody waits; an AbortSignal for each request would cost as much as half of the request. */
export interface Patience {
  readonly isOver: boolean;
  /** What to do when it is over. */
  onOver: () => void;
}

export interface Turns {
  /** None at first. */
  limit: number;
  readonly taken: number;
  /** Whether it is one's turn at once, which lasts until `give`. */
  tryTake(): boolean;
  /** Resolves when it is one's turn, which lasts until `give`; rejects when patience is over, and with what `stop` says. */
  take(patience: Patience): Promise<void>;
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

    tryTake() {
      if (stopped || waiting.size > 0 || taken >= limit) return false;
      taken += 1;
      return true;
    },

    take: (patience) =>
      new Promise((begin, refuse) => {
        if (stopped) return refuse(stopped);
        const waiter: Waiter = { begin, refuse };
        patience.onOver = () => {
          waiting.delete(waiter);
          refuse(new Error('It was not its turn in time'));
        };
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
