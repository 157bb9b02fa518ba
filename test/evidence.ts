// What clients and backends saw of a service, word for word, and what it has stored in the end. test/verdict.ts judges it.

import type { Json } from './harness.ts';

export interface Evidence {
  readonly witnesses: readonly Witness[];
  readonly backends: readonly Backend[];
  /** By uid, everybody who sent or was sent to: the whole inbox as a backend reads it. */
  readonly inboxes: ReadonlyMap<string, readonly Json[]>;
}

/** A client: one device of one user. */
export interface Witness {
  readonly uid: string;
  readonly device: string;
  readonly connections: readonly Connection[];
}

/** One try to connect, and what came of it. */
export interface Connection {
  /** What it was to resume behind. */
  readonly after: number;
  /** Every frame of both directions, in the order in which it was sent or came. */
  readonly frames: readonly ({ out: Json } | { in: Json })[];
  /** The status that the upgrade was refused with. */
  readonly refused?: number;
  /** The close code; 1006 where there was none. */
  readonly closed?: number;
}

/** A backend that sends one message after the other over REST, each until it is answered. */
export interface Backend {
  readonly name: string;
  /** In order. Without a status the call got no answer. */
  readonly calls: readonly { request: Json; status?: number; body?: Json }[];
}

/** Everything that was said of one message: an id of somebody's own, which is in its content as well. */
export interface Send {
  readonly id: string;
  /** Whose order it stands in. */
  readonly client: string;
  readonly from: string;
  readonly to: string;
  readonly content: Json;
  readonly attempts: Attempt[];
}

export interface Attempt {
  /** Among all attempts of its client. */
  readonly place: number;
  /** On which connection; a call is one of its own. */
  readonly connection: number;
  answer: Answer | undefined;
}

export type Answer =
  | { type: 'sent'; inboxOf: string; seq: number; messageId: string; at: string }
  | { type: 'error'; code: string };

/** What is told by no message that was sent can't be of one. */
export function readSends({ witnesses, backends }: Evidence): Map<string, Send> {
  const sends = new Map<string, Send>();
  const find = (send: Omit<Send, 'attempts'>): Send => {
    const found = sends.get(send.id) ?? { ...send, attempts: [] };
    sends.set(send.id, found);
    return found;
  };
  for (const witness of witnesses) {
    const client = nameOf(witness);
    let place = 0;
    for (const [connection, { frames }] of witness.connections.entries())
      for (const frame of frames) {
        if ('out' in frame && frame.out.type === 'send') {
          const { id, to, content } = frame.out;
          const send = find({ id, client, from: witness.uid, to: to.uid, content });
          send.attempts.push({ place: place++, connection, answer: undefined });
        } else if ('in' in frame && frame.in.id !== undefined) {
          const attempt = sends
            .get(frame.in.id)
            ?.attempts.find((each) => each.connection === connection && !each.answer);
          if (attempt) attempt.answer = { ...frame.in, inboxOf: witness.uid };
        }
      }
  }
  for (const { name, calls } of backends)
    for (const [place, { request, status, body }] of calls.entries()) {
      const { id, from, to, content } = request;
      const answer: Answer | undefined =
        status === 201
          ? { type: 'sent', inboxOf: to.uid, ...body }
          : status && { type: 'error', code: body?.code ?? `status ${status}` };
      const send = find({ id, client: name, from: from.uid, to: to.uid, content });
      send.attempts.push({ place, connection: place, answer });
    }
  return sends;
}

export const nameOf = ({ uid, device }: Witness): string => `${uid}/${device}`;
