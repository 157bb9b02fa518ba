// Follows sends from where they come in to the connections they are shown to: for traces, and for logs at level debug.
// Where nobody follows there is no trail, and a send costs no more than a look at that.
// Invariant: neither contents, nor tokens, nor who a user is get into a trail.

import type { ImidError } from '../errors.ts';
import type { Way } from './meters.ts';

/** Where a send comes from. */
export interface Origin {
  /** The one id from request to store: that of the request, or `<connectionId>/<id of the frame>`. */
  id: string;
  way: Way;
  /** Of the trace that a request belongs to (W3C Trace Context). */
  traceparent?: string | undefined;
}

/** One send on its way; told of each step when it is done. None of these throws. */
export interface Trail {
  /** Its users are found: it waits to be stored. */
  located(): void;
  /** One of its messages is committed, with this seq in the recipient's inbox. */
  stored(messageId: string, seq: number): void;
  /** A message was shown to a connection of this process right after its commit. */
  delivered(messageId: string, seq: number, connectionId: string): void;
  /** It is answered. */
  ended(error?: ImidError): void;
}

export interface Tracing {
  /** Undefined: this send isn't followed. */
  begin(origin: Origin): Trail | undefined;
  /** A statement is under way that stores these sends; it settles with the promise. */
  flush(trails: readonly Trail[], inserting: Promise<unknown>): void;
}

/** Writes a line for each step, with the id of the send, and passes it on to who makes traces. */
export function createLogTracing(
  log: (fields: object, message: string) => void,
  traces: Tracing | undefined,
): Tracing {
  const inner = new WeakMap<Trail, Trail>();
  return {
    begin(origin) {
      const fields = { origin: origin.id };
      const traced = traces?.begin(origin);
      log({ ...fields, by: origin.way }, 'a send was received');
      const trail: Trail = {
        located: () => traced?.located(),
        stored(messageId, seq) {
          log({ ...fields, messageId, seq }, 'a message was stored');
          traced?.stored(messageId, seq);
        },
        delivered(messageId, seq, connectionId) {
          log({ ...fields, messageId, seq, connectionId }, 'a message was delivered');
          traced?.delivered(messageId, seq, connectionId);
        },
        ended(error) {
          log({ ...fields, ...(error && { code: error.code }) }, 'a send was answered');
          traced?.ended(error);
        },
      };
      if (traced) inner.set(trail, traced);
      return trail;
    },
    flush: (trails, inserting) =>
      traces?.flush(
        trails.flatMap((trail) => inner.get(trail) ?? []),
        inserting,
      ),
  };
}
