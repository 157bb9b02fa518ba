// Units on their way into one statement: numbers their messages within each inbox.

import { ImidError } from '../errors.ts';
import { makeUuid, type AppId, type Name } from '../ids.ts';
import type { Database } from '../store/database.ts';
import {
  insertMessages,
  type InboxEntry,
  type NewMessage,
  type SentMessage,
  type TouchedInbox,
} from '../store/messages.ts';
import { rerun } from '../store/transact.ts';
import type { Trail } from './tracing.ts';

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
  /** The id of the request or frame that it came in with, for logs. */
  origin: string;
  trail: Trail | undefined;
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

/** A message that has just been committed. */
export interface FreshEntry extends InboxEntry {
  trail?: Trail | undefined;
}

interface Message extends NewMessage {
  readonly trail: Trail | undefined;
}

/** Those who are to hear of what was stored. */
export interface Audience {
  /** Whether the backend of an app is told of what comes for users who aren't there. */
  isTold(appId: AppId): boolean;
  /** Whether anybody here listens to an inbox. */
  hears(identityId: number): boolean;
  /** Told of every message right after its commit, once for each inbox it stands in. */
  hear(identityId: number, entry: FreshEntry): void;
  /** Told of every inbox that has moved. */
  moved(inboxes: Iterable<{ appId: AppId; id: number; isDue: boolean }>): void;
}

export class Batch {
  readonly #at: Date;
  readonly #isKnown: boolean;
  readonly #isTold: Audience['isTold'];
  readonly #inboxes = new Map<number, TouchedInbox>();
  readonly #messages: Message[] = [];
  /** Per unit and recipient: the message, or what came of it without one. */
  readonly #results: (NewMessage | Stored | ImidError)[][] = [];
  /** Inboxes that were found by two names: at least one of them has moved since. */
  readonly #contradictory: TouchedInbox[] = [];

  /** `isKnown`: what was stored under the ids has been looked up. */
  constructor(at: Date, units: readonly Unit[], isKnown: boolean, isTold: Audience['isTold']) {
    this.#at = at;
    this.#isTold = isTold;
    this.#isKnown = isKnown;
    for (const unit of units) this.#results.push(unit.isList ? this.#addList(unit) : [this.#addSingle(unit)]);
  }

  get size(): number {
    return this.#messages.length;
  }

  #addSingle(unit: Unit): NewMessage | Stored | ImidError {
    const [recipient] = unit.recipients;
    if (unit.known[0]) return unit.known[0];
    return recipient instanceof ImidError ? recipient : this.#push(unit, recipient!, 0);
  }

  /** Somebody who has got the list, or is named twice in it, gets nothing more. */
  #addList(unit: Unit): (NewMessage | Stored | ImidError)[] {
    const { known } = unit;
    const knownAt = new Map(known.map((sent) => [sent.part, sent]));
    const hasIt = new Map<number | undefined, NewMessage | Stored>(
      known.map((sent) => [sent.recipientId, sent]),
    );
    let nextPart = Math.max(-1, ...knownAt.keys()) + 1;
    return unit.recipients.map((recipient, i) => {
      if (recipient instanceof ImidError) return knownAt.get(i) ?? recipient;
      const found = hasIt.get(recipient.id);
      if (found) return found;
      const message = this.#push(unit, recipient, known.length > 0 ? nextPart++ : i);
      hasIt.set(recipient.id, message);
      return message;
    });
  }

  #push(
    { appId, sender, clientId, content, push, trail }: Unit,
    recipient: Located,
    part: number,
  ): NewMessage {
    const isToSelf = recipient.id === sender.id;
    const into = this.#touch(appId, recipient, !isToSelf || this.#isKnown);
    into.receives ||= !isToSelf;
    // Also of a message to oneself: the two may have been found by names that led to one user at different times.
    const from = this.#touch(appId, sender, this.#isKnown);
    const message: Message = {
      id: makeUuid(this.#at),
      sender: from,
      senderStep: isToSelf ? 0 : (from.messages += 1),
      recipient: into,
      recipientStep: (into.messages += 1),
      clientId,
      part,
      content,
      push,
      trail,
    };
    this.#messages.push(message);
    return message;
  }

  #touch(appId: AppId, { id, expectedName }: Located, mayBeMerging: boolean): TouchedInbox {
    let inbox = this.#inboxes.get(id);
    if (!inbox) {
      inbox = {
        appId,
        id,
        messages: 0,
        receives: false,
        isTold: this.#isTold(appId),
        expectedName,
        mayBeMerging,
        base: 0,
        party: undefined,
        blocksVersion: 0,
        isDue: false,
      };
      this.#inboxes.set(id, inbox);
      return inbox;
    }
    inbox.mayBeMerging &&= mayBeMerging;
    inbox.expectedName ??= expectedName;
    if (expectedName !== undefined && inbox.expectedName !== expectedName) this.#contradictory.push(inbox);
    return inbox;
  }

  /** Stores all or nothing; gives back the rows of those users who were not what they were taken for. */
  async insert(database: Database): Promise<ReadonlySet<number>> {
    let inTheWay = this.#contradictory;
    if (inTheWay.length === 0 && this.#messages.length > 0)
      inTheWay = await rerun(() =>
        insertMessages(database.pipeline, this.#inboxes.values(), this.#messages, this.#at),
      );
    return new Set(inTheWay.map((inbox) => inbox.id));
  }

  get inboxes(): readonly TouchedInbox[] {
    return [...this.#inboxes.values()];
  }

  announce(audience: Audience): void {
    for (const message of this.#messages) {
      const { sender, recipient, trail } = message;
      trail?.stored(message.id, recipient.base + message.recipientStep);
      const hearsSent = sender !== recipient && audience.hears(sender.id);
      const hearsReceived = audience.hears(recipient.id);
      if (!hearsSent && !hearsReceived) continue;
      const entry = {
        messageId: message.id,
        senderId: sender.id,
        clientId: message.clientId,
        from: sender.party,
        to: recipient.party,
        content: message.content,
        at: this.#at,
        isImported: false,
        isRecalled: false,
        recalls: undefined,
        trail,
      };
      if (hearsSent) {
        const { base, blocksVersion } = sender;
        audience.hear(sender.id, { ...entry, seq: base + message.senderStep, blocksVersion });
      }
      if (hearsReceived) {
        const { base, blocksVersion } = recipient;
        audience.hear(recipient.id, { ...entry, seq: base + message.recipientStep, blocksVersion });
      }
    }
    audience.moved(this.#inboxes.values());
  }

  outcomes(): Outcome[] {
    return this.#results.map((results) =>
      results.map((result) => ('recipientStep' in result ? this.#stored(result) : result)),
    );
  }

  #stored({ id, sender, senderStep, recipient, recipientStep }: NewMessage): Stored {
    const recipientSeq = recipient.base + recipientStep;
    return {
      messageId: id,
      senderSeq: sender === recipient ? recipientSeq : sender.base + senderStep,
      recipientSeq,
      at: this.#at,
    };
  }
}
