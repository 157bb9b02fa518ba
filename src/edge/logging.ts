// How the service logs: one id from request to store, and nothing of what users say.

import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { FastifyRequest } from 'fastify';

/** What the id of a request, or of a send, is called in a line of the log. */
export const ORIGIN = 'origin';

const OWN_ID = /^[\x21-\x7e]{1,64}$/;
/** Keys of this service, JWTs of anybody's, and a password in a URL. */
const CREDENTIALS = /im[aks]_[\w-]{16,}|eyJ[\w-]+(?:\.[\w-]*)*|(?<=:\/\/)[^/@]*@/g;

/** Gives each request an id, which all processes together give once: the caller's own in `x-request-id`, or a fresh one. */
export function createRequestIds(): (request?: Pick<IncomingMessage, 'headers'>) => string {
  const prefix = randomBytes(6).toString('base64url');
  let count = 0;
  return (request) => {
    const own = request?.headers['x-request-id'];
    return typeof own === 'string' && OWN_ID.test(own) && hideCredentials(own) === own
      ? own
      : `${prefix}-${(count += 1).toString(36)}`;
  };
}

/**
 * A request as it is logged. Not its query and its headers, where a client may put its token though it is told not to; the
 * path is not safe from that either.
 */
export function describeRequest({ method, url, ip }: Pick<FastifyRequest, 'method' | 'url' | 'ip'>): {
  method: string;
  path: string;
  remoteAddress: string;
} {
  return { method, path: hideCredentials(url.split('?', 1)[0]!), remoteAddress: ip };
}

function hideCredentials(text: string): string {
  return text.replaceAll(CREDENTIALS, '…');
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
