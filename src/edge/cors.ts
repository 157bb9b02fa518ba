// Which pages may read what a client's token is answered: those that the app lets connect. An answer to a preflight, or to
// a token that is refused, tells nothing that isn't known, so that any page is let see why it gets no further.

import type { FastifyCorsOptions } from '@fastify/cors';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { App } from '../identity/apps.ts';
import { isAllowedOrigin } from './origins.ts';

/** As long as browsers keep it at most. */
const PREFLIGHT_SECONDS = 7_200;

/**
 * To be registered before the credential is asked for, in a scope whose prefix is that of its routes, since every OPTIONS
 * below that is taken for a preflight.
 */
export const forPages: FastifyCorsOptions = {
  origin: true,
  strictPreflight: false,
  methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
  allowedHeaders: [
    'Authorization',
    'Content-Type',
    'Idempotency-Key',
    'If-Match',
    'If-None-Match',
    'X-Request-Id',
  ],
  exposedHeaders: [
    'ETag',
    'RateLimit',
    'RateLimit-Policy',
    'Retry-After',
    'WWW-Authenticate',
    'X-Request-Id',
  ],
  maxAge: PREFLIGHT_SECONDS,
};

/** Behind the check of the token: from here on the answer is for pages of its app alone. */
export function withholdFromOtherPages(request: FastifyRequest, reply: FastifyReply, done: () => void): void {
  keepForPagesOf(request.admitted.app, request, reply);
  done();
}

/** The answer is for pages of this app alone. */
export function keepForPagesOf(app: App, { headers: { origin } }: FastifyRequest, reply: FastifyReply): void {
  if (!isAllowedOrigin(app, origin))
    reply.removeHeader('access-control-allow-origin').removeHeader('access-control-expose-headers');
}
