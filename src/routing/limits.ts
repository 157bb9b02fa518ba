// How much of the service one connection, one user and one app may take up.

export interface Limits {
  /** What one connection may send, on average and at once, before it is closed. */
  framesPerSecond: number;
  frameBurst: number;
  /** Connections on each process. */
  connectionsPerUser: number;
  connectionsPerApp: number;
  apiKeysPerApp: number;
  issuersPerApp: number;
  /** That its webhook has not been told yet. */
  webhookEventsPerApp: number;
}

/** The limits that are given, and for each other one its default. */
export function completeLimits({
  framesPerSecond = 1_000,
  frameBurst = 3_000,
  connectionsPerUser = 100,
  connectionsPerApp = 100_000,
  apiKeysPerApp = 1_000,
  issuersPerApp = 100,
  webhookEventsPerApp = 100_000,
}: { [Name in keyof Limits]?: Limits[Name] | undefined } = {}): Limits {
  return {
    framesPerSecond,
    frameBurst,
    connectionsPerUser,
    connectionsPerApp,
    apiKeysPerApp,
    issuersPerApp,
    webhookEventsPerApp,
  };
}

/** A token bucket: `burst` at once, `perSecond` from then on. */
export class Rate {
  readonly #perMs: number;
  readonly #burst: number;
  #left: number;
  #at: number;

  constructor(perSecond: number, burst: number, nowMs: number) {
    this.#perMs = perSecond / 1_000;
    this.#burst = burst;
    this.#left = burst;
    this.#at = nowMs;
  }

  /** Whether one more is allowed at `nowMs`, of a clock that never goes back. */
  take(nowMs: number): boolean {
    this.#left = Math.min(this.#burst, this.#left + (nowMs - this.#at) * this.#perMs);
    this.#at = nowMs;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
}
