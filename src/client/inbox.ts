// What comes of the inbox, handed to the app one after the other, and acked when the app is done with it.
// Invariant: each seq once and in order, from behind what was handled. What a broken connection leaves unhandled comes again
// with the next; a message that a listener failed at isn't acked, nor is what is behind it, and so comes again as well.

import type { Events, Welcome } from './contract.ts';
import type { Listeners } from './listeners.ts';
import { readJson } from './shelf.ts';

/** How far an inbox was handled, in the count of which epoch, and whom the token of then was for. */
export interface Place {
  seq: number;
  epoch: string;
  sub?: string | undefined;
}

/** Undefined: it is none, and would be refused. */
export function readPlace(text: string | undefined): Place | undefined {
  const place = (readJson(text) ?? {}) as Partial<Place>;
  return Number.isSafeInteger(place.seq) && place.seq! >= 0 && typeof place.epoch === 'string'
    ? (place as Place)
    : undefined;
}

interface Item {
  name: keyof Events;
  event: unknown;
  /** Handled up to here when it is done; undefined: it takes no place. */
  seq: number | undefined;
  run: number;
  /** There is nothing to hand over. */
  isSilent: boolean;
  /** Of a reset: where it goes on from, once the app has dropped what it had. */
  place?: Place;
}

export interface InboxOptions {
  hand: Listeners['hand'];
  /** More was handled. */
  onHandled: () => void;
}

/** What waits for a slow listener; the rest waits at the service. */
const QUEUE_MAX = 5_000;

export type Inbox = ReturnType<typeof createInbox>;

export function createInbox({ hand, onHandled }: InboxOptions) {
  /** Counts the inboxes: a number of an earlier one means nothing in the next. */
  let run = 0;
  let place: Place | undefined;
  let placeRun = 0;
  /** The last that came on this connection. */
  let cursor = 0;
  /** A listener failed there: nothing behind it is handled on this connection. */
  let failedAt: number | undefined;
  let queue: Item[] = [];
  let isWorking = false;
  /** More came than the app takes in: it is to be done with that before more comes. */
  let full: PromiseWithResolvers<void> | undefined;
  /** Own messages that were answered, and may be shown as messages by the next connection. */
  const answered = new Set<number>();

  function put(name: keyof Events, event: unknown, more: Partial<Item> = {}): void {
    queue.push({ name, event, seq: undefined, run, isSilent: false, ...more });
    if (!isWorking) void work();
  }

  function go(to: Place): void {
    place = to;
    placeRun = run;
  }

  const isOver = (ofRun: number, seq: number | undefined): boolean =>
    seq !== undefined && (ofRun !== run || seq <= (place?.seq ?? 0));

  function settle(seq: number, isDone: boolean): void {
    if (!isDone) failedAt ??= seq;
    else if (failedAt === undefined || failedAt === seq) {
      failedAt = undefined;
      place!.seq = seq;
      answered.delete(seq);
    }
  }

  async function work(): Promise<void> {
    isWorking = true;
    for (let item = queue.shift(); item; item = queue.shift()) {
      const { name, event, seq, run: ofRun } = item;
      if (isOver(ofRun, seq)) continue;
      const done = item.isSilent || hand(name, event as never);
      const isDone = typeof done === 'boolean' ? done : await done;
      if (item.place && ofRun === run) go(item.place);
      else if (seq !== undefined && !isOver(ofRun, seq)) settle(seq, isDone);
      onHandled();
    }
    isWorking = false;
    full?.resolve();
    full = undefined;
  }

  return {
    get place(): Place | undefined {
      return place;
    },
    /** What may be acked: no further than this connection has shown. */
    get acked(): number {
      return place && placeRun === run ? Math.min(place.seq, cursor) : 0;
    },

    /** What is known from before. */
    restore(kept: Place | undefined): void {
      if (kept && !place) go(kept);
    },

    /** A connection begins, behind `after` if that is given. */
    begin({ epoch, me, resumed, acked }: Welcome, after: number | undefined, sub: string | undefined): void {
      const isAnother = (place !== undefined || after !== undefined) && !resumed;
      failedAt = undefined;
      if (isAnother) {
        run += 1;
        answered.clear();
        queue = queue.filter((item) => item.seq === undefined);
        cursor = 0;
        put('reset', { epoch, me }, { place: { seq: 0, epoch, sub } });
      } else {
        cursor = after ?? acked;
        // More may have been handled since it was said what to resume behind.
        go({ seq: Math.max(place?.seq ?? 0, cursor), epoch, sub });
      }
    },

    /** Something that takes the place `seq`, or, of a skip, all up to it. Gives back why the connection can't go on. */
    take(name: keyof Events, event: unknown, seq: number, isSkip = false): string | undefined {
      if (seq <= cursor) {
        if (name === 'sent') put(name, event);
        return undefined;
      }
      if (!isSkip && seq !== cursor + 1) return 'a seq is missing';
      cursor = seq;
      const isSilent = isSkip || (name !== 'sent' && answered.has(seq));
      if (name === 'sent') answered.add(seq);
      put(name, event, { seq, isSilent });
      if (queue.length <= QUEUE_MAX) return undefined;
      full ??= Promise.withResolvers();
      return 'more comes than the app takes in';
    },

    /** Something that takes no place. */
    pass: (name: keyof Events, event: unknown): void => put(name, event),

    /** The connection is over: what waits comes again, but for what is answered to this client alone. */
    interrupt(): void {
      if (full) return;
      queue = queue
        .filter((item) => item.seq === undefined || item.name === 'sent')
        .map((item) => Object.assign(item, { seq: undefined }));
    },

    /** There is room for more. */
    hasRoom: async (): Promise<void> => full?.promise,

    forget(): void {
      run += 1;
      place = undefined;
      cursor = 0;
      queue = queue.filter(({ name }) => name === 'failed');
      answered.clear();
    },
  };
}
