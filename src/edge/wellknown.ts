// What anyone may read: the public keys, whether the service lives and is ready, and what it counts.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { Registry } from 'prom-client';
import { Type } from 'typebox';
import { ImidError } from '../errors.ts';
import { JWKS_MAX_AGE_SECONDS, type Keys } from '../tokens/keys.ts';
import { sendTagged } from './etags.ts';
import { problems } from './shapes.ts';
import type { Revocations } from '../tokens/revocations.ts';
import { asText } from './streams.ts';

export interface WellKnownOptions {
  keys: Keys;
  revocations: Pick<Revocations, 'requireSight'>;
  metrics: Registry;
  /** What keeps the service from serving, in sentences. */
  findFaults: () => Promise<string[]>;
}

const Status = Type.Object({ status: Type.Literal('ok') }, { examples: [{ status: 'ok' }] });
const tags = ['Service'];

export const wellKnown: FastifyPluginAsyncTypebox<WellKnownOptions> = async (
  app,
  { keys, revocations, metrics, findFaults },
) => {
  app.get(
    '/.well-known/jwks.json',
    {
      config: { tagged: true },
      schema: {
        operationId: 'getJwks',
        summary: 'The public keys that tokens are verified with',
        description:
          'Of the key that signs, of those that will, and of those that did, until the last token of theirs is over. A key is ' +
          `here for longer than a copy may be kept (${JWKS_MAX_AGE_SECONDS} s) before it signs.`,
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
          ...problems('invalid_request', 'unavailable'),
        },
      },
    },
    async (request, reply) => {
      revocations.requireSight(); // a key may be here that was dropped since
      reply.header('access-control-allow-origin', '*');
      reply.header('cache-control', `public, max-age=${JWKS_MAX_AGE_SECONDS}, must-revalidate`);
      return sendTagged(request, reply, keys.jwks());
    },
  );

  app.get(
    '/healthz',
    {
      schema: {
        operationId: 'getHealth',
        summary: 'Whether the process lives',
        description:
          'It does when it answers at all. Says nothing of the database: a new process would not help that.',
        tags,
        security: [],
        response: { 200: { ...Status, description: 'It does.' }, ...problems('invalid_request') },
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
        description:
          'It can when the database answers within a second, has the schema of this version and takes note of this ' +
          'process, and when the service is not shutting down; else `detail` says which of these it is.',
        tags,
        security: [],
        response: {
          200: { ...Status, description: 'It can.' },
          ...problems('invalid_request', 'unavailable'),
        },
      },
    },
    async () => {
      const faults = await findFaults();
      if (faults.length > 0) throw new ImidError('unavailable', faults.join(' '));
      return { status: 'ok' as const };
    },
  );

  app.get(
    '/metrics',
    {
      schema: {
        operationId: 'getMetrics',
        summary: 'What this process counts, for Prometheus',
        description: 'Names no app and no user. What only the database knows is missing while that is away.',
        tags,
        security: [],
        response: {
          200: {
            description: 'In the text format of Prometheus.',
            content: { 'text/plain': asText('imid_connections{scheme="composed",state="foreground"} 1') },
          },
          ...problems('invalid_request'),
        },
      },
    },
    async (_request, reply) => reply.type(metrics.contentType).send(await metrics.metrics()),
  );
};
