// Pushes what devices have not been shown: takes inboxes that are due, looks at each device as it stands now, and sends.
// Invariants: an inbox is one worker's at a time, for as long as its lease; nothing is begun that the lease may not outlast;
// what was sent is written down before the inbox is given back. A worker that is killed leaves its inboxes to others when
// the lease is over.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Apps } from '../identity/apps.ts';
import { coalesce } from '../store/coalesced.ts';
import { bringUpToDate } from '../store/conversations.ts';
import type { Database } from '../store/database.ts';
import { leaseDue, returnDue, type DueInbox } from '../store/push_due.ts';
import { deleteOldPushes, storePushResults, type PushResult } from '../store/push_results.ts';
import { findPushStandings, findUncounted, type PushStanding } from '../store/push_standings.ts';
import { deleteOldTokens } from '../store/shared_tokens.ts';
import type { Meters } from './meters.ts';
import type { PushAccounts } from './push_accounts.ts';
import { createCircuits } from './push_circuits.ts';
import type { PushTiming } from './push_decision.ts';
import { createDevicePushing } from './push_device.ts';
import { TTL_MAX_SECONDS } from './push_text.ts';

export interface PushingOptions {
  database: Database;
  apps: Apps;
  accounts: PushAccounts;
  meters: Pick<Meters, 'pushed'>;
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
/** A provider has answered by then, or never will. */
const SEND_MAX_MS = 12_000;
const BATCH = 100;
const IN_FLIGHT_MAX = 600;
/** With more that isn't counted, conversations are brought up to date first. */
const UNCOUNTED_MAX = 500;
const CLEANING_MS = 3_600_000;
const STOP_MS = 2_000;
const KEPT_DAYS = TTL_MAX_SECONDS / 86_400;
const TOKENS_KEPT_SECONDS = 7_200;

const WRITES = { maxActs: 2, maxAsks: 200 };

export function createPushing(options: PushingOptions) {
  const { database, apps, accounts, meters, log, intervalMs = DEFAULT_INTERVAL_MS } = options;
  const { kysely, clock } = database;
  const timing = { ...DEFAULT_TIMING, ...options.timing };
  const circuits = createCircuits();
  const handleDevice = createDevicePushing({ database, accounts, circuits, meters, timing });
  const store = coalesce(async (all: readonly PushResult[][]) => {
    await storePushResults(kysely, all.flat());
    return all.map(() => undefined);
  }, WRITES);
  const giveBack = coalesce(async (all: readonly (DueInbox & { againMs: number | undefined })[]) => {
    await returnDue(kysely, all);
    return all.map(() => undefined);
  }, WRITES);
  const underWay = new Set<Promise<void>>();
  let inFlight = 0;
  let isStopped = false;
  let looking: Promise<void> | undefined;
  let mustLook = false;
  let soon: NodeJS.Timeout | undefined;

  async function take(): Promise<void> {
    while (mustLook && inFlight <= IN_FLIGHT_MAX - BATCH) {
      mustLook = false;
      const startMs = performance.now();
      const due = await leaseDue(kysely, BATCH, LEASE_MS);
      if (due.length === 0) return;
      mustLook = due.length === BATCH;
      inFlight += due.length;
      const handled = handleAll(due, () => performance.now() - startMs > LEASE_MS - SEND_MAX_MS)
        .catch((error: unknown) => log('inboxes could not be looked at for what is to be pushed', error))
        .finally(() => {
          inFlight -= due.length;
          underWay.delete(handled);
          if (mustLook) look();
        });
      underWay.add(handled);
    }
  }

  /** `isLate`: nothing is to be begun any more. */
  async function handleAll(due: readonly DueInbox[], isLate: () => boolean): Promise<void> {
    for (const inbox of await findUncounted(kysely, due, UNCOUNTED_MAX)) await bringUpToDate(kysely, inbox);
    const shownSince = new Date(clock.now().getTime() - timing.windowMs);
    const standings = await findPushStandings(kysely, due, shownSince);
    await Promise.all(
      due.map(async (inbox, i) => {
        try {
          await handle(inbox, standings[i], isLate);
        } catch (error) {
          // The lease ends by itself, and somebody looks again.
          log('an inbox could not be pushed', error);
        }
      }),
    );
  }

  async function handle(
    inbox: DueInbox,
    standing: PushStanding | undefined,
    isLate: () => boolean,
  ): Promise<void> {
    const app = standing && (await apps.find(inbox.appId));
    const again: Date[] = [];
    if (app) {
      if (isLate()) return;
      const handled = await Promise.all(
        standing.devices.map((device) => handleDevice(app, standing, device)),
      );
      const results = handled.map(({ result }) => result).filter((result) => result !== undefined);
      if (results.length > 0) await store(results);
      again.push(...handled.map((each) => each.again).filter((at) => at !== undefined));
      if (standing.hasMore) again.push(clock.now());
    }
    const nextMs = Math.min(...again.map((at) => at.getTime()));
    const againMs = again.length === 0 ? undefined : Math.max(0, nextMs - clock.now().getTime());
    await giveBack({ ...inbox, againMs });
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
    deleteOldPushes(kysely, KEPT_DAYS)
      .then(() => deleteOldTokens(kysely, TOKENS_KEPT_SECONDS))
      .catch((error: unknown) => log('old pushes could not be deleted', error));
  }, CLEANING_MS).unref();

  return {
    /** Something becomes due in a moment. */
    lookSoon(): void {
      soon ??= setTimeout(() => {
        soon = undefined;
        look();
      }, SOON_MS).unref();
    },

    /** Accounts that nothing is sent by for a while, as their provider is out of order. */
    countOpenCircuits: circuits.countOpen,

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
      accounts.close();
      await Promise.all(underWay);
    },
  };
}
