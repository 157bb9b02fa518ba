// Answers what a connection has sent, by the client's own ids: a message where its seq comes in the inbox that is shown.
// Invariant: whatever is expected is answered once, and what is sent twice is answered twice.

import type { InboxEntry } from '../store/messages.ts';
import type { Delivery } from './delivery.ts';
import { sentFrame } from './frames.ts';
import type { Peer } from './peer.ts';

/** What was stored for an id, as its sender is told. */
export interface Answer {
  messageId: string;
  senderSeq: number;
  at: Date;
  /** The id under which it was stored, where that may be another one. */
  clientId?: string;
}

/** What it needs to know of how far the inbox is shown. */
type Reach = Pick<Delivery, 'run' | 'cursor' | 'reach'>;

export class Answers {
  readonly #peer: Pick<Peer, 'send'>;
  readonly #delivery: Reach;
  readonly #expected = new Map<string, number>();
  /** By the message: ids under which a recall was repeated that is still to be shown. */
  readonly #repeated = new Map<string, string[]>();

  constructor(peer: Pick<Peer, 'send'>, delivery: Reach) {
    this.#peer = peer;
    this.#delivery = delivery;
  }

  /** Which inbox is shown: what is stored in one before is answered when it comes in this one. */
  get run(): number {
    return this.#delivery.run;
  }

  expect(id: string): void {
    this.#expected.set(id, (this.#expected.get(id) ?? 0) + 1);
  }

  /** Takes one of this id off; false when none is expected. */
  take(id: string): boolean {
    const count = this.#expected.get(id);
    if (count === undefined) return false;
    if (count === 1) this.#expected.delete(id);
    else this.#expected.set(id, count - 1);
    return true;
  }

  /** It is stored, in the inbox of `run`: a fresh one is answered when its seq comes; what lies behind us right here. */
  settle(id: string, run: number, { messageId, senderSeq: seq, at, clientId = id }: Answer): void {
    const isHere = run === this.#delivery.run;
    if (isHere && seq <= this.#delivery.cursor) {
      if (this.take(id)) this.#peer.send(sentFrame({ id, messageId, seq, at }));
      return;
    }
    // Recalled under another id, it is answered right behind that one.
    if (clientId !== id) this.#repeated.set(messageId, [...(this.#repeated.get(messageId) ?? []), id]);
    if (isHere) this.#delivery.reach(seq);
  }

  /** An entry of the user's own has come; false when none of its id is expected here. */
  show({ clientId: id, messageId, recalls = messageId, seq, at }: InboxEntry): boolean {
    if (!this.take(id)) return false;
    const sent = sentFrame({ id, messageId: recalls, seq, at });
    do this.#peer.send(sent);
    while (this.take(id));
    return true;
  }

  /** An entry was shown: answers those that wait for it under another id. */
  showRepeated({ recalls: messageId, seq, at }: InboxEntry): void {
    if (messageId === undefined || this.#repeated.size === 0) return;
    for (const id of this.#repeated.get(messageId) ?? [])
      if (this.take(id)) this.#peer.send(sentFrame({ id, messageId, seq, at }));
    this.#repeated.delete(messageId);
  }
}
