// What comes of the inbox, handed to the app one after the other, and acked when the app is done with it.
// Invariant: each seq once and in order, from behind what was handled. What a broken connection leaves unhandled comes again
// with the next; a message that a listener failed at isn't acked, nor is what is behind it, and so comes again as well.

import type { Events, Welcome } from './contract.ts';
import type { Listeners } from './listeners.ts';

/** How far an inbox was handled, in the count of which epoch, and whom the token of then was for. */
export interface Place {
  seq: number;
  epoch: string;
  sub?: string | undefined;
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

    /** Something that takes the place `seq`, or, `skipping`, all up to it. False: something is missing before it. */
    take(name: keyof Events, event: unknown, seq: number, isSkip = false): boolean {
      if (seq <= cursor) {
        if (name === 'sent') put(name, event);
        return true;
      }
      if (!isSkip && seq !== cursor + 1) return false;
      cursor = seq;
      const isSilent = isSkip || (name !== 'sent' && answered.has(seq));
      if (name === 'sent') answered.add(seq);
      put(name, event, { seq, isSilent });
      return true;
    },

    /** Something that takes no place. */
    pass: (name: keyof Events, event: unknown): void => put(name, event),

    /** The connection is over: what waits comes again, but for what is answered to this client alone. */
    interrupt(): void {
      queue = queue
        .filter((item) => item.seq === undefined || item.name === 'sent')
        .map((item) => Object.assign(item, { seq: undefined }));
    },

    forget(): void {
      run += 1;
      place = undefined;
      cursor = 0;
      queue = [];
      answered.clear();
    },
  };
}
