// Puts units into the database: together in one statement if it can be, all or nothing. What makes such a statement fail, or
// wait for long, is found and set apart: the units of those senders are stored one by one, or wait, and the others run
// again without them.
// Invariants: every unit is settled, once, and only when it is committed or has failed; the units of a sender are stored
// in their order, as long as nobody stores others of it meanwhile.

import { setTimeout as sleep } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import { asImidError, ImidError, isOutage } from '../errors.ts';
import { isLockTimeout, violatedUnique } from '../store/constraints.ts';
import type { Database } from '../store/database.ts';
import { findLockedInboxes, findRepeaters, findSentMessages } from '../store/messages.ts';
import { Batch, type Audience, type Outcome, type Unit } from './batch.ts';
import { LockedInboxes } from './locked_inboxes.ts';
import type { Meters } from './meters.ts';
import type { Tracing } from './tracing.ts';

/** A unit, and who is to know what came of it. */
export interface Job {
  readonly unit: Unit;
  resolve(outcome: Outcome): void;
  reject(error: ImidError): void;
}

export type Log = (message: string, error: unknown, more?: object) => void;

export interface StoringOptions {
  database: Database;
  audience: Audience;
  meters: Meters;
  tracing?: Tracing | undefined;
  log: Log;
}

/** Why a statement came to nothing. */
interface Trouble {
  /** Whose units to take out; nobody's where something else than an inbox is locked. */
  senders: ReadonlySet<number>;
  /** A `fault` may be the others' as well. */
  kind: 'moved' | 'repeat' | 'locked' | 'fault';
}

/** For how long one who has repeated something that nobody remembered is looked up first. */
const REPEATER_MS = 60_000;
const MAX_REPEATERS = 10_000;
/** How long a message waits for a locked inbox. */
const LOCKED_PATIENCE_MS = 3_000;
const LOCKED_PAUSE_MS = 100;
const MAX_RELOCATIONS = 10;

export class Storing {
  readonly #database: Database;
  readonly #audience: Audience;
  readonly #meters: Meters;
  readonly #tracing: Tracing | undefined;
  readonly #log: Log;
  readonly #repeaters = new LRUCache<number, true>({ max: MAX_REPEATERS, ttl: REPEATER_MS });
  readonly #locked: LockedInboxes;
  /** By sender: jobs that wait for a locked inbox, each with those behind it. */
  readonly #parked = new Map<number, { own: readonly Job[]; patientUntil: number }>();

  constructor({ database, audience, meters, tracing, log }: StoringOptions) {
    this.#database = database;
    this.#audience = audience;
    this.#meters = meters;
    this.#tracing = tracing;
    this.#log = log;
    this.#locked = new LockedInboxes({
      probe: (inboxes) => findLockedInboxes(database.pool, inboxes),
      onProbed: () => this.#unpark(),
    });
  }

  /** Settles jobs. Resolves when those that go together are: what was set apart may take longer. */
  async store(jobs: readonly Job[]): Promise<void> {
    const waiting = sendersOf(jobs.filter(({ unit }) => this.#touchesLocked(unit)));
    const [parked, ready] = split(jobs, ({ unit }) => waiting.has(unit.sender.id));
    const [apart, together] = split(ready, ({ unit }) => this.#repeaters.has(unit.sender.id));
    this.#park(parked);
    this.#storeApart(apart);
    await this.#storeTogether(together);
  }

  async #storeTogether(
    jobs: readonly Job[],
    patientUntil = performance.now() + LOCKED_PATIENCE_MS,
  ): Promise<void> {
    if (jobs.length === 0) return;
    try {
      const trouble = await this.#attempt(jobs);
      if (!trouble) return;
      const [taken, left] = split(jobs, ({ unit }) => trouble.senders.has(unit.sender.id));
      // Something else than an inbox is locked: all of them try again, for as long as one inbox is waited for.
      if (taken.length === 0 && performance.now() > patientUntil) throw lockedError();
      this.#meters.tookApart(trouble.kind);
      if (trouble.kind === 'locked') this.#park(taken);
      else if (trouble.kind !== 'fault' || left.length === 0) this.#storeApart(taken);
      else await this.#storeTogether(taken, patientUntil);
      await this.#storeTogether(left, patientUntil);
    } catch (error) {
      this.#fail(jobs, error);
    }
  }

  /** Stores units in one statement, or nothing: then it gives back whose units to take out. Throws on an outage. */
  async #attempt(jobs: readonly Job[]): Promise<Trouble | undefined> {
    const units = jobs.map(({ unit }) => unit);
    const batch = new Batch(this.#database.clock.now(), units, false, this.#audience.isTold);
    const startedAt = performance.now();
    try {
      const moved = await this.#insert(batch, units);
      const inTheWay = sendersOf(jobs.filter(({ unit }) => touches(unit, moved)));
      if (inTheWay.size > 0) return { senders: inTheWay, kind: 'moved' };
    } catch (error) {
      if (isOutage(error)) throw error;
      return this.#diagnose(jobs, batch, error);
    }
    this.#meters.flushed(jobs.length, (performance.now() - startedAt) / 1_000);
    for (const [i, outcome] of batch.outcomes().entries()) jobs[i]!.resolve(outcome);
    return undefined;
  }

  async #diagnose(jobs: readonly Job[], batch: Batch, error: unknown): Promise<Trouble> {
    if (isLockTimeout(error)) {
      const locked = await this.#locked.find(batch.inboxes);
      return { senders: sendersOf(jobs.filter(({ unit }) => touches(unit, locked))), kind: 'locked' };
    }
    if (violatedUnique(error) === 'message__client_id') {
      const repeaters = await findRepeaters(
        this.#database.pool,
        jobs.map(({ unit: { appId, sender, clientId } }) => ({ appId, senderId: sender.id, clientId })),
      );
      for (const sender of repeaters) this.#repeaters.set(sender, true);
      if (repeaters.size > 0) return { senders: repeaters, kind: 'repeat' };
    }
    const senders = [...sendersOf(jobs)];
    return { senders: new Set(senders.slice(0, Math.ceil(senders.length / 2))), kind: 'fault' };
  }

  #touchesLocked(unit: Unit): boolean {
    return this.#locked.size > 0 && touches(unit, this.#locked);
  }

  /** Keeps jobs until the inboxes that they touch are free. */
  #park(jobs: readonly Job[]): void {
    const patientUntil = performance.now() + LOCKED_PATIENCE_MS;
    // Of each sender there is nothing else under way.
    for (const [sender, own] of bySender(jobs)) this.#parked.set(sender, { own, patientUntil });
  }

  /** Stores what waits for no locked inbox any more, and gives up what has waited for too long. */
  #unpark(): void {
    const ready: Job[] = [];
    for (const [sender, { own, patientUntil }] of this.#parked) {
      const [late, free] = split(own, ({ unit }) => this.#touchesLocked(unit));
      if (late.length > 0 && performance.now() < patientUntil) continue;
      this.#parked.delete(sender);
      ready.push(...free);
      this.#fail(late, lockedError());
    }
    void this.#storeTogether(ready);
  }

  /** Settles jobs one by one, those of each sender in their order. */
  #storeApart(jobs: readonly Job[]): void {
    for (const own of bySender(jobs).values()) void this.#storeInTurn(own);
  }

  async #storeInTurn(own: readonly Job[]): Promise<void> {
    for (const job of own)
      await this.#storeRest(job.unit).then(job.resolve, (error: unknown) => this.#fail([job], error));
  }

  /** Settles jobs that can't be stored, and logs what isn't their senders' doing. */
  #fail(jobs: readonly Job[], thrown: unknown): void {
    if (jobs.length === 0) return;
    const error = asImidError(thrown);
    if (error.code === 'unavailable') {
      this.#meters.flushFailed();
      const origins = jobs.map(({ unit }) => unit.origin);
      this.#log('messages could not be stored', error.cause ?? thrown, { origins });
    }
    for (const { reject } of jobs) reject(error);
  }

  /** Stores what isn't stored yet of a unit that may repeat an earlier one, or whose users may have moved. */
  async #storeRest(unit: Unit): Promise<Outcome> {
    const patientUntil = performance.now() + LOCKED_PATIENCE_MS;
    for (let round = 0; round < MAX_RELOCATIONS;) {
      const located = await unit.relocate();
      if (this.#touchesLocked({ ...unit, ...located })) {
        if (performance.now() > patientUntil) throw lockedError();
        await sleep(LOCKED_PAUSE_MS);
        continue;
      }
      const known = await findSentMessages(this.#database.pool, unit.appId, located.sender.id, unit.clientId);
      const batch = new Batch(
        this.#database.clock.now(),
        [{ ...unit, ...located, known }],
        true,
        this.#audience.isTold,
      );
      try {
        if ((await this.#insert(batch, [unit])).size === 0) return batch.outcomes()[0]!;
        round += 1;
      } catch (error) {
        if (violatedUnique(error) === 'message__client_id') round += 1;
        else if (!isLockTimeout(error)) throw error;
        else if (performance.now() > patientUntil) throw lockedError();
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

function lockedError(): ImidError {
  return new ImidError('unavailable', 'An inbox is being changed; send it again.');
}

function touches({ sender, recipients }: Unit, inboxes: { has(id: number): boolean }): boolean {
  return [sender, ...recipients].some((user) => 'id' in user && inboxes.has(user.id));
}

function split(jobs: readonly Job[], isFirst: (job: Job) => boolean): [Job[], Job[]] {
  const parts: [Job[], Job[]] = [[], []];
  for (const job of jobs) parts[isFirst(job) ? 0 : 1].push(job);
  return parts;
}

const bySender = (jobs: readonly Job[]): Map<number, Job[]> =>
  Map.groupBy(jobs, ({ unit }) => unit.sender.id);

const sendersOf = (jobs: readonly Job[]): Set<number> => new Set(jobs.map(({ unit }) => unit.sender.id));
