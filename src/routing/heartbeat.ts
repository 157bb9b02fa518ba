// Once a second: says that this process is here, learns which others are, and checks what rings may have missed.

import type { Database } from '../store/database.ts';
import { deleteDeadProcesses, deleteProcess, markProcess } from '../store/connections.ts';

const DEFAULT_INTERVAL_MS = 1_000;
/** Others take a process for gone after ten seconds. */
const MAX_MISSED = 4;
const CLEANING_MS = 30_000;

export interface HeartbeatOptions {
  database: Database;
  processId: string;
  intervalMs?: number | undefined;
  onOthers: (processIds: readonly string[]) => void;
  /** Postgres has forgotten this process, and with it its connections. */
  onForgotten: () => Promise<void>;
  /** The database was restored from a backup: what was read of it before counts for nothing. */
  onEpoch: (epoch: string) => Promise<void>;
  /** Checks the positions of the inboxes. */
  check: () => Promise<void>;
  log: (message: string, error: unknown) => void;
}

export interface Heartbeat {
  readonly epoch: string;
  /** Since the database last knew that this process is here. */
  readonly ageSeconds: number;
  /** Whether that is longer than it may be. */
  readonly isLate: boolean;
  stop(): Promise<void>;
}

/** Resolves when the first beat is written. */
export async function startHeartbeat(options: HeartbeatOptions): Promise<Heartbeat> {
  const { database, processId, intervalMs = DEFAULT_INTERVAL_MS, log } = options;
  const { kysely } = database;
  let cleanAt = 0;
  let beating: Promise<void> | undefined;
  const first = await markProcess(kysely, processId);
  let { epoch } = first;
  let beatAt = performance.now();
  /** Found out, and not made good yet: the next beat goes on with it where one fails. */
  let isRestored = false;
  let isForgotten = false;
  options.onOthers(first.others);

  /** What this fails at keeps nobody from what has moved. */
  async function writeDownAgain(): Promise<void> {
    try {
      await options.onForgotten();
      isForgotten = false;
    } catch (error) {
      log('the connections could not be written down again', error);
    }
  }

  async function beat(): Promise<void> {
    try {
      const mark = await markProcess(kysely, processId);
      beatAt = performance.now();
      options.onOthers(mark.others);
      isRestored ||= mark.epoch !== epoch;
      isForgotten ||= !mark.wasKnown;
      ({ epoch } = mark);
      if (isRestored) await options.onEpoch(epoch);
      isRestored = false;
      if (isForgotten) await writeDownAgain();
      if (performance.now() > cleanAt) {
        cleanAt = performance.now() + CLEANING_MS;
        await deleteDeadProcesses(kysely);
      }
      await options.check();
    } catch (error) {
      log('the database could not be asked what has moved', error);
    }
  }

  const timer = setInterval(() => {
    beating ??= beat().finally(() => (beating = undefined));
  }, intervalMs);
  timer.unref();

  return {
    get epoch() {
      return epoch;
    },
    get ageSeconds() {
      return (performance.now() - beatAt) / 1_000;
    },
    get isLate() {
      return performance.now() - beatAt > MAX_MISSED * intervalMs;
    },
    async stop() {
      clearInterval(timer);
      await beating;
      await deleteProcess(kysely, processId).catch((error: unknown) =>
        log('this process could not be signed off', error),
      );
    },
  };
}
