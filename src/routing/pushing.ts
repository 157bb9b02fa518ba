// Pushes what devices have not been shown: takes inboxes that are due, looks at each device as it stands now, and sends.
// Invariants: an inbox is one worker's at a time, for as long as its lease; nothing is begun that the lease may not outlast;
// what was sent is written down before the inbox is given back. A worker that is killed leaves its inboxes to others when
// the lease is over.

import type { App, Apps } from '../identity/apps.ts';
import { unbindGone } from '../store/bindings.ts';
import { coalesce } from '../store/coalesced.ts';
import { bringUpToDate } from '../store/conversations.ts';
import type { Database } from '../store/database.ts';
import { leaseDue, returnDue, type DueInbox } from '../store/push_due.ts';
import { deleteOldPushes, storePushResults, type PushResult } from '../store/push_results.ts';
import {
  findPushStandings,
  findUncounted,
  type Pushable,
  type PushDevice,
  type PushStanding,
} from '../store/push_standings.ts';
import type { Meters } from './meters.ts';
import type { PushAccounts } from './push_accounts.ts';
import { createCircuits } from './push_circuits.ts';
import { decide, type PushTiming } from './push_decision.ts';
import { codeOf, takesSilent, type Notification, type Outcome } from './push_providers.ts';
import { compose, composeClearing, TTL_MAX_SECONDS, wordsOf } from './push_text.ts';
import { endOfQuietHours } from './quiet_hours.ts';

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
const MAX_ATTEMPTS = 10;
const FIRST_RETRY_MS = 2_000;
const MAX_RETRY_MS = 3_600_000;
const CLEANING_MS = 3_600_000;
const KEPT_DAYS = TTL_MAX_SECONDS / 86_400;

const WRITES = { maxActs: 2, maxAsks: 200 };

/** What is to be done with a device, and when to look again. */
interface Handled {
  result: PushResult;
  again: readonly Date[];
  isGone: boolean;
}

export function createPushing(options: PushingOptions) {
  const { database, apps, accounts, meters, log, intervalMs = DEFAULT_INTERVAL_MS } = options;
  const { kysely, clock } = database;
  const timing = { ...DEFAULT_TIMING, ...options.timing };
  const circuits = createCircuits();
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
    while (mustLook && !isStopped && inFlight <= IN_FLIGHT_MAX - BATCH) {
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
      const results = handled.filter(({ isGone }) => !isGone).map(({ result }) => result);
      if (results.length > 0) await store(results);
      again.push(...handled.flatMap((each) => each.again));
      if (standing.hasMore) again.push(clock.now());
    }
    const nextMs = Math.min(...again.map((at) => at.getTime()));
    const againMs = again.length === 0 ? undefined : Math.max(0, nextMs - clock.now().getTime());
    await giveBack({ ...inbox, againMs });
  }

  async function handleDevice(app: App, standing: PushStanding, device: PushDevice): Promise<Handled> {
    const now = clock.now();
    const { appId, id: identityId } = standing;
    const shown = standing.shown.filter(({ deviceId }) => deviceId === device.id);
    const byPeer = Map.groupBy(
      standing.messages.filter(({ seq }) => seq > Math.max(device.ackedSeq, device.pushedSeq)),
      ({ sender }) => sender?.id ?? 0,
    );
    const quietUntil = findQuietEnd(standing, now);
    const open: { seq: number; until: Date }[] = [];
    const sending: Promise<void>[] = [];
    const done = {
      shown: [] as Place[],
      hidden: [] as Place[],
      failures: [] as PushResult['failures'][number][],
    };
    let retryMs: number | undefined;
    let isGone = false;
    const wait = (seq: number, ms: number): void =>
      void open.push({ seq, until: new Date(now.getTime() + ms) });

    async function push(peerId: number, messages: readonly Pushable[]): Promise<void> {
      const [first, last] = [messages[0]!, messages.at(-1)!];
      const outcome = await send(app, device, compose(app, standing, device, messages));
      if ('waitMs' in outcome) wait(first.seq, outcome.waitMs);
      else if (outcome.kind === 'sent') done.shown.push({ peerId, seq: last.seq });
      else if (outcome.kind === 'gone') {
        isGone = true;
        await unbindGone(kysely, { appId, identityId, device }, outcome.since);
      } else if (outcome.kind === 'retry' && device.attempts + 1 < MAX_ATTEMPTS) {
        const backoffMs = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** device.attempts);
        retryMs = Math.max(retryMs ?? 0, outcome.afterMs ?? 0, backoffMs * (0.5 + Math.random() / 2));
        wait(first.seq, retryMs);
      } else {
        const reason = outcome.kind === 'retry' ? `given up: ${outcome.reason}` : outcome.reason;
        done.failures.push({ provider: device.provider, messageId: last.messageId, reason });
      }
    }

    for (const [peerId, messages] of byPeer) {
      const before = shown.find((each) => each.peerId === peerId);
      const fresh = messages.filter((message) => message.seq > (before?.seq ?? 0) && isWanted(message, now));
      const [first, last] = [fresh[0], fresh.at(-1)];
      if (!first || !last) continue;
      const decision = decide(
        {
          ...device,
          ...standing,
          pushWhen: app.pushWhen,
          notBefore: device.retryAt,
          quietUntil,
          shownAt: before?.at,
          first,
          last,
        },
        timing,
        now,
      );
      if (decision.do === 'wait') open.push({ seq: first.seq, until: decision.until });
      else if (decision.do === 'push') sending.push(push(peerId, fresh));
    }
    for (const place of shown) {
      if (!place.isOver || byPeer.has(place.peerId)) continue;
      done.hidden.push(place);
      // Whoever looks at it takes it away by itself. It is tried once: the next push says what is unread as well.
      if (!device.isForeground && takesSilent(device.provider))
        sending.push(send(app, device, composeClearing(standing, place)).then(() => {}));
    }
    await Promise.all(sending);
    return {
      isGone,
      again: isGone ? [] : open.map(({ until }) => until),
      result: {
        ...{ appId, identityId, deviceId: device.id, token: device.token },
        settledSeq: Math.min(standing.untilSeq, ...open.map(({ seq }) => seq - 1)),
        attempts:
          retryMs === undefined && sending.length > 0 ? 0 : device.attempts + (retryMs === undefined ? 0 : 1),
        retryAt: retryMs === undefined ? device.retryAt : new Date(now.getTime() + retryMs),
        ...done,
      },
    };
  }

  /** `waitMs`: nothing can be sent now. */
  async function send(
    app: App,
    device: PushDevice,
    notification: Notification,
  ): Promise<Outcome | { waitMs: number }> {
    const account = `${app.id} ${device.provider}`;
    const waitMs = circuits.enter(account);
    if (waitMs > 0) return { waitMs };
    let outcome: Outcome | undefined;
    try {
      const provider = await accounts.find(app.id, device.provider);
      outcome = provider
        ? await provider.send(notification, device)
        : { kind: 'failed', reason: 'credential: the app has none for this provider', isCredential: true };
    } finally {
      circuits.leave(account, outcome === undefined || isOutOfOrder(outcome));
    }
    meters.pushed(device.provider, outcome.kind, 'reason' in outcome ? codeOf(outcome.reason) : '');
    return outcome;
  }

  function look(): void {
    mustLook = true;
    if (isStopped) return;
    looking ??= take()
      .catch((error: unknown) => log('it could not be looked what is to be pushed', error))
      .finally(() => (looking = undefined));
  }

  const timer = setInterval(look, intervalMs).unref();
  const cleaning = setInterval(() => {
    deleteOldPushes(kysely, KEPT_DAYS).catch((error: unknown) =>
      log('old pushes could not be deleted', error),
    );
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
      clearInterval(timer);
      clearInterval(cleaning);
      clearTimeout(soon);
      await looking;
      await Promise.all(underWay);
      accounts.close();
    },
  };
}

type Place = PushResult['shown'][number];

function isWanted(message: Pushable, now: Date): boolean {
  return wordsOf(message) !== false && (message.mutedUntil ?? 0) <= now.getTime();
}

function findQuietEnd({ quietHours, pausedUntil }: PushStanding, now: Date): Date | undefined {
  const end = quietHours && endOfQuietHours(quietHours, now);
  return end && pausedUntil ? new Date(Math.max(end.getTime(), pausedUntil.getTime())) : (end ?? pausedUntil);
}

/** Whether it says that the next one will go no better; being throttled concerns a device alone, mostly. */
function isOutOfOrder(outcome: Outcome): boolean {
  if (outcome.kind === 'failed') return outcome.isCredential;
  return outcome.kind === 'retry' && codeOf(outcome.reason) !== 'throttled';
}
