// How long a client may take to say what it wants: who sends a byte now and then must not hold a connection for ever.

import type { FastifyReply, FastifyRequest } from 'fastify';
import { ImidError } from '../errors.ts';

export interface Timeouts {
  /** For the request line and headers, from the connection's opening or the request before. */
  headersMs: number;
  /** For a body that is read as a whole, and for the rest of one that isn't read any more. */
  bodyMs: number;
  /** Between two pieces of a body that may have any length, and of an answer that isn't read. */
  idleMs: number;
  /** Between two requests. */
  keepAliveMs: number;
}

/** The times that are given, and for each other one its default. */
export function completeTimeouts({
  headersMs = 15_000,
  bodyMs = 30_000,
  idleMs = 60_000,
  keepAliveMs = 72_000,
}: { [Name in keyof Timeouts]?: Timeouts[Name] | undefined } = {}): Timeouts {
  return { headersMs, bodyMs, idleMs, keepAliveMs };
}

/** All others are read as they come in. */
const WHOLE = /^application\/(json|x-www-form-urlencoded)\b/i;

export function createBodyTimeouts({ bodyMs, idleMs }: Timeouts) {
  return {
    /** A hook before a body is read: one that is read as a whole has to be there in time. */
    limitWhole(
      { raw, headers }: FastifyRequest,
      reply: FastifyReply,
      _body: unknown,
      done: () => void,
    ): void {
      if (!raw.complete && WHOLE.test(headers['content-type'] ?? '')) {
        const timer = setTimeout(() => {
          // Told to who reads it, which lets it be answered; destroying it would close the connection. Where nobody reads
          // it, it was answered, and nobody listens.
          if (!reply.sent && raw.listenerCount('error') > 0) raw.emit('error', tooLate('The body'));
        }, bodyMs);
        timer.unref();
        raw.once('end', () => clearTimeout(timer)).once('close', () => clearTimeout(timer));
      }
      done();
    },

    /** A hook for when an answer begins: who doesn't read it must not hold what it comes from. */
    closeUnreading(
      _request: FastifyRequest,
      { raw }: FastifyReply,
      payload: unknown,
      done: (error: null, payload: unknown) => void,
    ): void {
      raw.setTimeout(idleMs, () => {
        // Else it is our turn, however long that takes.
        if ((raw.socket?.writableLength ?? 0) > 0) raw.destroy();
      });
      done(null, payload);
    },

    /** A hook for when a request was answered: what still comes of it is let go by, though not for ever. */
    closeUnread({ raw }: FastifyRequest, _reply: FastifyReply, done: () => void): void {
      if (!raw.complete && !raw.destroyed) {
        const timer = setTimeout(() => {
          // All of it has come, and the connection is another request's by now.
          if (!raw.complete) raw.destroy();
        }, bodyMs);
        timer.unref();
        raw.once('close', () => clearTimeout(timer));
      }
      done();
    },
  };
}

/** What comes in, piece by piece; throws `request_timeout` where the next one doesn't come. */
export async function* readPatiently<T>(pieces: AsyncIterator<T>, idleMs: number): AsyncGenerator<T> {
  let isWaiting = false;
  try {
    for (;;) {
      const late = Promise.withResolvers<never>();
      const timer = setTimeout(() => late.reject(tooLate('The next piece of the body')), idleMs);
      isWaiting = true;
      const step = await Promise.race([pieces.next(), late.promise]).finally(() => clearTimeout(timer));
      isWaiting = false;
      if (step.done) return;
      yield step.value;
    }
  } finally {
    // Lets go of the stream, so that the rest can flow by; one that is waited for can't be let go of.
    if (!isWaiting) await pieces.return?.();
  }
}

function tooLate(what: string): ImidError {
  return new ImidError('request_timeout', `${what} did not arrive in time.`);
}
