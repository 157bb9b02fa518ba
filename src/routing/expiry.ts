// Waits for a time to come, however far away it is.

/** setTimeout takes at most 2^31 - 1 milliseconds. */
const MAX_TIMER_MS = 2_147_483_647;

export class Expiry {
  readonly #now: () => Date;
  readonly #onExpired: () => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(now: () => Date, onExpired: () => void) {
    this.#now = now;
    this.#onExpired = onExpired;
  }

  /** Waits for this time instead of the one before; one that is past is told of at once. */
  watch(at: Date): void {
    this.stop();
    const remaining = at.getTime() - this.#now().getTime();
    if (remaining <= 0) return this.#onExpired();
    this.#timer = setTimeout(() => this.watch(at), Math.min(remaining, MAX_TIMER_MS));
    this.#timer.unref();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
