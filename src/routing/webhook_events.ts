// Tells the backends of apps what happened. Invariants: an event is one worker's at a time, for as long as its lease; so many of an
// app are under way at once, so that an app that doesn't answer holds up no other. Events come at least once, in no order.

import type { AppId } from '../ids.ts';
import type { App, Apps } from '../identity/apps.ts';
import type { Database } from '../store/database.ts';
import {
  deleteOldEvents,
  deleteSurplusEvents,
  leaseEvents,
  returnEvent,
  type WebhookEvent,
} from '../store/webhook_events.ts';
import type { Meters } from './meters.ts';
import { writeEvent } from './webhook_body.ts';
import type { UsableWebhook, Webhooks } from './webhooks.ts';

export interface EventTellingOptions {
  database: Database;
  apps: Apps;
  webhooks: Webhooks;
  meters: Meters;
  maxPerApp: number;
  log: (message: string, error?: unknown, more?: object) => void;
  /** How often it is looked what is to be told. */
  intervalMs?: number | undefined;
  /** The longest that an event waits for its second try; four times as long for each one more. */
  retryMs?: number | undefined;
}

const DEFAULT_INTERVAL_MS = 1_000;
/** How often it is looked what is too old, or too much. */
const TRIM_MS = 10_000;
/** Longer than a request may take; whoever is killed delays its events by as much. */
const LEASE_MS = 25_000;
const PER_APP = 20;
const AT_ONCE = 1_000;
const DEFAULT_RETRY_MS = 5_000;
const MAX_RETRY_MS = 8 * 3_600_000;
const MAX_AGE_MS = 3 * 86_400_000;

export function tellEvents({
  database: { kysely, clock },
  apps,
  webhooks,
  meters,
  maxPerApp,
  log,
  intervalMs = DEFAULT_INTERVAL_MS,
  retryMs = DEFAULT_RETRY_MS,
}: EventTellingOptions) {
  /** What is under way, by app. */
  const telling = new Map<AppId, { count: number; told: Promise<void> }>();
  let isStopped = false;
  let looking: Promise<void> | undefined;
  let mustLook = false;
  let trimming: Promise<void> | undefined;

  async function lookOften(): Promise<void> {
    do {
      mustLook = false;
      const underWay = [...telling.values()].reduce((sum, { count }) => sum + count, 0);
      const events = await leaseEvents(kysely, {
        leaseMs: LEASE_MS,
        perApp: PER_APP,
        limit: AT_ONCE - underWay,
        except: [...telling.keys()],
      });
      for (const [appId, ofApp] of Map.groupBy(events, (event) => event.appId)) {
        const told = tellAll(appId, ofApp)
          .catch((error: unknown) => log('events could not be told', error, { appId }))
          .finally(() => {
            telling.delete(appId);
            if (ofApp.length === PER_APP) look();
          });
        telling.set(appId, { count: ofApp.length, told });
      }
    } while (mustLook);
  }

  /** What fails here is taken again when its lease is over. */
  async function tellAll(appId: AppId, events: readonly WebhookEvent[]): Promise<void> {
    const [app, webhook] = await Promise.all([apps.find(appId), webhooks.find(appId)]);
    if (!app || !webhook || isStopped) return;
    const all = await Promise.allSettled(events.map((event) => tell(app, webhook, event)));
    for (const each of all) if (each.status === 'rejected') throw each.reason;
  }

  async function tell(app: App, { post, changedAt }: UsableWebhook, event: WebhookEvent): Promise<void> {
    const outcome = await post(event.id, () => writeEvent(app, event));
    if (outcome.kind === 'sent') {
      meters.told(event.type, 'delivered');
      await returnEvent(kysely, event);
    } else if (isStopped) {
      // It may have come; if so, it comes again.
      await returnEvent(kysely, event, clock.now());
    } else if (outcome.kind === 'gone') {
      meters.tellingFailed(event.type, 'gone');
      for (const type of await webhooks.disable(app.id, changedAt)) meters.told(type, 'disabled');
    } else {
      meters.tellingFailed(event.type, outcome.reason);
      const waitMs = Math.min(MAX_RETRY_MS, retryMs * 4 ** (event.attempts - 1)) * Math.random();
      const afterMs = 'afterMs' in outcome ? (outcome.afterMs ?? 0) : 0;
      await returnEvent(kysely, event, new Date(clock.now().getTime() + Math.max(waitMs, afterMs)));
    }
  }

  function look(): void {
    if (isStopped) return;
    mustLook = true;
    looking ??= lookOften()
      .catch((error: unknown) => log('it could not be looked which events are to be told', error))
      .finally(() => (looking = undefined));
  }

  async function trim(): Promise<void> {
    const old = await deleteOldEvents(kysely, new Date(clock.now().getTime() - MAX_AGE_MS));
    for (const type of old) meters.told(type, 'expired');
    for (const type of await deleteSurplusEvents(kysely, maxPerApp)) meters.told(type, 'surplus');
  }

  const timers = [
    setInterval(look, intervalMs),
    setInterval(() => {
      trimming ??= trim()
        .catch((error: unknown) => log('old events could not be deleted', error))
        .finally(() => (trimming = undefined));
    }, TRIM_MS),
  ];
  for (const timer of timers) timer.unref();

  return {
    /** Something has happened. */
    look,

    /** Breaks off what is under way, for others to do again; resolves when nothing is. */
    async stop(): Promise<void> {
      isStopped = true;
      mustLook = false;
      timers.forEach(clearInterval);
      await Promise.all([looking, trimming]);
      webhooks.close();
      await Promise.all([...telling.values()].map(({ told }) => told));
    },
  };
}
