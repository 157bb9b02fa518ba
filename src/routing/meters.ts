// What the messaging core counts, as Prometheus scrapes it. What happens with every message is counted in plain numbers,
// which are read when it is scraped.
// Invariant: no label has values that users choose.

import { Counter, Histogram, type Registry } from 'prom-client';
import { closeCodes, errorCodes, type ErrorCode } from '../errors.ts';
import type { Uses } from '../store/fresh.ts';
import { pushProviderNames } from './push_providers.ts';
import { webhookEventTypes } from '../store/webhook_events.ts';

export type Meters = ReturnType<typeof createMeters>;

/** How a send comes in. */
export type Way = 'socket' | 'rest';
/** Who ended a connection: the service with a code of its own, the client, or the WebSocket layer at a bad frame. */
export type Closer = 'service' | 'client' | 'websocket';
/** Why units that were to be stored together were not. */
export type Apart = 'moved' | 'repeat' | 'locked' | 'fault';

/** Close codes of RFC 6455 that come from outside; a client may choose others, which are counted as one. */
const OUTSIDE_CODES = new Set([1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011]);

/** What can become of an event for a webhook. */
const EVENT_OUTCOMES = ['delivered', 'expired', 'surplus', 'disabled'] as const;
/** The codes that reasons of a webhook begin with. */
const EVENT_FAILURES = 'credential gone refused throttled too_large unavailable unreachable'.split(' ');

export function createMeters(registry: Registry) {
  const registers = [registry];
  const flushSize = new Histogram({
    name: 'imid_flush_units',
    help: 'Sends that were stored together.',
    // Up to what one flush takes: how well the load is batched shows between 1 and 100.
    buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000],
    registers,
  });
  const flushSeconds = new Histogram({
    name: 'imid_flush_seconds',
    help: 'How long it took to store them, to the commit.',
    // From a commit on a fast disk to the statement timeout of 30 seconds.
    buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30],
    registers,
  });
  const flushesApart = new Counter({
    name: 'imid_flushes_apart_total',
    help: 'Batches that had to be taken apart: a user had moved, a send was repeated, an inbox was locked, or one of them is at fault.',
    labelNames: ['reason'],
    registers,
  });
  const flushFailures = new Counter({
    name: 'imid_flush_failures_total',
    help: 'Times that sends, one or many together, could not be stored; their senders were told unavailable.',
    registers,
  });
  const resumes = new Counter({
    name: 'imid_resumes_total',
    help: 'Connections that were welcomed, by what they go on from.',
    labelNames: ['outcome'],
    registers,
  });
  const pushes = new Counter({
    name: 'imid_pushes_total',
    help: 'What providers of push have answered, by the code that a reason begins with.',
    labelNames: ['provider', 'outcome', 'reason'],
    registers,
  });
  const errors = new Counter({
    name: 'imid_frame_errors_total',
    help: 'Errors that clients were told on the socket, by code.',
    labelNames: ['code'],
    registers,
  });
  const ringsSent = new Counter({
    name: 'imid_rings_sent_total',
    help: 'Rings to other processes, by what they tell of.',
    labelNames: ['kind'],
    registers,
  });
  const ringsHeard = new Counter({
    name: 'imid_rings_heard_total',
    help: 'Rings of other processes, by what they tell of.',
    labelNames: ['kind'],
    registers,
  });
  const bellLag = new Histogram({
    name: 'imid_bell_lag_seconds',
    help: 'From what a ring tells of until it is heard.',
    // Beyond a second the position check is as fast as the bell.
    buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1],
    registers,
  });
  const closes = new Counter({
    name: 'imid_closes_total',
    help: 'Connections that ended, by close code and by who ended them.',
    labelNames: ['code', 'who'],
    registers,
  });

  const events = new Counter({
    name: 'imid_webhook_events_total',
    help: 'Events for webhooks, by what became of them.',
    labelNames: ['type', 'outcome'],
    registers,
  });
  const eventFailures = new Counter({
    name: 'imid_webhook_failures_total',
    help: 'Times that a webhook did not take an event, by why.',
    labelNames: ['type', 'reason'],
    registers,
  });

  // From the start, so that the first of each is a growth as well.
  for (const provider of pushProviderNames) pushes.inc({ provider, outcome: 'sent', reason: '' }, 0);
  for (const outcome of ['resumed', 'new', 'over']) resumes.inc({ outcome }, 0);
  for (const reason of ['moved', 'repeat', 'locked', 'fault']) flushesApart.inc({ reason }, 0);
  for (const code of Object.keys(errorCodes)) errors.inc({ code }, 0);
  for (const { code } of Object.values(closeCodes)) closes.inc({ code, who: 'service' }, 0);

  for (const type of webhookEventTypes) {
    for (const outcome of EVENT_OUTCOMES) events.inc({ type, outcome }, 0);
    for (const reason of EVENT_FAILURES) eventFailures.inc({ type, reason }, 0);
  }

  const sends: Record<Way, number> = { socket: 0, rest: 0 };
  let stored = 0;
  let delivered = 0;
  countAtScrape(registry, 'imid_sends_total', 'Sends that came in, a list as one.', ['by'], function* () {
    for (const [by, count] of Object.entries(sends)) yield [{ by }, count];
  });
  countAtScrape(registry, 'imid_messages_stored_total', 'Messages that were stored.', [], () => [
    [{}, stored],
  ]);
  countAtScrape(registry, 'imid_deliveries_total', 'Messages that were shown to connections.', [], () => [
    [{}, delivered],
  ]);

  return {
    /** How often a send was one that is remembered. */
    remembered: { hits: 0, misses: 0 } satisfies Uses,
    sent: (by: Way): void => void (sends[by] += 1),
    stored: (messages: number): void => void (stored += messages),
    delivered: (): void => void (delivered += 1),
    flushed(units: number, seconds: number): void {
      flushSize.observe(units);
      flushSeconds.observe(seconds);
    },
    tookApart: (reason: Apart): void => flushesApart.inc({ reason }),
    flushFailed: (): void => flushFailures.inc(),
    /** A connection was welcomed: its device resumed, is new, or has to start over. */
    welcomed: (outcome: 'resumed' | 'new' | 'over'): void => resumes.inc({ outcome }),
    failed: (code: ErrorCode): void => errors.inc({ code }),
    pushed: (provider: string, outcome: string, reason: string): void =>
      pushes.inc({ provider, outcome, reason }),
    rang: (kind: string): void => ringsSent.inc({ kind }),
    /** A ring was heard, so many seconds after what it tells of. */
    heard(kind: string, seconds: number): void {
      ringsHeard.inc({ kind });
      bellLag.observe(Math.max(seconds, 0));
    },
    /** A webhook was told of an event, or never will be. */
    told: (type: string, outcome: (typeof EVENT_OUTCOMES)[number]): void => events.inc({ type, outcome }),
    /** `reason`: a code, and words. */
    tellingFailed: (type: string, reason: string): void =>
      eventFailures.inc({ type, reason: reason.split(':')[0]! }),
    closed: (code: number, who: Closer): void =>
      closes.inc({ code: who === 'service' || OUTSIDE_CODES.has(code) ? code : 'other', who }),
  };
}

/** A counter of what is counted elsewhere, in numbers that only grow. */
export function countAtScrape(
  registry: Registry,
  name: string,
  help: string,
  labelNames: readonly string[],
  read: () => Iterable<[labels: Record<string, string>, count: number]>,
): void {
  const counter = new Counter({
    name,
    help,
    labelNames,
    registers: [registry],
    collect() {
      counter.reset();
      for (const [labels, count] of read()) counter.inc(labels, count);
    },
  });
}
