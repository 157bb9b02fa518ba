// Stores messages, many at a time: what arrives while flushes are under way goes with the next one.
// Invariants:
// - What a sender sends while earlier messages of it are being stored waits until each of those is stored or has failed.
//   So whatever happens to a flush, the messages of a sender are stored in the order in which they came.
// - A flush is one statement, thus all or nothing. What makes it fail, or wait for long, is found and set apart: the
//   messages of those senders are stored one by one, or wait, and the others run again without them.
// - Nothing is reported as stored before it is committed.
// - Rows are locked in the order of their keys, in every process: flushes can wait for one another, never deadlock.

import { setTimeout as sleep } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import { ImidError, asImidError, isOutage } from '../errors.ts';
import { isLockTimeout, violatedUnique } from '../store/constraints.ts';
import type { Database } from '../store/database.ts';
import { findLockedInboxes, findRepeaters, findSentMessages } from '../store/messages.ts';
import { Batch, type Audience, type Outcome, type Stored, type Unit } from './batch.ts';
import { LockedInboxes } from './locked_inboxes.ts';
import type { Meters } from './meters.ts';
import { Recent } from './recent.ts';
import type { Tracing } from './tracing.ts';

/** While Postgres works at one, the next one is made ready and on its way. */
const MAX_FLUSHES = 2;
const MAX_FLUSH_MESSAGES = 1_000;
const MAX_QUEUED_BYTES = 64 * 1024 * 1024;
/** How many answers are remembered, so that a repeat costs nothing and nobody. */
const MAX_REMEMBERED = 50_000;
/** For how long one who has repeated something that isn't remembered is looked up first. */
const REPEATER_MS = 60_000;
const MAX_REPEATERS = 10_000;
/** How long a message waits for a locked inbox. */
const LOCKED_PATIENCE_MS = 3_000;
const LOCKED_PAUSE_MS = 100;
const MAX_RELOCATIONS = 10;

/** Why a flush came to nothing. */
interface Trouble {
  /** Whose units to take out. */
  senders: ReadonlySet<number>;
  /** It is known to be theirs; else it may also be somebody else's. */
  isCertain?: boolean;
  /** It passes when their inboxes are free. */
  isLocked?: boolean;
}

interface Queued {
  /** Of sender and id. */
  key: string;
  unit: Unit;
  resolve: (outcome: Outcome) => void;
  reject: (error: ImidError) => void;
}

export type Log = (message: string, error: unknown, more?: object) => void;

export interface WriterOptions {
  database: Database;
  audience: Audience;
  meters: Meters;
  tracing?: Tracing | undefined;
  log: Log;
  maxQueuedMessages?: number | undefined;
}

export class Writer {
  readonly #database: Database;
  readonly #audience: Audience;
  readonly #meters: Meters;
  readonly #tracing: Tracing | undefined;
  readonly #log: Log;
  readonly #maxQueuedMessages: number;
  #queue: Queued[] = [];
  #queuedMessages = 0;
  #queuedBytes = 0;
  /** Senders with units that were taken out of the queue and are not settled yet, with how many they are. */
  readonly #held = new Map<number, number>();
  /** Units in the last flush. */
  #lastFlush = 0;
  #isStopped = false;
  #flushes = 0;
  #isScheduled = false;
  /** By sender and id: units that are queued or being stored. */
  readonly #underWay = new Map<string, Promise<Outcome>>();
  /** By sender and id: what the last messages were answered with. */
  readonly #remembered = new Recent<string, Stored>(MAX_REMEMBERED);
  readonly #repeaters = new LRUCache<number, true>({ max: MAX_REPEATERS, ttl: REPEATER_MS });
  readonly #locked: LockedInboxes;
  /** By sender: units that wait for a locked inbox, each with those behind it. */
  readonly #parked = new Map<number, { own: readonly Queued[]; patientUntil: number }>();
  #idle: PromiseWithResolvers<void> | undefined;

  constructor({ database, audience, meters, tracing, log, maxQueuedMessages = 20_000 }: WriterOptions) {
    this.#database = database;
    this.#audience = audience;
    this.#meters = meters;
    this.#tracing = tracing;
    this.#log = log;
    this.#maxQueuedMessages = maxQueuedMessages;
    this.#locked = new LockedInboxes({
      probe: (inboxes) => findLockedInboxes(database.pool, inboxes),
      onProbed: () => this.#unpark(),
    });
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

  #enqueue(unit: Unit, key: string): Promise<Outcome> {
    if (this.#isStopped) return Promise.reject(new ImidError('unavailable', 'The service is shutting down.'));
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
      this.#queuedBytes -= unit.content.length;
    }
    this.#queue = left;
    this.#queuedMessages -= messages;
    for (const { unit } of taken) this.#held.set(unit.sender.id, (this.#held.get(unit.sender.id) ?? 0) + 1);
    return taken;
  }

  async #flush(taken: readonly Queued[]): Promise<void> {
    this.#flushes += 1;
    const startedAt = performance.now();
    const locked = sendersOf(taken.map(({ unit }) => unit).filter((unit) => this.#touchesLocked(unit)));
    const [waiting, ready] = split(taken, ({ unit }) => locked.has(unit.sender.id));
    const [apart, together] = split(ready, ({ unit }) => this.#repeaters.has(unit.sender.id));
    this.#park(waiting);
    this.#lastFlush = together.length;
    this.#setApart(apart);
    await this.#store(together);
    this.#meters.flushed(together.length, (performance.now() - startedAt) / 1_000);
    this.#flushes -= 1;
    this.#schedule();
  }

  #touchesLocked(unit: Unit): boolean {
    return this.#locked.size > 0 && touches(unit, this.#locked);
  }

  /** Keeps units until the inboxes that they touch are free. */
  #park(queued: readonly Queued[]): void {
    const patientUntil = performance.now() + LOCKED_PATIENCE_MS;
    for (const [sender, own] of Map.groupBy(queued, ({ unit }) => unit.sender.id))
      this.#parked.set(sender, { own, patientUntil });
  }

  /** Puts units whose inboxes are free back in front of the queue; gives up those that have waited for too long. */
  #unpark(): void {
    for (const [sender, { own, patientUntil }] of this.#parked) {
      const isFree = !own.some(({ unit }) => this.#touchesLocked(unit));
      if (!isFree && performance.now() < patientUntil) continue;
      this.#parked.delete(sender);
      const [late, free] = split(own, ({ unit }) => this.#touchesLocked(unit));
      this.#putBack(free);
      for (const each of late) this.#reject(each, lockedError());
    }
  }

  #putBack(own: readonly Queued[]): void {
    this.#queue.unshift(...own);
    for (const { unit } of own) {
      this.#queuedMessages += unit.recipients.length;
      this.#queuedBytes += unit.content.length;
      this.#unhold(unit);
    }
    this.#schedule();
  }

  /** Settles units, in one statement if it can be. */
  async #store(queued: readonly Queued[]): Promise<void> {
    if (queued.length === 0) return;
    try {
      const trouble = await this.#attempt(queued);
      if (!trouble) return;
      const [taken, left] = split(queued, ({ unit }) => trouble.senders.has(unit.sender.id));
      if (trouble.isLocked) this.#park(taken);
      else if (trouble.isCertain || left.length === 0) this.#setApart(taken);
      else await this.#store(taken);
      await this.#store(left);
    } catch (error) {
      this.#tellFailed(queued, error);
      for (const each of queued) this.#reject(each, error);
    }
  }

  /** Stores units in one statement, or nothing: then it gives back whose units to take out. Throws on an outage. */
  async #attempt(queued: readonly Queued[]): Promise<Trouble | undefined> {
    const units = queued.map(({ unit }) => unit);
    const batch = new Batch(this.#database.clock.now(), units, false);
    try {
      const moved = await this.#insert(batch, units);
      const inTheWay = units.filter((unit) => touches(unit, moved));
      if (inTheWay.length > 0) {
        this.#meters.tookApart('moved');
        return { senders: sendersOf(inTheWay), isCertain: true };
      }
    } catch (error) {
      if (isOutage(error)) throw error;
      return this.#diagnose(units, batch, error);
    }
    for (const [i, outcome] of batch.outcomes().entries()) this.#resolve(queued[i]!, outcome);
    return undefined;
  }

  /** Whose units made a statement fail. */
  async #diagnose(units: readonly Unit[], batch: Batch, error: unknown): Promise<Trouble> {
    if (isLockTimeout(error)) {
      this.#meters.tookApart('locked');
      const locked = await this.#locked.find(batch.inboxes);
      const waiting = units.filter((unit) => touches(unit, locked));
      return { senders: sendersOf(waiting), isLocked: true };
    }
    if (violatedUnique(error) === 'message__client_id') {
      const repeaters = await findRepeaters(this.#database.pool, units.map(toKey));
      for (const sender of repeaters) this.#repeaters.set(sender, true);
      if (repeaters.size > 0) {
        this.#meters.tookApart('repeat');
        return { senders: repeaters, isCertain: true };
      }
    }
    this.#meters.tookApart('fault');
    // Whatever it is, it is in one of two halves.
    const senders = [...sendersOf(units)];
    return { senders: new Set(senders.slice(0, Math.ceil(senders.length / 2))) };
  }

  #resolve(queued: Queued, outcome: Outcome): void {
    const [only] = outcome;
    if (!queued.unit.isList && only && !(only instanceof ImidError)) this.#remembered.set(queued.key, only);
    this.#release(queued);
    queued.resolve(outcome);
  }

  #reject(queued: Queued, error: unknown): void {
    this.#release(queued);
    queued.reject(asImidError(error));
  }

  #unhold({ sender }: Unit): void {
    const count = this.#held.get(sender.id)! - 1;
    if (count > 0) this.#held.set(sender.id, count);
    else this.#held.delete(sender.id);
  }

  /** A unit is settled; its sender is free for the next flush when all of them are. */
  #release({ key, unit }: Queued): void {
    this.#underWay.delete(key);
    this.#unhold(unit);
    this.#schedule();
    if (!this.#isIdle()) return;
    this.#idle?.resolve();
    this.#idle = undefined;
  }

  /** Settles units one by one, those of each sender in their order. No flush waits for them. */
  #setApart(queued: readonly Queued[]): void {
    for (const own of Map.groupBy(queued, ({ unit }) => unit.sender.id).values()) void this.#storeApart(own);
  }

  async #storeApart(own: readonly Queued[]): Promise<void> {
    for (const each of own)
      await this.#storeRest(each.unit).then(
        (outcome) => this.#resolve(each, outcome),
        (error: unknown) => {
          this.#tellFailed([each], error);
          this.#reject(each, error);
        },
      );
  }

  /** Logs what could not be stored, and isn't the sender's doing. */
  #tellFailed(queued: readonly Queued[], error: unknown): void {
    const { code, cause } = asImidError(error);
    if (code !== 'unavailable') return;
    this.#meters.flushFailed();
    this.#log('messages could not be stored', cause ?? error, {
      origins: queued.map(({ unit }) => unit.origin),
    });
  }

  /** Stores what isn't stored yet of a unit that may repeat an earlier one, or whose users may have moved or be locked. */
  async #storeRest(unit: Unit): Promise<Outcome> {
    const patientUntil = performance.now() + LOCKED_PATIENCE_MS;
    for (let round = 0; round < MAX_RELOCATIONS;) {
      const located = await unit.relocate();
      const known = await findSentMessages(this.#database.pool, unit.appId, located.sender.id, unit.clientId);
      const batch = new Batch(this.#database.clock.now(), [{ ...unit, ...located, known }], true);
      if (this.#touchesLocked({ ...unit, ...located })) {
        if (performance.now() > patientUntil) throw lockedError();
        await sleep(LOCKED_PAUSE_MS);
        continue;
      }
      try {
        if ((await this.#insert(batch, [unit])).size === 0) return batch.outcomes()[0]!;
        round += 1;
      } catch (error) {
        if (violatedUnique(error) === 'message__client_id') round += 1;
        else if (!isLockTimeout(error)) throw error;
        else await this.#locked.find(batch.inboxes);
      }
    }
    throw new ImidError('unavailable', 'The users of this message keep changing their names.');
  }

  /** As `Batch.insert`, and tells of what was stored. */
  async #insert(batch: Batch, units: readonly Unit[]): Promise<ReadonlySet<number>> {
    const inserting = batch.insert(this.#database);
    this.#tracing?.flush(
      units.flatMap(({ trail }) => trail ?? []),
      inserting,
    );
    const inTheWay = await inserting;
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

function lockedError(): ImidError {
  return new ImidError('unavailable', 'An inbox is being changed; send it again.');
}

function touches({ sender, recipients }: Unit, inboxes: { has(id: number): boolean }): boolean {
  return [sender, ...recipients].some((user) => 'id' in user && inboxes.has(user.id));
}

function sendersOf(units: readonly Unit[]): Set<number> {
  return new Set(units.map((unit) => unit.sender.id));
}
