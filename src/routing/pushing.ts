// Pushes what devices have not been shown: takes inboxes that are due, looks at each device as it stands now, and sends.
// Invariants: an inbox is one worker's at a time, for as long as its lease; nothing is begun that the lease may not outlast;
// what was sent is written down before the inbox is given back. A worker that is killed leaves its inboxes to others when
// the lease is over.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Apps } from '../identity/apps.ts';
import { coalesce } from '../store/coalesced.ts';
import type { Database } from '../store/database.ts';
import { forgetUnreachable, leaseDue, returnDue, type DueInbox } from '../store/push_due.ts';
import { deleteOldFailures, storeNews, storePushResults, type PushResult } from '../store/push_results.ts';
import { findPushStandings, type PushStanding } from '../store/push_standings.ts';
import { deleteOldTokens } from '../store/shared_tokens.ts';
import { rerun } from '../store/transact.ts';
import type { Meters } from './meters.ts';
import { findOfflineNews } from './offline_news.ts';
import type { PushAccounts } from './push_accounts.ts';
import { createCircuits, UNDER_WAY_MAX, WAIT_MAX_MS } from './push_circuits.ts';
import type { PushTiming } from './push_decision.ts';
import { createDevicePushing } from './push_device.ts';
import { TTL_MAX_SECONDS } from './push_text.ts';

export type Pushing = ReturnType<typeof createPushing>;

export interface PushingOptions {
  database: Database;
  apps: Apps;
  accounts: PushAccounts;
  meters: Pick<Meters, 'pushed'>;
  /** Whether senders are waiting: then it takes its time. */
  isBusy: () => boolean;
  log: (message: string, error: unknown) => void;
  timing?: Partial<PushTiming> | undefined;
  /** How often it is looked what is due. */
  intervalMs?: number | undefined;
}

const DEFAULT_INTERVAL_MS = 500;
const DEFAULT_TIMING: PushTiming = { graceMs: 10_000, windowMs: 5_000 };
/** A little longer than it takes for something to become due. */
const SOON_MS = 120;
/** Whoever is killed delays what it had taken by as much. */
const LEASE_MS = 25_000;
/** It has been a push's turn, and its provider has answered by then, or never will. */
const SEND_MAX_MS = WAIT_MAX_MS + 12_000;
const BATCH = 200;
/** Inboxes: more than pushes under way, so that there is always room to look whether more can be sent. */
const IN_FLIGHT_MAX = UNDER_WAY_MAX + 2 * BATCH;
/** Batches that are read at a time: more would only make each of them take longer. */
const READING_MAX = 2;
/** While senders are waiting, or were a moment ago, batches are small, and so many times as long as one took nothing is taken. */
const BUSY_FOR_MS = 1_000;
const BUSY_BATCH = 25;
const BUSY_REST = 6;
const BUSY_REST_MAX_MS = 2_000;
const BUSY_WAIT_MS = 500;
const CLEANING_MS = 3_600_000;
const STOP_MS = 2_000;
const KEPT_DAYS = TTL_MAX_SECONDS / 86_400;
const TOKENS_KEPT_SECONDS = 7_200;

const WRITES = { maxActs: 2, maxAsks: 200 };

/** What came of an inbox. */
interface Settled {
  inbox: DueInbox;
  againMs: number | undefined;
  results: readonly PushResult[];
}

export function createPushing(options: PushingOptions) {
  const { database, apps, accounts, meters, isBusy, log, intervalMs = DEFAULT_INTERVAL_MS } = options;
  const { kysely, pool, clock } = database;
  // One connection for all that is read: on several at once it would take Postgres longer.
  const reads = database.openPipeline();
  const timing = { ...DEFAULT_TIMING, ...options.timing };
  const circuits = createCircuits();
  const handleDevice = createDevicePushing({ database, accounts, circuits, meters, timing, log });
  const settle = coalesce(async (all: readonly Settled[]) => {
    const results = all.flatMap((settled) => settled.results);
    const inboxes = all.map(({ inbox, againMs }) => ({ ...inbox, againMs }));
    await rerun(() => storePushResults(pool, results));
    await rerun(() => returnDue(pool, inboxes));
    return all.map(() => undefined);
  }, WRITES);
  const underWay = new Set<Promise<void>>();
  let inFlight = 0;
  let reading = 0;
  let isStopped = false;
  let looking: Promise<void> | undefined;
  let mustLook = false;
  let busyUntilMs = 0;
  let soon: NodeJS.Timeout | undefined;

  function hasRoom(): boolean {
    return !isStopped && reading < READING_MAX && inFlight <= IN_FLIGHT_MAX - BATCH;
  }

  /** Each inbox by itself: one that takes long holds up none of those that were taken with it. */
  function makeRoom(count: number): void {
    inFlight -= count;
    if (mustLook && hasRoom()) look();
  }

  /** Under load there are moments in which nobody waits. */
  function takesItsTime(): boolean {
    if (isBusy()) busyUntilMs = performance.now() + BUSY_FOR_MS;
    return performance.now() < busyUntilMs;
  }

  async function take(): Promise<void> {
    while (mustLook && hasRoom()) {
      mustLook = false;
      const startMs = performance.now();
      const most = takesItsTime() ? BUSY_BATCH : BATCH;
      const due = await leaseDue(reads, most, LEASE_MS);
      if (due.length === 0) return;
      mustLook = due.length > most / 2; // one that changes while it is taken is left for the next time
      inFlight += due.length;
      const isLate = (): boolean => performance.now() - startMs > LEASE_MS - SEND_MAX_MS;
      const handled = handleAll(due, isLate).finally(() => underWay.delete(handled));
      underWay.add(handled);
      if (!takesItsTime()) continue;
      // A provider that is slow to answer holds up no other.
      await Promise.race([handled, sleep(BUSY_WAIT_MS, undefined, { ref: false })]);
      await sleep(Math.min(BUSY_REST_MAX_MS, BUSY_REST * (performance.now() - startMs)), undefined, {
        ref: false,
      });
    }
  }

  /** None where they couldn't be read. */
  async function read(due: readonly DueInbox[]): Promise<readonly (PushStanding | undefined)[] | undefined> {
    reading += 1;
    try {
      return await findPushStandings(database, reads, due);
    } catch (error) {
      log('inboxes could not be looked at for what is to be pushed', error);
      return undefined;
    } finally {
      reading -= 1;
      if (mustLook) look();
    }
  }

  /** `isLate`: nothing is to be begun any more. */
  async function handleAll(due: readonly DueInbox[], isLate: () => boolean): Promise<void> {
    const standings = await read(due);
    if (!standings) return makeRoom(due.length); // the lease ends by itself, and somebody looks again
    await Promise.all(
      due.map(async (inbox, i) => {
        try {
          await handle(inbox, standings[i], isLate);
        } catch (error) {
          log('an inbox could not be pushed', error); // as above
        } finally {
          makeRoom(1);
        }
      }),
    );
  }

  async function handle(
    inbox: DueInbox,
    standing: PushStanding | undefined,
    isLate: () => boolean,
  ): Promise<void> {
    const { appId, id } = inbox;
    const app = standing && (apps.peek(appId) ?? (await apps.find(appId)));
    if (!app) return settle({ inbox, againMs: undefined, results: [] });
    if (isLate()) return undefined;
    if (standing.hasPush && standing.devices.length === 0) await forgetUnreachable(kysely, inbox);
    const handled = await Promise.all(standing.devices.map((device) => handleDevice(app, standing, device)));
    const offline = findOfflineNews(standing, timing, clock.now());
    const failures = handled.flatMap((each) => each.failures);
    if (failures.length > 0 || offline.toldSeq !== undefined)
      await storeNews(kysely, { appId, userId: id, failures, offline, standing }, clock.now());
    const nextMs = Math.min(offline.again?.getTime() ?? Infinity, ...handled.map(({ againMs }) => againMs));
    return settle({
      inbox,
      againMs: nextMs === Infinity ? undefined : Math.max(0, nextMs - clock.now().getTime()),
      results: handled.flatMap(({ result }) => result ?? []),
    });
  }

  function look(): void {
    if (isStopped) return;
    mustLook = true;
    looking ??= take()
      .catch((error: unknown) => log('it could not be looked what is to be pushed', error))
      .finally(() => (looking = undefined));
  }

  const timer = setInterval(look, intervalMs).unref();
  const cleaning = setInterval(() => {
    deleteOldFailures(kysely, KEPT_DAYS)
      .then(() => deleteOldTokens(kysely, TOKENS_KEPT_SECONDS))
      .catch((error: unknown) => log('old pushes could not be deleted', error));
  }, CLEANING_MS).unref();

  return {
    /** Accounts that nothing is sent by for now, by provider. */
    countOpenCircuits: circuits.countOpen,

    /** Something becomes due in a moment. */
    lookSoon(): void {
      soon ??= setTimeout(() => {
        soon = undefined;
        look();
      }, SOON_MS).unref();
    },

    /** Resolves when what was begun is done. */
    async stop(): Promise<void> {
      isStopped = true;
      mustLook = false;
      clearInterval(timer);
      clearInterval(cleaning);
      clearTimeout(soon);
      await looking;
      // A provider that doesn't answer is not waited for: what was begun is another worker's when the lease is over.
      await Promise.race([Promise.all(underWay), sleep(STOP_MS, undefined, { ref: false })]);
      circuits.stop(); // who is let in now would have providers made anew
      accounts.close();
      await Promise.all(underWay);
      await reads.close();
    },
  };
}
