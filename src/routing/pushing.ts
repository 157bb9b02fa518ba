// Pushes what devices have not been shown: takes inboxes that are due, looks at each device as it stands now, and sends.
// Invariants: an inbox is one worker's at a time, for as long as its lease; what was sent is written down before the next is
// looked at. A worker that is killed leaves its inboxes to others when the lease is over.

import { setTimeout as sleep } from 'node:timers/promises';
import type { AppId } from '../ids.ts';
import type { Apps } from '../identity/apps.ts';
import { findBlocks, isWithheld } from '../store/blocks.ts';
import { unbindGone } from '../store/bindings.ts';
import { bringUpToDate, countUnread } from '../store/conversations.ts';
import type { Database } from '../store/database.ts';
import {
  findPushable,
  findPushDevices,
  insertPushFailure,
  leaseDue,
  markPushed,
  markRetry,
  returnDue,
  type DueInbox,
  type Pushable,
  type PushDevice,
} from '../store/push_due.ts';
import type { PushAccounts } from './push_accounts.ts';
import { decide } from './push_decision.ts';
import type { Outcome } from './push_providers.ts';

export interface PushingOptions {
  database: Database;
  apps: Apps;
  accounts: PushAccounts;
  log: (message: string, error: unknown) => void;
  /** How often it is looked what is due. */
  intervalMs?: number | undefined;
}

const DEFAULT_INTERVAL_MS = 500;
/** A little longer than it takes for something to become due. */
const SOON_MS = 120;
/** Longer than all pushes of an inbox take; whoever is killed delays them by as much. */
const LEASE_MS = 25_000;
const AT_ONCE = 50;
const MESSAGES_MAX = 100;
const TTL_SECONDS = 28 * 86_400;
const MAX_ATTEMPTS = 8;
const FIRST_RETRY_MS = 2_000;
const MAX_RETRY_MS = 3_600_000;

export function createPushing({
  database,
  apps,
  accounts,
  log,
  intervalMs = DEFAULT_INTERVAL_MS,
}: PushingOptions) {
  const { kysely, clock } = database;
  let isStopped = false;
  let working: Promise<void> | undefined;
  let mustLook = false;
  let soon: NodeJS.Timeout | undefined;

  async function work(): Promise<void> {
    do {
      mustLook = false;
      const due = await leaseDue(kysely, AT_ONCE, LEASE_MS);
      await Promise.all(due.map(handle));
      if (due.length === AT_ONCE && !isStopped) mustLook = true;
    } while (mustLook);
  }

  async function handle(inbox: DueInbox): Promise<void> {
    try {
      await returnDue(kysely, inbox, await pushAll(inbox));
    } catch (error) {
      // The lease ends by itself, and somebody looks again.
      log('an inbox could not be pushed', error);
    }
  }

  /** Pushes to each device what it is to get; gives back when to look again. */
  async function pushAll({ appId, id }: DueInbox): Promise<Date | undefined> {
    const app = await apps.find(appId);
    if (!app) return undefined;
    const { devices, ...others } = await findPushDevices(kysely, appId, id);
    if (devices.length === 0) return undefined;
    const behind = (device: PushDevice): number => Math.max(device.ackedSeq, device.pushedSeq);
    const blocks = await findBlocks(kysely, appId, id);
    const messages = (
      await findPushable(kysely, appId, id, Math.min(...devices.map(behind)), MESSAGES_MAX)
    ).filter((message) => !isWithheld(blocks, message));
    const again = await Promise.all(
      devices.map(async (device) => {
        const decision = decide(
          { ...device, ...others, behindSeq: behind(device), pushWhen: app.pushWhen, messages },
          clock.now(),
        );
        if (decision.do === 'nothing') return undefined;
        if (decision.do === 'wait') return decision.until;
        if (decision.do === 'drop') {
          await markPushed(kysely, { appId, identityId: id, device }, decision.seq);
          return undefined;
        }
        return push(
          appId,
          id,
          device,
          messages.filter(({ seq }) => seq > behind(device)),
        );
      }),
    );
    return again.filter((at) => at !== undefined).toSorted((a, b) => a.getTime() - b.getTime())[0];
  }

  async function push(
    appId: AppId,
    identityId: number,
    device: PushDevice,
    messages: readonly Pushable[],
  ): Promise<Date | undefined> {
    const pushed = { appId, identityId, device };
    const last = messages.at(-1)!;
    const provider = await accounts.find(appId, device.provider);
    const outcome: Outcome = provider
      ? await provider.send(await compose(appId, identityId, messages), device)
      : { kind: 'failed', reason: 'credential: the app has none for this provider', isCredential: true };
    const give = async (reason: string): Promise<void> => {
      await insertPushFailure(kysely, pushed, {
        provider: device.provider,
        messageId: last.messageId,
        reason,
      });
      await markPushed(kysely, pushed, last.seq);
    };
    if (outcome.kind === 'sent') await markPushed(kysely, pushed, last.seq);
    else if (outcome.kind === 'gone') await unbindGone(kysely, pushed, outcome.since);
    else if (outcome.kind === 'failed') await give(outcome.reason);
    else if (device.attempts + 1 >= MAX_ATTEMPTS) await give(`given up: ${outcome.reason}`);
    else {
      const backoffMs =
        Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** device.attempts) * (0.5 + Math.random() / 2);
      const at = new Date(clock.now().getTime() + Math.max(backoffMs, outcome.afterMs ?? 0));
      await markRetry(kysely, pushed, at);
      return at;
    }
    return undefined;
  }

  /** One for all that the device has not been shown: the newest text, and how much is unread. */
  async function compose(appId: AppId, id: number, messages: readonly Pushable[]) {
    const last = messages.at(-1)!;
    const text = last.push === undefined ? {} : (JSON.parse(last.push) as { title?: string; body?: string });
    await bringUpToDate(kysely, { appId, id });
    return {
      id: last.messageId,
      title: text.title,
      body: text.body ?? (text.title === undefined ? 'New message' : undefined),
      data: { messageId: last.messageId, seq: String(last.seq), count: String(messages.length) },
      badge: await countUnread(kysely, { appId, id }),
      ...(last.senderId !== undefined && { collapseId: `from-${last.senderId}` }),
      ttlSeconds: TTL_SECONDS,
      priority: 'high' as const,
      isSilent: false,
    };
  }

  function look(): void {
    if (isStopped) return;
    mustLook = true;
    working ??= work()
      .catch((error: unknown) => log('it could not be looked what is to be pushed', error))
      .finally(() => (working = undefined));
  }

  const timer = setInterval(look, intervalMs);
  timer.unref();

  return {
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
      clearTimeout(soon);
      await Promise.race([working, sleep(LEASE_MS, undefined, { ref: false })]);
      accounts.close();
    },
  };
}
