// Stores messages, many at a time: what arrives while flushes are under way goes with the next one.
// Invariants:
// - A sender has messages in one flush at a time, and a flush is over only when each of its units is stored or has failed.
//   So whatever happens to a flush, the messages of a sender are stored in the order in which they came.
// - A flush is one statement, thus all or nothing. What makes it fail is found and stored without the others' waiting
//   for it twice: the sender of a repeat, or of a message that can't be stored, is taken out and stored on its own.
// - Nothing is reported as stored before it is committed.
// - Rows are locked in the order of their keys, in every process: flushes can wait for one another, never deadlock.

import { LRUCache } from 'lru-cache';
import { ImidError, asImidError, isOutage } from '../errors.ts';
import { violatedUnique } from '../store/constraints.ts';
import type { Database } from '../store/database.ts';
import { findRepeaters, findSentMessages } from '../store/messages.ts';
import { Batch, type Audience, type Outcome, type Stored, type Unit } from './batch.ts';
import type { Meters } from './meters.ts';
import { Recent } from './recent.ts';

/** While Postgres works at one, the next one is made ready and on its way. */
const MAX_FLUSHES = 2;
const MAX_FLUSH_MESSAGES = 1_000;
const MAX_QUEUED_BYTES = 64 * 1024 * 1024;
/** How many answers are remembered, so that a repeat costs nothing and nobody. */
const MAX_REMEMBERED = 50_000;
/** For how long one who has repeated something that isn't remembered is looked up first. */
const REPEATER_MS = 60_000;
const MAX_REPEATERS = 10_000;
const MAX_RELOCATIONS = 10;

interface Queued {
  /** Of sender and id. */
  key: string;
  unit: Unit;
  resolve: (outcome: Outcome) => void;
  reject: (error: ImidError) => void;
}

export interface WriterOptions {
  database: Database;
  audience: Audience;
  meters: Meters;
  maxQueuedMessages?: number | undefined;
}

export class Writer {
  readonly #database: Database;
  readonly #audience: Audience;
  readonly #meters: Meters;
  readonly #maxQueuedMessages: number;
  #queue: Queued[] = [];
  #queuedMessages = 0;
  #queuedBytes = 0;
  /** Senders with units in a flush. */
  readonly #flushing = new Set<number>();
  #flushes = 0;
  #isScheduled = false;
  /** By sender and id: units that are queued or being stored. */
  readonly #underWay = new Map<string, Promise<Outcome>>();
  /** By sender and id: what the last messages were answered with. */
  readonly #remembered = new Recent<string, Stored>(MAX_REMEMBERED);
  readonly #repeaters = new LRUCache<number, true>({ max: MAX_REPEATERS, ttl: REPEATER_MS });
  #idle: PromiseWithResolvers<void> | undefined;

  constructor({ database, audience, meters, maxQueuedMessages = 20_000 }: WriterOptions) {
    this.#database = database;
    this.#audience = audience;
    this.#meters = meters;
    this.#maxQueuedMessages = maxQueuedMessages;
  }

  /** What waits to be stored. */
  get depth(): { messages: number; bytes: number } {
    return { messages: this.#queuedMessages, bytes: this.#queuedBytes };
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

  /** Resolves when nothing is queued or being stored any more. */
  async drain(): Promise<void> {
    if (this.#queue.length === 0 && this.#flushes === 0) return;
    this.#idle ??= Promise.withResolvers();
    await this.#idle.promise;
  }

  #enqueue(unit: Unit, key: string): Promise<Outcome> {
    if (this.#queuedMessages >= this.#maxQueuedMessages || this.#queuedBytes >= MAX_QUEUED_BYTES)
      return Promise.reject(new ImidError('unavailable', 'More is being sent than can be stored right now.'));
    const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
    this.#queue.push({ key, unit, resolve, reject });
    this.#underWay.set(key, promise);
    this.#queuedMessages += unit.recipients.length;
    this.#queuedBytes += unit.content.length;
    this.#schedule();
    return promise;
  }

  /** What arrives in the same turn of the event loop goes into one flush. */
  #schedule(): void {
    if (this.#isScheduled || this.#flushes === MAX_FLUSHES) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (this.#flushes === MAX_FLUSHES) return;
      const taken = this.#take();
      if (taken.length > 0) void this.#flush(taken);
    });
  }

  /** The oldest of the queue, but for those whose sender is in a flush already. */
  #take(): Queued[] {
    const taken: Queued[] = [];
    const left: Queued[] = [];
    let messages = 0;
    for (const [i, queued] of this.#queue.entries()) {
      const { unit } = queued;
      if (this.#flushing.has(unit.sender.id)) {
        left.push(queued);
        continue;
      }
      if (taken.length > 0 && messages + unit.recipients.length > MAX_FLUSH_MESSAGES) {
        left.push(...this.#queue.slice(i));
        break;
      }
      taken.push(queued);
      messages += unit.recipients.length;
      this.#queuedBytes -= unit.content.length;
    }
    this.#queue = left;
    this.#queuedMessages -= messages;
    for (const { unit } of taken) this.#flushing.add(unit.sender.id);
    return taken;
  }

  async #flush(taken: readonly Queued[]): Promise<void> {
    this.#flushes += 1;
    const startedAt = performance.now();
    const [alone, together] = split(taken, ({ unit }) => this.#repeaters.has(unit.sender.id));
    await Promise.all([this.#store(together), this.#storeAlone(alone)]);
    this.#meters.flushed(taken.length, (performance.now() - startedAt) / 1_000);
    this.#flushes -= 1;
    for (const { unit } of taken) this.#flushing.delete(unit.sender.id);
    if (this.#queue.length > 0) this.#schedule();
    else if (this.#flushes === 0) {
      this.#idle?.resolve();
      this.#idle = undefined;
    }
  }

  /** Settles units, in one statement if it can be. */
  async #store(queued: readonly Queued[]): Promise<void> {
    if (queued.length === 0) return;
    try {
      const trouble = await this.#attempt(queued);
      if (!trouble) return;
      const [taken, left] = split(queued, ({ unit }) => trouble.senders.has(unit.sender.id));
      const isAlone = trouble.isCertain || left.length === 0;
      await Promise.all([this.#store(left), isAlone ? this.#storeAlone(taken) : this.#store(taken)]);
    } catch (error) {
      this.#meters.flushFailed();
      for (const each of queued) this.#reject(each, error);
    }
  }

  /** Stores units in one statement, or nothing: then it gives back whose units to take out. Throws on an outage. */
  async #attempt(
    queued: readonly Queued[],
  ): Promise<{ senders: ReadonlySet<number>; isCertain: boolean } | undefined> {
    const units = queued.map(({ unit }) => unit);
    const batch = new Batch(this.#database.clock.now(), units, false);
    try {
      const moved = await this.#insert(batch);
      const inTheWay = units.filter(({ sender, recipients }) =>
        [sender, ...recipients].some((user) => 'id' in user && moved.has(user.id)),
      );
      if (inTheWay.length > 0) {
        this.#meters.tookApart('moved');
        return { senders: sendersOf(inTheWay), isCertain: true };
      }
    } catch (error) {
      if (isOutage(error)) throw error;
      const isRepeat = violatedUnique(error) === 'message__client_id';
      const repeaters = isRepeat
        ? await findRepeaters(this.#database.pool, units.map(toKey))
        : new Set<number>();
      this.#meters.tookApart(repeaters.size > 0 ? 'repeat' : 'fault');
      for (const sender of repeaters) this.#repeaters.set(sender, true);
      if (repeaters.size > 0) return { senders: repeaters, isCertain: true };
      // Whatever it is, it is in one of two halves.
      const senders = [...sendersOf(units)];
      return { senders: new Set(senders.slice(0, Math.ceil(senders.length / 2))), isCertain: false };
    }
    for (const [i, outcome] of batch.outcomes().entries()) this.#resolve(queued[i]!, outcome);
    return undefined;
  }

  #resolve({ key, unit, resolve }: Queued, outcome: Outcome): void {
    const [only] = outcome;
    if (!unit.isList && only && !(only instanceof ImidError)) this.#remembered.set(key, only);
    this.#underWay.delete(key);
    resolve(outcome);
  }

  #reject({ key, reject }: Queued, error: unknown): void {
    this.#underWay.delete(key);
    reject(asImidError(error));
  }

  /** Settles units one by one, those of each sender in their order. */
  async #storeAlone(queued: readonly Queued[]): Promise<void> {
    const bySender = Map.groupBy(queued, ({ unit }) => unit.sender.id);
    await Promise.all(
      [...bySender.values()].map(async (own) => {
        for (const each of own)
          await this.#storeRest(each.unit).then(
            (outcome) => this.#resolve(each, outcome),
            (error: unknown) => this.#reject(each, error),
          );
      }),
    );
  }

  /** Stores what isn't stored yet of a unit that may repeat an earlier one, or whose users may have moved. */
  async #storeRest(unit: Unit): Promise<Outcome> {
    for (let round = 0; round < MAX_RELOCATIONS; round++) {
      const located = await unit.relocate();
      const known = await findSentMessages(this.#database.pool, unit.appId, located.sender.id, unit.clientId);
      const batch = new Batch(this.#database.clock.now(), [{ ...unit, ...located, known }], true);
      try {
        if ((await this.#insert(batch)).size > 0) continue;
        return batch.outcomes()[0]!;
      } catch (error) {
        if (violatedUnique(error) !== 'message__client_id') throw error;
      }
    }
    throw new ImidError('unavailable', 'The users of this message keep changing their names.');
  }

  /** As `Batch.insert`, and tells of what was stored. */
  async #insert(batch: Batch): Promise<ReadonlySet<number>> {
    const inTheWay = await batch.insert(this.#database);
    if (inTheWay.size === 0) {
      this.#meters.stored(batch.size);
      batch.announce(this.#audience);
    }
    return inTheWay;
  }
}

function split(queued: readonly Queued[], isFirst: (queued: Queued) => boolean): [Queued[], Queued[]] {
  const parts: [Queued[], Queued[]] = [[], []];
  for (const each of queued) parts[isFirst(each) ? 0 : 1].push(each);
  return parts;
}

const toKey = ({ appId, sender, clientId }: Unit) => ({ appId, senderId: sender.id, clientId });

function sendersOf(units: readonly Unit[]): Set<number> {
  return new Set(units.map((unit) => unit.sender.id));
}
