// What anyone may read: the public keys, and whether the service lives and is ready.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { ImidError } from '../errors.ts';
import type { Keys } from '../tokens/keys.ts';
import { problems } from './shapes.ts';

export interface WellKnownOptions {
  keys: Keys;
  /** Throws when the database is out of reach. */
  ping: () => Promise<void>;
  isDraining: () => boolean;
}

const Status = Type.Object({ status: Type.Literal('ok') }, { examples: [{ status: 'ok' }] });
const tags = ['Service'];
const JWKS_MAX_AGE_SECONDS = 300;

export const wellKnown: FastifyPluginAsyncTypebox<WellKnownOptions> = async (
  app,
  { keys, ping, isDraining },
) => {
  app.get(
    '/.well-known/jwks.json',
    {
      schema: {
        operationId: 'getJwks',
        summary: 'The public keys that tokens are verified with',
        tags,
        security: [],
        response: {
          200: Type.Object(
            { keys: Type.Array(Type.Object({}, { additionalProperties: true })) },
            {
              description: 'A JWK set, RFC 7517.',
              examples: [
                { keys: [{ kty: 'EC', crv: 'P-256', alg: 'ES256', use: 'sig', kid: '…', x: '…', y: '…' }] },
              ],
            },
          ),
        },
      },
    },
    async (_request, reply) => {
      reply.header('cache-control', `public, max-age=${JWKS_MAX_AGE_SECONDS}`);
      return keys.jwks();
    },
  );

  app.get(
    '/healthz',
    {
      schema: {
        operationId: 'getHealth',
        summary: 'Whether the process lives',
        tags,
        security: [],
        response: { 200: { ...Status, description: 'It does.' } },
      },
    },
    async () => ({ status: 'ok' as const }),
  );

  app.get(
    '/readyz',
    {
      schema: {
        operationId: 'getReadiness',
        summary: 'Whether the service can take requests',
        description: 'It can when the database answers and it is not shutting down.',
        tags,
        security: [],
        response: { 200: { ...Status, description: 'It can.' }, ...problems('unavailable') },
      },
    },
    async () => {
      if (isDraining()) throw new ImidError('unavailable', 'The service is shutting down.');
      await ping();
      return { status: 'ok' as const };
    },
  );
};
