// Stores messages, many at a time: what arrives while a flush is under way goes with the next one.
// Invariants: one flush at a time, so that a sender's messages are stored in the order they came; nothing is
// reported as stored before it is committed; a unit that can't be stored fails alone, in its place.

import { LRUCache } from 'lru-cache';
import { ImidError, asImidError, isOutage } from '../errors.ts';
import { makeUuid, type AppId, type Name } from '../ids.ts';
import { violatedUnique } from '../store/constraints.ts';
import type { Database } from '../store/database.ts';
import { rerun } from '../store/transact.ts';
import {
  findSentMessages,
  insertMessages,
  type InboxEntry,
  type MovedInbox,
  type NewMessage,
  type SentMessage,
  type TouchedInbox,
} from '../store/messages.ts';

/** A user found by an address; the name is there if it was found by it, and must still be its when storing. */
export interface Located {
  id: number;
  expectedName: Name | undefined;
}

/** What is stored together: one content to one or many recipients, under one id of the sender's. */
export interface Unit {
  appId: AppId;
  sender: Located;
  clientId: string;
  /** In order; an error stands where nobody could be found. */
  recipients: readonly (Located | ImidError)[];
  /** Each recipient gets a message of its own; else the id stands for one message, whoever it is sent to. */
  isList: boolean;
  /** What is stored under the id already, looked up where a recipient can't be found any more. */
  known: readonly SentMessage[];
  /** JSON text. */
  content: string;
  push: string | undefined;
  /** Finds sender and recipients anew, after names have moved under way. A throw fails the whole unit. */
  relocate(): Promise<{ sender: Located; recipients: readonly (Located | ImidError)[] }>;
}

/** A stored message, as its sender is told. */
export interface Stored {
  messageId: string;
  senderSeq: number;
  recipientSeq: number;
  at: Date;
}

export type Outcome = (Stored | ImidError)[];

/** Told of every message right after its commit, in the order of storing: once for each inbox it stands in. */
export type Announce = (identityId: number, entry: InboxEntry) => void;

const MAX_FLUSH_MESSAGES = 1_000;
const MAX_QUEUED_BYTES = 64 * 1024 * 1024;
/** How many answers are remembered, so that a repeat costs nothing and nobody. */
const MAX_REMEMBERED = 50_000;
const MAX_RELOCATIONS = 10;

type Moved = Map<number, MovedInbox>;

interface Queued {
  unit: Unit;
  settle: { resolve: (outcome: Outcome) => void; reject: (error: ImidError) => void };
}

export class Writer {
  readonly #database: Database;
  readonly #announce: Announce;
  readonly #maxQueuedMessages: number;
  readonly #queue: Queued[] = [];
  #queuedMessages = 0;
  #queuedBytes = 0;
  /** By sender and id: units that are queued or being stored. */
  readonly #underWay = new Map<string, Promise<Outcome>>();
  /** By sender and id: what the last messages were answered with. */
  readonly #remembered = new LRUCache<string, Stored>({ max: MAX_REMEMBERED });
  #flushing: Promise<void> | undefined;

  constructor(database: Database, announce: Announce, maxQueuedMessages = 20_000) {
    this.#database = database;
    this.#announce = announce;
    this.#maxQueuedMessages = maxQueuedMessages;
  }

  /** Resolves when the unit is on disk, one outcome per recipient. Throws `unavailable`. */
  async write(unit: Unit): Promise<Outcome> {
    const key = `${unit.sender.id}:${unit.clientId}`;
    const underWay = this.#underWay.get(key);
    if (underWay) {
      if (!unit.isList) return (await underWay).slice(0, 1);
      await underWay.catch(() => {});
      return this.write(unit);
    }
    const remembered = unit.isList ? undefined : this.#remembered.get(key);
    if (remembered) {
      // The sender may be somebody else by now.
      const located = await unit.relocate();
      if (located.sender.id === unit.sender.id) return [remembered];
      return this.write({ ...unit, ...located });
    }
    const writing = this.#enqueue(unit);
    this.#underWay.set(key, writing);
    try {
      const outcome = await writing;
      const [only] = outcome;
      if (!unit.isList && only && !(only instanceof ImidError)) this.#remembered.set(key, only);
      return outcome;
    } finally {
      this.#underWay.delete(key);
    }
  }

  #enqueue(unit: Unit): Promise<Outcome> {
    if (this.#queuedMessages >= this.#maxQueuedMessages || this.#queuedBytes >= MAX_QUEUED_BYTES)
      return Promise.reject(new ImidError('unavailable', 'More is being sent than can be stored right now.'));
    const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
    this.#queue.push({ unit, settle: { resolve, reject } });
    this.#queuedMessages += unit.recipients.length;
    this.#queuedBytes += unit.content.length;
    this.#flushing ??= this.#flushAll();
    return promise;
  }

  /** Resolves when nothing is queued any more. */
  async drain(): Promise<void> {
    while (this.#flushing) await this.#flushing;
  }

  async #flushAll(): Promise<void> {
    // What arrives in the same turn of the event loop goes into the first flush already.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const batch = this.#take();
      try {
        const outcomes = await this.#store(batch.map((queued) => queued.unit));
        batch.forEach((queued, i) => queued.settle.resolve(outcomes[i]!));
      } catch (error) {
        if (batch.length === 1 || isOutage(error))
          for (const queued of batch) queued.settle.reject(asImidError(error));
        else for (const queued of batch) await this.#storeAlone(queued);
      }
    }
    this.#flushing = undefined;
  }

  #take(): Queued[] {
    let count = 0;
    let messages = 0;
    for (const { unit } of this.#queue) {
      if (count > 0 && messages + unit.recipients.length > MAX_FLUSH_MESSAGES) break;
      count += 1;
      messages += unit.recipients.length;
      this.#queuedBytes -= unit.content.length;
    }
    this.#queuedMessages -= messages;
    return this.#queue.splice(0, count);
  }

  async #storeAlone({ unit, settle }: Queued): Promise<void> {
    try {
      const [outcome] = await this.#store([unit]);
      settle.resolve(outcome!);
    } catch (error) {
      settle.reject(asImidError(error));
    }
  }

  /** Stores units in one statement; only a unit on its own may repeat ids or have to be located anew. */
  async #store(units: readonly Unit[]): Promise<Outcome[]> {
    const now = this.#database.clock.now();
    const batch = new Batch(now, false);
    for (const unit of units) batch.add(unit);
    try {
      const moved = await batch.insert(this.#database);
      if (moved) {
        batch.announce(moved, this.#announce);
        return batch.outcomes(moved);
      }
      if (units.length > 1) throw new Error('an inbox is not what it was');
    } catch (error) {
      if (units.length > 1 || violatedUnique(error) !== 'message__client_id') throw error;
    }
    return [await this.#storeRest(units[0]!)];
  }

  /** Stores what isn't stored yet of a unit that repeats an earlier one, or whose users have moved. */
  async #storeRest(unit: Unit): Promise<Outcome> {
    for (let round = 0; round < MAX_RELOCATIONS; round++) {
      const located = await unit.relocate();
      const known = await findSentMessages(this.#database.pool, unit.appId, located.sender.id, unit.clientId);
      const batch = new Batch(this.#database.clock.now(), true);
      batch.add({ ...unit, ...located, known });
      try {
        const moved = await batch.insert(this.#database);
        if (!moved) continue;
        batch.announce(moved, this.#announce);
        return batch.outcomes(moved)[0]!;
      } catch (error) {
        if (violatedUnique(error) !== 'message__client_id') throw error;
      }
    }
    throw new ImidError('unavailable', 'The users of this message keep changing their names.');
  }
}

/** A set of units on its way into one statement: numbers the messages within each inbox. */
class Batch {
  readonly #at: Date;
  readonly #isKnown: boolean;
  readonly #inboxes = new Map<number, TouchedInbox>();
  readonly #messages: NewMessage[] = [];
  readonly #steps: { sender: number; recipient: number }[] = [];
  /** Per unit and recipient: the place among the messages, or what came of it without one. */
  readonly #places: (number | Stored | ImidError)[][] = [];
  /** One inbox was found by two names: at least one of them has moved since. */
  #contradicts = false;

  /** `isKnown`: what was stored under the ids has been looked up. */
  constructor(at: Date, isKnown: boolean) {
    this.#at = at;
    this.#isKnown = isKnown;
  }

  add(unit: Unit): void {
    const { known } = unit;
    const knownAt = new Map(known.map((sent) => [sent.part, sent]));
    const knownTo = new Map(known.map((sent) => [sent.recipientId, sent]));
    let nextPart = Math.max(-1, ...knownAt.keys()) + 1;
    const placeOf = new Map<number, number>();
    const places = unit.recipients.map((recipient, i) => {
      if (!unit.isList && known[0]) return known[0];
      if (recipient instanceof ImidError) return knownAt.get(i) ?? recipient;
      // A list that names somebody twice is one message to them.
      const found = knownTo.get(recipient.id) ?? placeOf.get(recipient.id);
      if (found !== undefined) return found;
      const place = this.#push(unit, recipient, known.length > 0 ? nextPart++ : i);
      placeOf.set(recipient.id, place);
      return place;
    });
    this.#places.push(places);
  }

  /** Takes a message in; gives back its place among the messages. */
  #push(unit: Unit, recipient: Located, part: number): number {
    const toSelf = recipient.id === unit.sender.id;
    this.#steps.push({
      sender: toSelf ? 0 : this.#touch(unit.appId, unit.sender, this.#isKnown),
      recipient: this.#touch(unit.appId, recipient, !toSelf || this.#isKnown),
    });
    return (
      this.#messages.push({
        appId: unit.appId,
        id: makeUuid(this.#at),
        senderId: unit.sender.id,
        recipientId: recipient.id,
        clientId: unit.clientId,
        part,
        content: unit.content,
        push: unit.push,
        at: this.#at,
      }) - 1
    );
  }

  /** Takes the next place in an inbox, from 1. */
  #touch(appId: AppId, user: Located, mayBeMerging: boolean): number {
    const inbox = this.#inboxes.get(user.id);
    if (!inbox) {
      const { id, expectedName } = user;
      this.#inboxes.set(id, { appId, id, messages: 1, expectedName, mayBeMerging });
      return 1;
    }
    inbox.mayBeMerging &&= mayBeMerging;
    inbox.expectedName ??= user.expectedName;
    if (user.expectedName !== undefined && inbox.expectedName !== user.expectedName) this.#contradicts = true;
    return (inbox.messages += 1);
  }

  async insert(database: Database): Promise<Moved | undefined> {
    if (this.#contradicts) return undefined;
    if (this.#messages.length === 0) return new Map();
    return rerun(() =>
      insertMessages(database.pool, [...this.#inboxes.values()], this.#messages, this.#steps),
    );
  }

  announce(moved: Moved, announce: Announce): void {
    this.#messages.forEach((message, i) => {
      const stored = this.#stored(i, moved);
      const entry = {
        messageId: message.id,
        senderId: message.senderId,
        clientId: message.clientId,
        from: moved.get(message.senderId)!.party,
        to: moved.get(message.recipientId)!.party,
        content: message.content,
        at: message.at,
      };
      if (message.senderId !== message.recipientId)
        announce(message.senderId, { ...entry, seq: stored.senderSeq });
      announce(message.recipientId, { ...entry, seq: stored.recipientSeq });
    });
  }

  outcomes(moved: Moved): Outcome[] {
    return this.#places.map((places) =>
      places.map((place) => (typeof place === 'number' ? this.#stored(place, moved) : place)),
    );
  }

  #stored(i: number, moved: Moved): Stored {
    const message = this.#messages[i]!;
    const step = this.#steps[i]!;
    const recipientSeq = moved.get(message.recipientId)!.base + step.recipient;
    return {
      messageId: message.id,
      senderSeq: step.sender === 0 ? recipientSeq : moved.get(message.senderId)!.base + step.sender,
      recipientSeq,
      at: message.at,
    };
  }
}
