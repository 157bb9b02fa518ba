// Stores messages, many at a time: what arrives while flushes are under way goes with the next one.
// Invariants:
// - What a sender sends while earlier messages of it are being stored waits until each of those is stored or has failed.
//   So whatever happens to a flush, the messages of a sender are stored in the order in which they came.
// - Nothing is reported as stored before it is committed.
// - Rows are locked in the order of their keys, in every process: flushes can wait for one another, never deadlock.
// - What waits is bounded; beyond that, sending is `unavailable`.

import { ImidError } from '../errors.ts';
import type { Outcome, Stored, Unit } from './batch.ts';
import type { Meters } from './meters.ts';
import { Recent } from './recent.ts';
import { Storing, type Job, type StoringOptions } from './storing.ts';

/** While Postgres works at one, the next one is made ready and on its way. */
const MAX_FLUSHES = 2;
const MAX_FLUSH_MESSAGES = 1_000;
const MAX_UNSETTLED_BYTES = 64 * 1024 * 1024;
/** How many answers are remembered, so that a repeat reaches no flush. */
const MAX_REMEMBERED = 50_000;

export interface WriterOptions extends StoringOptions {
  maxQueuedMessages?: number | undefined;
}

export class Writer {
  readonly #storing: Storing;
  readonly #meters: Meters;
  readonly #maxQueuedMessages: number;
  #queue: Job[] = [];
  #queuedMessages = 0;
  /** With what was taken out of the queue: in a flush, set apart, or waiting for a locked inbox. */
  #unsettledMessages = 0;
  #unsettledBytes = 0;
  /** Senders with units that were taken out of the queue and are not settled yet, with how many they are. */
  readonly #held = new Map<number, number>();
  #flushes = 0;
  /** Units in the last flush. */
  #lastFlush = 0;
  #isScheduled = false;
  #isStopped = false;
  /** By sender and id: units that are under way, and what the last single messages were answered with. */
  readonly #known: Recent<string, Promise<Outcome> | Stored>;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor({ maxQueuedMessages = 20_000, ...options }: WriterOptions) {
    this.#storing = new Storing(options);
    this.#meters = options.meters;
    this.#maxQueuedMessages = maxQueuedMessages;
    // At least the last half is kept, and with it what is under way; a repeat of what isn't is found by the index.
    this.#known = new Recent(Math.max(MAX_REMEMBERED, 4 * maxQueuedMessages));
  }

  /** Messages that wait to be stored, and characters of content that wait or are being stored. */
  get depth(): { messages: number; bytes: number } {
    return { messages: this.#queuedMessages, bytes: this.#unsettledBytes };
  }

  /** Resolves when the unit is on disk, one outcome per recipient. Throws `unavailable`. */
  write(unit: Unit): Promise<Outcome> {
    const key = `${unit.sender.id}:${unit.clientId}`;
    const known = this.#known.get(key);
    if (known instanceof Promise) return this.#writeAfter(known, unit);
    const isAnswered = known !== undefined && !unit.isList;
    this.#meters.remembered[isAnswered ? 'hits' : 'misses'] += 1;
    return isAnswered ? this.#answerAgain(known, unit) : this.#enqueue(unit, key);
  }

  async #writeAfter(underWay: Promise<Outcome>, unit: Unit): Promise<Outcome> {
    if (!unit.isList) return (await underWay).slice(0, 1);
    await underWay.catch(() => {});
    return this.write(unit);
  }

  async #answerAgain(remembered: Stored, unit: Unit): Promise<Outcome> {
    // The sender may be somebody else by now.
    const located = await unit.relocate();
    if (located.sender.id === unit.sender.id) return [remembered];
    return this.write({ ...unit, ...located });
  }

  /** Forgets what was answered: the database is another one now. */
  forget(): void {
    this.#known.clear();
  }

  /** Takes nothing more; resolves when what was taken is stored. */
  async drain(): Promise<void> {
    this.#isStopped = true;
    if (this.#isIdle()) return;
    this.#idle ??= Promise.withResolvers();
    await this.#idle.promise;
  }

  #isIdle(): boolean {
    return this.#queue.length === 0 && this.#held.size === 0;
  }

  #isFull(): boolean {
    return (
      this.#queuedMessages >= this.#maxQueuedMessages ||
      this.#unsettledMessages >= this.#maxQueuedMessages + MAX_FLUSHES * MAX_FLUSH_MESSAGES ||
      this.#unsettledBytes >= MAX_UNSETTLED_BYTES
    );
  }

  #enqueue(unit: Unit, key: string): Promise<Outcome> {
    if (this.#isStopped) return Promise.reject(new ImidError('unavailable', 'The service is shutting down.'));
    if (this.#isFull())
      return Promise.reject(new ImidError('unavailable', 'More is being sent than can be stored right now.'));
    const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
    this.#queue.push({
      unit,
      resolve: (outcome) => {
        const [only] = outcome;
        if (unit.isList || !only || only instanceof ImidError) this.#known.delete(key);
        else this.#known.set(key, only);
        this.#release(unit);
        resolve(outcome);
      },
      reject: (error) => {
        this.#known.delete(key);
        this.#release(unit);
        reject(error);
      },
    });
    this.#known.set(key, promise);
    this.#queuedMessages += unit.recipients.length;
    this.#unsettledMessages += unit.recipients.length;
    this.#unsettledBytes += unit.content.length;
    this.#schedule();
    return promise;
  }

  /** A unit is settled; its sender is free for the next flush when all of them are. */
  #release({ sender, recipients, content }: Unit): void {
    this.#unsettledMessages -= recipients.length;
    this.#unsettledBytes -= content.length;
    const count = this.#held.get(sender.id)! - 1;
    if (count > 0) this.#held.set(sender.id, count);
    else this.#held.delete(sender.id);
    this.#schedule();
    if (!this.#isIdle()) return;
    this.#idle?.resolve();
    this.#idle = undefined;
  }

  /** What arrives in the same turn of the event loop goes into one flush. */
  #schedule(): void {
    if (this.#isScheduled || this.#flushes === MAX_FLUSHES || this.#queue.length === 0) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (this.#flushes === MAX_FLUSHES) return;
      // A small one behind a big one would only wait for it, and cost nearly as much: it grows meanwhile instead.
      if (this.#flushes > 0 && this.#queue.length * 2 < this.#lastFlush) return;
      const taken = this.#take();
      if (taken.length > 0) void this.#flush(taken);
    });
  }

  /** The oldest of the queue, but for those whose sender has others under way. */
  #take(): Job[] {
    const taken: Job[] = [];
    const left: Job[] = [];
    let messages = 0;
    for (const [i, queued] of this.#queue.entries()) {
      const { unit } = queued;
      if (this.#held.has(unit.sender.id)) {
        left.push(queued);
        continue;
      }
      if (taken.length > 0 && messages + unit.recipients.length > MAX_FLUSH_MESSAGES) {
        left.push(...this.#queue.slice(i));
        break;
      }
      taken.push(queued);
      messages += unit.recipients.length;
    }
    this.#queue = left;
    this.#queuedMessages -= messages;
    for (const { unit } of taken) this.#held.set(unit.sender.id, (this.#held.get(unit.sender.id) ?? 0) + 1);
    return taken;
  }

  async #flush(taken: readonly Job[]): Promise<void> {
    this.#flushes += 1;
    this.#lastFlush = taken.length;
    await this.#storing.store(taken);
    this.#flushes -= 1;
    this.#schedule();
  }
}
