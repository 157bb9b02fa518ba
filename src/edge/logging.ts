// How the service logs: one id from request to store, and nothing of what users say.

import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** What the id of a request, or of a send, is called in a line of the log. */
export const ORIGIN = 'origin';

const OWN_ID = /^[\x21-\x7e]{1,64}$/;

/** Gives each request an id, which all processes together give once: the caller's own in `x-request-id`, or a fresh one. */
export function createRequestIds(): (request?: Pick<IncomingMessage, 'headers'>) => string {
  const prefix = randomBytes(6).toString('base64url');
  let count = 0;
  return (request) => {
    const own = request?.headers['x-request-id'];
    return typeof own === 'string' && OWN_ID.test(own) ? own : `${prefix}-${(count += 1).toString(36)}`;
  };
}

interface LoggedError {
  type: string;
  message: string;
  stack: string;
  [more: string]: unknown;
}

/**
 * An error as it is logged: what it is and where. Not what else it carries, since Postgres quotes rows in that, HTTP the
 * bytes it could not read, and JWT the claims.
 */
export function describeError(error: unknown): LoggedError {
  if (!(error instanceof Error)) return { type: typeof error, message: String(error), stack: '' };
  const code = 'code' in error ? { code: error.code } : {};
  const constraint = 'constraint' in error ? { constraint: error.constraint } : {};
  return {
    type: error.name,
    message: error.message,
    stack: error.stack ?? '',
    ...code,
    ...constraint,
    ...(error.cause instanceof Error && { cause: describeError(error.cause) }),
    ...(error instanceof AggregateError && { errors: error.errors.map(describeError) }),
  };
}
