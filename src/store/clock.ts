// The time by the database's clock, read without I/O, so that all processes on one database tell the same time.
// Invariant: never goes back within a process, whatever is done to the clocks of the machines.

import type pg from 'pg';

export interface Clock {
  now(): Date;
  /** Resolves once `now()` has reached `instant`. */
  reach(instant: Date): Promise<void>;
  stop(): void;
}

const RESAMPLE_MS = 10_000;

export async function startClock(
  pool: pg.Pool,
  log: (message: string, error?: Error) => void,
): Promise<Clock> {
  let offsetMs = await sampleOffset(pool);
  let latestMs = 0;
  const resampling = setInterval(() => {
    sampleOffset(pool).then(
      (sample) => (offsetMs = sample),
      (error: Error) => log('the clock of the database could not be read', error),
    );
  }, RESAMPLE_MS);
  resampling.unref();

  const now = (): Date => {
    latestMs = Math.max(latestMs, performance.now() + offsetMs);
    return new Date(latestMs);
  };
  return {
    now,
    async reach(instant) {
      for (let wait = 1; wait > 0;) {
        wait = instant.getTime() - now().getTime();
        if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
      }
    },
    stop: () => clearInterval(resampling),
  };
}

/** Milliseconds between the monotonic clock of this process and the database's: the quickest of three answers. */
async function sampleOffset(pool: pg.Pool): Promise<number> {
  const client = await pool.connect();
  try {
    let best = { roundTrip: Infinity, offset: 0 };
    for (let i = 0; i < 3; i++) {
      const sent = performance.now();
      const { rows } = await client.query<{ now: string }>(
        'select extract(epoch from clock_timestamp()) * 1000 as now',
      );
      const roundTrip = performance.now() - sent;
      if (roundTrip < best.roundTrip)
        best = { roundTrip, offset: Number(rows[0]!.now) - (sent + roundTrip / 2) };
    }
    return best.offset;
  } finally {
    client.release();
  }
}
