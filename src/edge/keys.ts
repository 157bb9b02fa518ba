// API keys of an app: several may live at once, so that one can be rotated without a gap.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { ImidError } from '../errors.ts';
import { scopes, type ApiKey, type ApiKeys, type Scope } from '../tokens/api_keys.ts';
import { readCursor, toPage } from './paging.ts';
import {
  AppIdText,
  AppPath,
  Cursor,
  EXAMPLE_AT,
  Label,
  Limit,
  list,
  backendProblems,
  Timestamp,
} from './shapes.ts';

const Scopes = Type.Array(Type.Unsafe<Scope>(Type.String({ enum: [...scopes] })), {
  minItems: 1,
  uniqueItems: true,
  description: 'What the key may do. Needed of a key that changes apps or keys: all of them.',
});

const keyFields = {
  keyId: Type.String(),
  name: Type.String(),
  scopes: Type.Array(Type.String()),
  createdAt: Timestamp,
  expiresAt: Type.Optional({ ...Timestamp, description: 'From when on it is refused.' }),
};
const listedFields = {
  ...keyFields,
  lastUsedAt: Type.Optional({
    ...Timestamp,
    description: 'When it was used last, to the minute; absent if it never was.',
  }),
};
const EXAMPLE_EXPIRY = '2036-05-01T00:00:00.000Z';
const EXAMPLE_KEY_ID = '6f3a9c0d1e2b4857';
const example = { keyId: EXAMPLE_KEY_ID, name: 'from May on', scopes: [...scopes], createdAt: EXAMPLE_AT };

const toAnswer = (key: ApiKey) => ({
  keyId: key.id,
  name: key.name,
  scopes: key.scopes,
  createdAt: key.createdAt.toISOString(),
  ...(key.expiresAt && { expiresAt: key.expiresAt.toISOString() }),
});

const tags = ['Keys'];

export const keys: FastifyPluginAsyncTypebox<{ apiKeys: ApiKeys }> = async (app, { apiKeys }) => {
  app.post(
    '/keys',
    {
      config: { idempotent: 'ofActor', audit: 'key.create' },
      schema: {
        operationId: 'createKey',
        summary: 'Create an API key',
        description:
          'The key is shown this once. A key gives no scope that it lacks, and no longer life than it has: one that expires ' +
          'can’t create one that outlives it.',
        tags,
        params: AppPath,
        body: Type.Object(
          {
            name: Label,
            scopes: Type.Optional(Scopes),
            expiresAt: Type.Optional({
              ...Timestamp,
              description: 'From when on it is refused; without it, it lives until it is deleted.',
              examples: [EXAMPLE_EXPIRY],
            }),
          },
          { additionalProperties: false, examples: [{ name: 'from May on', scopes: [...scopes] }] },
        ),
        response: {
          201: Type.Object(
            { ...keyFields, apiKey: Type.String() },
            { description: 'Created.', examples: [{ ...example, apiKey: 'imk_…' }] },
          ),
          ...backendProblems('conflict', 'payload_too_large'),
        },
      },
    },
    async (request, reply) => {
      const { name, scopes: wanted = scopes, expiresAt: expiry } = request.body;
      const beyond = wanted.find((scope) => !request.granted.includes(scope));
      if (beyond) throw new ImidError('forbidden', `A key can't give a scope that it lacks: ${beyond}.`);
      const expiresAt = expiry === undefined ? undefined : new Date(expiry);
      const until = request.grantedUntil;
      if (until && (expiresAt === undefined || expiresAt > until))
        throw new ImidError(
          'forbidden',
          `A key can't give a longer life than it has: expiresAt may be ${until.toISOString()} at most.`,
        );
      const key = await apiKeys.create(request.tenant.id, { name, scopes: wanted, expiresAt });
      request.audited = { target: key.id };
      return reply.code(201).send({ ...toAnswer(key), apiKey: key.apiKey });
    },
  );

  app.get(
    '/keys',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'listKeys',
        summary: 'List the API keys, without their secrets',
        tags,
        params: AppPath,
        querystring: Type.Object(
          { limit: Type.Optional(Limit), cursor: Type.Optional(Cursor) },
          { additionalProperties: false },
        ),
        response: {
          200: { ...list(Type.Object(listedFields, { examples: [example] })), description: 'A page.' },
          ...backendProblems(),
        },
      },
    },
    async ({ tenant, query: { limit = 100, cursor } }) =>
      toPage(
        await apiKeys.list(tenant.id, readCursor(cursor) ?? '', limit + 1),
        limit,
        (key) => key.id,
        (key) => ({ ...toAnswer(key), ...(key.lastUsedAt && { lastUsedAt: key.lastUsedAt.toISOString() }) }),
      ),
  );

  app.delete(
    '/keys/:keyId',
    {
      config: { audit: 'key.delete' },
      schema: {
        operationId: 'deleteKey',
        summary: 'Delete an API key',
        tags,
        params: Type.Object({
          appId: AppIdText,
          keyId: Type.String({
            pattern: '^[0-9a-f]{16}$',
            description: 'As `GET .../keys` lists it.',
            examples: [EXAMPLE_KEY_ID],
          }),
        }),
        response: {
          204: Type.Null({ description: 'Deleted; it is refused from now on.' }),
          ...backendProblems('payload_too_large'),
        },
      },
    },
    async (request, reply) => {
      await apiKeys.remove(request.tenant.id, request.params.keyId);
      request.audited = { target: request.params.keyId };
      return reply.code(204).send(null);
    },
  );
};
