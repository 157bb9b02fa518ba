// What a connection is shown of its inbox.
// Invariant: every seq behind the start once, in order, whether it was announced right after its commit or is read from the
// inbox. What can't be shown right now is left there and read later, so that a slow reader costs no memory.

import type { InboxEntry } from '../store/messages.ts';
import type { FreshEntry } from './batch.ts';
import { MAX_BUFFERED_BYTES, type Peer } from './peer.ts';

export interface DeliveryOptions {
  peer: Peer;
  /** The inbox from behind a seq, in order. */
  read: (after: number, limit: number) => Promise<InboxEntry[]>;
  show: (entry: FreshEntry) => void;
  /** There is nothing between what was shown and `seq`: it expired. */
  skip: (seq: number) => void;
  /** The reader has taken nothing for too long. */
  onStalled: () => void;
  onError: (error: unknown) => void;
}

const PAGE = 200;
/** What is written at a time while catching up, so that it shows whether the network takes any of it. */
const CATCH_UP_BYTES = 256 * 1024;

export class Delivery {
  readonly #options: DeliveryOptions;
  /** Counts the inboxes that were shown: a connection goes on with another one when its user is merged. */
  #run = 0;
  /** The last seq that was shown. */
  #cursor = 0;
  /** How far an inbox before was shown. */
  #formerCursor = 0;
  /** The inbox may reach up to here, and is known to have reached up to there. */
  #target = 0;
  #known = 0;
  #isLive = false;
  #isReading = false;
  /** Something was told while the inbox was being read. */
  #hasNews = false;

  constructor(options: DeliveryOptions) {
    this.#options = options;
  }

  get run(): number {
    return this.#run;
  }

  get cursor(): number {
    return this.#cursor;
  }

  /** Whether a seq was shown, of this inbox or of one before. */
  hasShown(seq: number): boolean {
    return seq <= this.#cursor || seq <= this.#formerCursor;
  }

  /** Begins behind `cursor`; the inbox reaches up to `lastSeq` or further. */
  begin(cursor: number, lastSeq: number): void {
    this.#cursor = cursor;
    this.#isLive = true;
    this.reach(lastSeq);
  }

  /** Goes over to another inbox, of which nothing is shown until it begins. */
  changeInbox(): void {
    this.#run += 1;
    this.#formerCursor = Math.max(this.#formerCursor, this.#cursor);
    this.#isLive = false;
    this.#cursor = 0;
    this.#target = 0;
    this.#known = 0;
  }

  end(): void {
    this.#isLive = false;
  }

  /** A message that has just been committed to the inbox. */
  offer(entry: FreshEntry): void {
    const isNext = entry.seq === this.#cursor + 1;
    if (isNext && this.#isLive && !this.#isReading && this.#options.peer.buffered <= MAX_BUFFERED_BYTES) {
      this.#target = Math.max(this.#target, entry.seq);
      this.#show(entry);
    } else this.reach(entry.seq);
  }

  /** The inbox reaches up to `seq`: makes good whatever was not offered here. */
  reach(seq: number): void {
    this.#known = Math.max(this.#known, seq);
    this.#aim(seq);
  }

  #aim(seq: number): void {
    this.#target = Math.max(this.#target, seq);
    this.#hasNews = true;
    if (this.#isReading || !this.#isLive || this.#cursor >= this.#target) return;
    this.#isReading = true;
    void this.#readOn().then(
      (isLevel) => {
        this.#isReading = false;
        if (isLevel) this.#aim(0);
        else this.#options.onStalled();
      },
      (error: unknown) => {
        // The position check will try again.
        this.#isReading = false;
        this.#options.onError(error);
      },
    );
  }

  /** The inbox may reach further than is known. */
  look(): void {
    this.#aim(this.#cursor + 1);
  }

  #show(entry: FreshEntry): void {
    this.#cursor = entry.seq;
    this.#options.show(entry);
  }

  #skip(seq: number): void {
    if (!this.#isLive) return;
    this.#cursor = seq;
    this.#options.skip(seq);
  }

  /** Reads until the cursor is level with what is known of the inbox; false when the reader doesn't take it. */
  async #readOn(): Promise<boolean> {
    const { peer, read } = this.#options;
    const run = this.#run;
    while (this.#cursor < this.#target && this.#isLive) {
      if (!(await peer.drained())) return false;
      this.#hasNews = false;
      const known = this.#known;
      const entries = await read(this.#cursor, PAGE);
      if (run !== this.#run) break;
      // Nothing there: a ring came for what was shown already, or the user is gone. More may have come meanwhile.
      if (entries.length === 0 && known > this.#cursor) this.#skip(known);
      else if (entries.length === 0 && !this.#hasNews) this.#target = this.#cursor;
      for (const entry of entries) {
        if (!this.#isLive || peer.buffered > CATCH_UP_BYTES) break;
        if (entry.seq > this.#cursor + 1) this.#skip(entry.seq - 1);
        this.#show(entry);
      }
    }
    return true;
  }
}
