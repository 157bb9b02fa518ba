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
/** How many answers are remembered, so that a repeat costs nothing and nobody. */
const MAX_REMEMBERED = 50_000;

interface Queued extends Job {
  /** Of sender and id. */
  readonly key: string;
}

export interface WriterOptions extends StoringOptions {
  maxQueuedMessages?: number | undefined;
}

export class Writer {
  readonly #storing: Storing;
  readonly #meters: Meters;
  readonly #maxQueuedMessages: number;
  #queue: Queued[] = [];
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
  /** By sender and id: units that are queued or being stored. */
  readonly #underWay = new Map<string, Promise<Outcome>>();
  /** By sender and id: what the last messages were answered with. */
  readonly #remembered = new Recent<string, Stored>(MAX_REMEMBERED);
  #idle: PromiseWithResolvers<void> | undefined;

  constructor({ maxQueuedMessages = 20_000, ...options }: WriterOptions) {
    this.#storing = new Storing(options);
    this.#meters = options.meters;
    this.#maxQueuedMessages = maxQueuedMessages;
  }

  /** What waits to be stored. */
  get depth(): { messages: number; bytes: number } {
    return { messages: this.#queuedMessages, bytes: this.#unsettledBytes };
  }

  /** Resolves when the unit is on disk, one outcome per recipient. Throws `unavailable`. */
  write(unit: Unit): Promise<Outcome> {
    const key = `${unit.sender.id}:${unit.clientId}`;
    const underWay = this.#underWay.get(key);
    if (underWay) return this.#writeAfter(underWay, unit);
    const remembered = unit.isList ? undefined : this.#remembered.get(key);
    this.#meters.remembered[remembered ? 'hits' : 'misses'] += 1;
    if (remembered) return this.#answerAgain(remembered, unit);
    return this.#enqueue(unit, key);
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
      key,
      unit,
      resolve: (outcome) => {
        const [only] = outcome;
        if (!unit.isList && only && !(only instanceof ImidError)) this.#remembered.set(key, only);
        this.#release(key, unit);
        resolve(outcome);
      },
      reject: (error) => {
        this.#release(key, unit);
        reject(error);
      },
    });
    this.#underWay.set(key, promise);
    this.#queuedMessages += unit.recipients.length;
    this.#unsettledMessages += unit.recipients.length;
    this.#unsettledBytes += unit.content.length;
    this.#schedule();
    return promise;
  }

  /** A unit is settled; its sender is free for the next flush when all of them are. */
  #release(key: string, { sender, recipients, content }: Unit): void {
    this.#underWay.delete(key);
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
      // One that is smaller than the one before would only wait for it, and be as dear.
      if (this.#flushes === MAX_FLUSHES || (this.#flushes > 0 && this.#queue.length < this.#lastFlush))
        return;
      const taken = this.#take();
      if (taken.length > 0) void this.#flush(taken);
    });
  }

  /** The oldest of the queue, but for those whose sender has others under way. */
  #take(): Queued[] {
    const taken: Queued[] = [];
    const left: Queued[] = [];
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

  async #flush(taken: readonly Queued[]): Promise<void> {
    this.#flushes += 1;
    this.#lastFlush = taken.length;
    const startedAt = performance.now();
    const together = await this.#storing.store(taken);
    if (together > 0) this.#meters.flushed(together, (performance.now() - startedAt) / 1_000);
    this.#flushes -= 1;
    this.#schedule();
  }
}
