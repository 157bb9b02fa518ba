// Identities: registering userIds, looking users up in either scheme, renaming and erasing them.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { ImidError } from '../errors.ts';
import type { Scheme } from '../ids.ts';
import { describe, isOwn, readAddress, type AppSchemes } from '../identity/schemes.ts';
import type { Directory, Filter, Found } from '../identity/directory.ts';
import type { Registry } from '../identity/registry.ts';
import type { Router } from '../routing/router.ts';
import { sendTagged } from './etags.ts';
import { readNameCursor, readNumberCursor, toNameKey, toPage } from './paging.ts';
import {
  Adopt,
  AppPath,
  BOB,
  Cursor,
  EXAMPLE_AT,
  Limit,
  list,
  Name,
  NamePrefix,
  backendProblems,
  SchemeName,
  Timestamp,
  UserPath,
} from './shapes.ts';
import { invalid } from './validation.ts';

export const identityFields = {
  imId: Type.String(),
  scheme: SchemeName,
  uid: Type.Optional(Type.String({ description: 'Of a composed user.' })),
  userId: Type.Optional(Type.String({ description: 'Of a registered user.' })),
};

export const identityExample = { ...BOB, scheme: 'registered', createdAt: EXAMPLE_AT };

export const Identity = Type.Object(
  {
    ...identityFields,
    createdAt: Type.Optional({
      ...Timestamp,
      description: 'Absent while nothing is stored of a composed user.',
    }),
    formerName: Type.Optional(Type.String({ description: 'In answers to `?formerName=`.' })),
    heldFrom: Type.Optional({
      ...Timestamp,
      description: 'Since when it had the former name, if it got it by a renaming.',
    }),
    heldUntil: Type.Optional({ ...Timestamp, description: 'Until when it had the former name.' }),
  },
  { examples: [identityExample] },
);

const Registered = Type.Object({ ...identityFields, createdAt: Timestamp }, { examples: [identityExample] });

export function toAnswer(app: AppSchemes, user: Found & { createdAt?: Date }) {
  return { ...describe(app, user), ...(user.createdAt && { createdAt: user.createdAt.toISOString() }) };
}

const tags = ['Identities'];

export interface IdentitiesOptions {
  directory: Directory;
  registry: Registry;
  router: Router;
}

export const identities: FastifyPluginAsyncTypebox<IdentitiesOptions> = async (
  app,
  { directory, registry, router },
) => {
  app.post(
    '/identities',
    {
      config: { scope: 'identities', idempotent: true },
      schema: {
        operationId: 'registerIdentity',
        summary: 'Register a userId and get its imId',
        description:
          'The same userId always gets the same imId, also under a race. If the userId is in use as a uid, that user ' +
          'is adopted: one user, one inbox, reached by either scheme from that instant, nobody logged out. ' +
          '`adopt: false` refuses that; `adopt: {uid}` adopts another user and gives it this name.',
        tags,
        params: AppPath,
        body: Type.Object(
          {
            userId: Name,
            adopt: Type.Optional({ ...Adopt, default: true }),
          },
          { additionalProperties: false, examples: [{ userId: 'bob' }] },
        ),
        response: {
          200: { ...Registered, description: 'It was registered before.' },
          201: { ...Registered, description: 'Registered now.' },
          ...backendProblems('conflict', 'scheme_disabled', 'payload_too_large'),
        },
      },
    },
    async (request, reply) => {
      const { userId, adopt = true } = request.body;
      const { user, status, createdAt } = await registry.register(
        request.tenant,
        { userId, adopt },
        request.actor,
      );
      return reply
        .code(status === 'existing' ? 200 : 201)
        .send({ ...describe(request.tenant, user), createdAt: createdAt.toISOString() });
    },
  );

  app.get(
    '/identities',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'listIdentities',
        summary: 'List the users, or find one',
        tags,
        params: AppPath,
        description:
          'In the order they came; with `namePrefix`, by name, byte by byte. A page goes on where the one before ended, ' +
          'whatever is registered in between.',
        querystring: Type.Object(
          {
            userId: Type.Optional({ ...Name, description: 'Finds the registered user of this name.' }),
            formerName: Type.Optional({
              ...Name,
              description: 'Finds those who had this name before, with times.',
            }),
            scheme: Type.Optional({
              ...SchemeName,
              description: 'composed: without a registered imId; registered: with one.',
            }),
            namePrefix: Type.Optional({ ...NamePrefix, description: 'What the uid or userId begins with.' }),
            createdFrom: Type.Optional({ ...Timestamp, description: 'Created then or later.' }),
            createdBefore: Type.Optional({ ...Timestamp, description: 'Created earlier.' }),
            limit: Type.Optional(Limit),
            cursor: Type.Optional({ ...Cursor, maxLength: 300 }),
          },
          { additionalProperties: false },
        ),
        response: {
          200: { ...list(Identity), description: 'A page.' },
          ...backendProblems('scheme_disabled'),
        },
      },
    },
    async ({ tenant, query }) => {
      const { userId, formerName, limit = 100, cursor, ...filters } = query;
      refuseMixed(query);
      if (userId !== undefined) {
        const [found] = await directory.lookUp(tenant, [{ userId }]);
        if (!(found instanceof ImidError))
          return { items: [toAnswer(tenant, await directory.date(tenant.id, found!))] };
        if (found.code !== 'not_found') throw found;
        return { items: [] };
      }
      if (formerName !== undefined) {
        const holders = await directory.formerHolders(tenant.id, formerName);
        return {
          items: holders.map(({ user, name, heldFrom, heldUntil }) => ({
            ...toAnswer(tenant, user),
            formerName: name,
            ...(heldFrom && { heldFrom: heldFrom.toISOString() }),
            heldUntil: heldUntil.toISOString(),
          })),
        };
      }
      const isByName = filters.namePrefix !== undefined;
      const after = isByName ? { name: readNameCursor(cursor) } : { id: readNumberCursor(cursor) };
      const users = await directory.list(tenant.id, readFilter(filters), after, limit + 1);
      return toPage(
        users,
        limit,
        (user) => (isByName ? toNameKey(user.name) : user.id),
        (user) => toAnswer(tenant, user),
      );
    },
  );

  app.get(
    '/identities/:imId',
    {
      config: { scope: 'read', tagged: true },
      schema: {
        operationId: 'getIdentity',
        summary: 'Look an imId up, in either scheme',
        tags,
        params: UserPath,
        response: {
          200: { ...Identity, description: 'The user as it is called now.' },
          ...backendProblems('scheme_disabled'),
        },
      },
    },
    async (request, reply) => {
      const { tenant, params } = request;
      const user = await directory.find(tenant, { imId: params.imId });
      return sendTagged(request, reply, toAnswer(tenant, await directory.date(tenant.id, user)));
    },
  );

  app.delete(
    '/identities/:imId',
    {
      config: { scope: 'identities' },
      schema: {
        operationId: 'eraseIdentity',
        summary: 'Erase a user',
        description:
          'Its inbox, devices, contacts and tokens go, its sockets close, its names are free. Messages that others got ' +
          'from it stay with them, with the sender shown as erased; with `content=erase` their content becomes null, ' +
          'while every seq stays. The audit trail keeps that it was done, not to whom.',
        tags,
        params: UserPath,
        querystring: Type.Object(
          {
            content: Type.Optional(
              Type.String({
                enum: ['keep', 'erase'],
                default: 'keep',
                description: 'Of what it sent to others.',
              }),
            ),
          },
          { additionalProperties: false },
        ),
        response: {
          204: Type.Null({ description: 'Erased.' }),
          ...backendProblems('conflict', 'scheme_disabled', 'payload_too_large'),
        },
      },
    },
    async ({ tenant, params, query, actor }, reply) => {
      const user = await directory.find(tenant, { imId: params.imId });
      if (!isOwn(user, readAddress(tenant, { imId: params.imId })))
        throw new ImidError('conflict', 'This imId came to another user by a merger; erase it by its own.', {
          errors: [{ in: 'path', pointer: '#/imId', detail: 'is another user’s since a merger' }],
        });
      const blanksContent = query.content === 'erase';
      const erased = await registry.erase(tenant, user, { blanksContent, actor });
      router.disconnect(tenant.id, erased.rowIds);
      await registry.clear(tenant, erased);
      return reply.code(204).send(null);
    },
  );
};

const FILTERS = ['scheme', 'namePrefix', 'createdFrom', 'createdBefore', 'cursor'] as const;

/** `userId` and `formerName` find on their own; beside them nothing else counts, so nothing else is taken. */
function refuseMixed(
  query: Partial<Record<'userId' | 'formerName' | (typeof FILTERS)[number], unknown>>,
): void {
  const [single, ...others] = (['userId', 'formerName', ...FILTERS] as const).filter(
    (name) => query[name] !== undefined,
  );
  if ((single === 'userId' || single === 'formerName') && others.length > 0)
    throw invalid(
      others.map((name) => ({
        in: 'query',
        pointer: `#/${name}`,
        detail: `can’t be asked for together with ${single}`,
      })),
    );
}

function readFilter(query: {
  scheme?: Scheme;
  namePrefix?: string;
  createdFrom?: string;
  createdBefore?: string;
}): Filter {
  const { scheme, namePrefix, createdFrom, createdBefore } = query;
  return {
    scheme,
    namePrefix,
    createdFrom: createdFrom === undefined ? undefined : new Date(createdFrom),
    createdBefore: createdBefore === undefined ? undefined : new Date(createdBefore),
  };
}
