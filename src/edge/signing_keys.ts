// The keys that tokens are signed with, for admins. Shows no private half.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Keys, SigningKeyRow } from '../tokens/keys.ts';
import { signingAlgs } from '../tokens/signing.ts';
import { EXAMPLE_AT, problems, Timestamp } from './shapes.ts';

const EXAMPLE_KID = 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs';

const SigningKey = Type.Object(
  {
    kid: Type.String({ description: 'The thumbprint of RFC 7638.' }),
    alg: Type.String({ enum: [...signingAlgs] }),
    state: Type.String({
      enum: ['next', 'current', 'retired'],
      description: 'Whether it will sign, signs, or only verifies what it signed.',
    }),
    createdAt: Timestamp,
    currentSince: Type.Optional({ ...Timestamp, description: 'Since when it signs, or did.' }),
    retiredAt: Type.Optional({ ...Timestamp, description: 'When it last signed.' }),
    verifiesUntil: Type.Optional({
      ...Timestamp,
      description: 'When the last token that it may have signed is over, and it is dropped.',
    }),
  },
  { examples: [{ kid: EXAMPLE_KID, alg: 'ES256', state: 'next', createdAt: EXAMPLE_AT }] },
);
const SigningKeys = Type.Object(
  { items: Type.Array(SigningKey) },
  { examples: [{ items: [{ kid: EXAMPLE_KID, alg: 'ES256', state: 'next', createdAt: EXAMPLE_AT }] }] },
);

const tags = ['Signing keys'];
const refusals = ['invalid_request', 'unauthorized', 'forbidden', 'unavailable'] as const;

export const signingKeys: FastifyPluginAsyncTypebox<{ keys: Keys }> = async (app, { keys }) => {
  const toAnswer = (row: SigningKeyRow) => {
    const end = keys.endOf(row);
    return {
      kid: row.kid,
      alg: row.alg,
      state: row.state,
      createdAt: row.created_at.toISOString(),
      ...(row.current_since && { currentSince: row.current_since.toISOString() }),
      ...(row.retired_at && { retiredAt: row.retired_at.toISOString() }),
      ...(end && { verifiesUntil: end.toISOString() }),
    };
  };
  const listed = () => ({ items: keys.list().map(toAnswer) });

  app.get(
    '/keys',
    {
      schema: {
        operationId: 'listSigningKeys',
        summary: 'List the keys that tokens are signed with',
        tags,
        response: {
          200: { ...SigningKeys, description: 'In the order in which they were made.' },
          ...problems(...refusals),
        },
      },
    },
    async () => listed(),
  );

  app.post(
    '/keys/rotate',
    {
      config: { idempotent: true },
      schema: {
        operationId: 'rotateSigningKeys',
        summary: 'Let the next key sign',
        description:
          'The one that signed until now verifies what it signed until that is over, and another one stands by. A conflict, ' +
          'while copies of the JWKS may be about that don’t have the next key yet.',
        tags,
        response: {
          200: { ...SigningKeys, description: 'The keys as they are now.' },
          ...problems(...refusals, 'conflict', 'payload_too_large'),
        },
      },
    },
    async (request) => {
      await keys.rotate(request.actor);
      return listed();
    },
  );

  app.delete(
    '/keys/:kid',
    {
      schema: {
        operationId: 'revokeSigningKey',
        summary: 'Drop a key in an emergency, with all that it signed',
        description:
          'Its tokens are refused from now on, and the connections that were opened with them are closed, on every process ' +
          'within a second. In place of the current key the next one signs at once. Who verifies offline takes the tokens ' +
          'for as long as a copy of the JWKS may be kept.',
        tags,
        params: Type.Object({
          kid: Type.String({
            minLength: 1,
            maxLength: 100,
            examples: [EXAMPLE_KID],
            description: 'As `GET /v1/keys` lists it.',
          }),
        }),
        response: {
          204: Type.Null({ description: 'Dropped.' }),
          ...problems(...refusals, 'not_found', 'payload_too_large'),
        },
      },
    },
    async (request, reply) => {
      await keys.revoke(request.params.kid, request.actor);
      return reply.code(204).send(null);
    },
  );
};
