// Which pages may act with a client's token: those that the app lets connect. Any page may read what it is answered, as
// there is nothing in it but why it gets no further.

import type { FastifyCorsOptions } from '@fastify/cors';
import type { FastifyRequest } from 'fastify';
import { ImidError } from '../errors.ts';
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

/** Behind the check of the token: pages of its app alone get further. */
export async function refuseOtherPages(request: FastifyRequest): Promise<void> {
  requirePageOf(request.admitted.app, request);
}

/**
 * Throws `forbidden` for a page that the app doesn't let connect. Browsers say from which page they ask, and let no page say
 * otherwise; who says nothing is no browser.
 */
export function requirePageOf(app: App, { headers: { origin } }: FastifyRequest): void {
  if (!isAllowedOrigin(app, origin))
    throw new ImidError('forbidden', 'The app does not let pages of this origin connect.');
}
