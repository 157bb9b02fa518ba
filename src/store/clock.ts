// The time by the database's clock, read without I/O, so that all processes on one database tell the same time.
// Invariants: `now` never goes back within a process, whatever is done to the clocks of the machines; `stamp` is never
// further than CLOCK_ERROR_MS from the database's clock.

import type pg from 'pg';

export interface Clock {
  now(): Date;
  /** The time, with a bounded error: without I/O where that is known to hold, else asked of the database. */
  stamp(): Promise<Date>;
  stop(): void;
}

/** By how much what two processes take for the database's time may differ from it. */
export const CLOCK_ERROR_MS = 5;

const RESAMPLE_MS = 5_000;
/** By how much two clocks may drift apart, at most: 200 microseconds a second. */
const DRIFT = 0.000_2;

interface Sample {
  /** What to add to the monotonic clock of this process. */
  offsetMs: number;
  /** The answer was given somewhere in the round trip, so this is the most that the offset may be wrong by. */
  errorMs: number;
  takenAt: number;
}

export async function startClock(
  pool: pg.Pool,
  log: (message: string, error?: Error) => void,
): Promise<Clock> {
  let sample = await takeSample(pool);
  let latestMs = 0;
  const resampling = setInterval(() => {
    takeSample(pool).then(
      (fresh) => {
        if (fresh.errorMs <= errorOf(sample)) sample = fresh;
      },
      (error: Error) => log('the clock of the database could not be read', error),
    );
  }, RESAMPLE_MS);
  resampling.unref();

  return {
    now() {
      latestMs = Math.max(latestMs, performance.now() + sample.offsetMs);
      return new Date(latestMs);
    },
    async stamp() {
      if (errorOf(sample) <= CLOCK_ERROR_MS) return new Date(performance.now() + sample.offsetMs);
      return new Date(await askDatabase(pool));
    },
    stop: () => clearInterval(resampling),
  };
}

function errorOf({ errorMs, takenAt }: Sample): number {
  return errorMs + (performance.now() - takenAt) * DRIFT;
}

/** The best of three. */
async function takeSample(pool: pg.Pool): Promise<Sample> {
  let best: Sample | undefined;
  for (let i = 0; i < 3; i++) {
    const sentAt = performance.now();
    const databaseMs = await askDatabase(pool);
    const takenAt = performance.now();
    const errorMs = (takenAt - sentAt) / 2;
    if (!best || errorMs < best.errorMs)
      best = { offsetMs: databaseMs - (sentAt + errorMs), errorMs, takenAt };
  }
  return best!;
}

async function askDatabase(pool: pg.Pool): Promise<number> {
  const { rows } = await pool.query<{ now: string }>({
    name: 'clock',
    text: 'select extract(epoch from clock_timestamp()) * 1000 as now',
  });
  return Number(rows[0]!.now);
}
