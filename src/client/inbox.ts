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
  /** The last that came on this connection. */
  let cursor = 0;
  /** A listener failed: nothing more is handled on this connection. */
  let isHeld = false;
  let queue: Item[] = [];
  let isWorking = false;
  /** Own messages that were answered, and may be shown as messages by the next connection. */
  const answered = new Set<number>();

  function put(name: keyof Events, event: unknown, seq?: number, isSilent = false): void {
    queue.push({ name, event, seq, run, isSilent });
    if (!isWorking) void work();
  }

  async function work(): Promise<void> {
    isWorking = true;
    for (let item = queue.shift(); item; item = queue.shift()) {
      const { name, event, seq, run: ofRun } = item;
      const isOver = (): boolean => ofRun !== run || (place !== undefined && seq! <= place.seq);
      if (seq === undefined) {
        const done = hand(name, event as never);
        if (typeof done !== 'boolean') await done;
      } else if (!isOver()) {
        const done = item.isSilent || hand(name, event as never);
        const isDone = typeof done === 'boolean' ? done : await done;
        if (ofRun !== run) continue;
        answered.delete(seq);
        if (!isDone) isHeld = true;
        else if (!isHeld && !isOver()) place!.seq = seq;
      }
      if (seq !== undefined) onHandled();
    }
    isWorking = false;
  }

  return {
    get place(): Place | undefined {
      return place;
    },
    set place(kept: Place | undefined) {
      place = kept;
    },
    /** What may be acked: no further than this connection has shown. */
    get acked(): number {
      return Math.min(place?.seq ?? 0, cursor);
    },

    /** A connection begins, behind `after` if that is given. */
    begin({ epoch, me, resumed, acked }: Welcome, after: number | undefined, sub: string | undefined): void {
      const isAnother = (place !== undefined || after !== undefined) && !resumed;
      isHeld = false;
      if (isAnother) {
        run += 1;
        answered.clear();
        queue = queue.filter((item) => item.seq === undefined);
        put('reset', { epoch, me });
      }
      cursor = isAnother ? 0 : (after ?? acked);
      // More may have been handled since it was said what to resume behind.
      place = { seq: isAnother ? 0 : Math.max(place?.seq ?? 0, cursor), epoch, sub };
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
      put(name, event, seq, isSilent);
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
