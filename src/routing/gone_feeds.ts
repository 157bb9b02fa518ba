// Asks the providers that tell of dead tokens on a feed only, and unbinds what they tell. Invariant: a feed is one process's at
// a time; a poll that fails, or ends with its process, is done again when its lease is over.

import { unbindGone } from '../store/bindings.ts';
import type { Database } from '../store/database.ts';
import { leasePolls, markPolled, type DuePoll } from '../store/push_credentials.ts';
import type { PushAccounts } from './push_accounts.ts';
import { feedProviderNames } from './push_providers.ts';

export interface GoneFeedsOptions {
  database: Database;
  accounts: PushAccounts;
  log: (message: string, error?: unknown, more?: object) => void;
  /** How often it is looked which feeds are due. */
  intervalMs?: number | undefined;
}

const DEFAULT_INTERVAL_MS = 60_000;
const POLL_EVERY_MS = 3_600_000;
/** Longer than a feed takes; one that failed is asked again after as much. */
const LEASE_MS = 600_000;
const AT_ONCE = 10;

export function pollGoneFeeds({
  database: { kysely },
  accounts,
  log,
  intervalMs = DEFAULT_INTERVAL_MS,
}: GoneFeedsOptions): { stop(): Promise<void> } {
  let isStopped = false;
  let polling: Promise<void> | undefined;

  async function pollDue(): Promise<void> {
    let due: DuePoll[];
    do {
      if (isStopped) return;
      due = await leasePolls(kysely, feedProviderNames, AT_ONCE, LEASE_MS);
      await Promise.all(due.map(poll));
    } while (due.length === AT_ONCE);
  }

  async function poll(due: DuePoll): Promise<void> {
    const { appId, provider: name, at } = due;
    const say = (error: unknown): void => {
      if (!isStopped) log('a feed of dead push tokens could not be read', error, { appId, provider: name });
    };
    try {
      const { provider } = (await accounts.find(appId, name)) ?? {};
      if (!provider?.pollGone) return;
      const { tokens, reason } = await provider.pollGone();
      if (tokens.length > 0) await unbindGone(kysely, { appId, provider: name, tokens }, at);
      if (reason === undefined) await markPolled(kysely, due, POLL_EVERY_MS);
      else say(new Error(reason));
    } catch (error) {
      say(error);
    }
  }

  const timer = setInterval(() => {
    polling ??= pollDue()
      .catch((error: unknown) => log('it could not be looked which feeds of dead push tokens are due', error))
      .finally(() => (polling = undefined));
  }, intervalMs);
  timer.unref();

  return {
    /** Resolves when what was begun is done, as it soon is once the providers are closed. */
    async stop() {
      isStopped = true;
      clearInterval(timer);
      await polling;
    },
  };
}
