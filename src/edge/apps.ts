// Apps: made and deleted by the admin; an app's own key may read it and change its name and schemes.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { App, Apps } from '../identity/apps.ts';
import type { Router } from '../routing/router.ts';
import { scopes, type ApiKeys } from '../tokens/api_keys.ts';
import { readNumberCursor, toPage } from './paging.ts';
import {
  AppPath,
  Cursor,
  EXAMPLE_AT,
  Label,
  Limit,
  list,
  backendProblems,
  problems,
  SchemeName,
  Timestamp,
} from './shapes.ts';

const Schemes = Type.Array(SchemeName, {
  minItems: 1,
  uniqueItems: true,
  description: 'Which schemes the app uses; the second may be enabled at any time.',
  examples: [['composed', 'registered']],
});

const appFields = {
  appId: Type.String(),
  name: Type.String(),
  schemes: Schemes,
  createdAt: Timestamp,
};
const example = { appId: '1', name: 'chat', schemes: ['composed', 'registered'], createdAt: EXAMPLE_AT };
const AppShape = Type.Object(appFields, { examples: [example] });

const toAnswer = (app: App) => ({
  appId: String(app.id),
  name: app.name,
  schemes: app.schemes,
  createdAt: app.createdAt.toISOString(),
});

const tags = ['Apps'];

export const adminApps: FastifyPluginAsyncTypebox<{ apps: Apps; apiKeys: ApiKeys }> = async (
  app,
  { apps, apiKeys },
) => {
  app.post(
    '/',
    {
      schema: {
        operationId: 'createApp',
        summary: 'Create an app and its first API key',
        description: 'The key is shown this once.',
        tags,
        body: Type.Object(
          { name: Label, schemes: Schemes },
          { additionalProperties: false, examples: [{ name: 'chat', schemes: ['composed', 'registered'] }] },
        ),
        response: {
          201: Type.Object(
            { ...appFields, apiKey: Type.String() },
            { description: 'Created.', examples: [{ ...example, apiKey: 'imk_…' }] },
          ),
          ...problems('invalid_request', 'unauthorized', 'forbidden', 'payload_too_large', 'unavailable'),
        },
      },
    },
    async (request, reply) => {
      const created = await apps.create(request.body);
      const { apiKey } = await apiKeys.create(created.id, { name: 'first', scopes });
      return reply.code(201).send({ ...toAnswer(created), apiKey });
    },
  );

  app.get(
    '/',
    {
      schema: {
        operationId: 'listApps',
        summary: 'List the apps',
        tags,
        querystring: Type.Object(
          { limit: Type.Optional(Limit), cursor: Type.Optional(Cursor) },
          { additionalProperties: false },
        ),
        response: {
          200: { ...list(AppShape), description: 'A page.' },
          ...problems('invalid_request', 'unauthorized', 'forbidden', 'unavailable'),
        },
      },
    },
    async ({ query: { limit = 100, cursor } }) =>
      toPage(await apps.list(readNumberCursor(cursor), limit + 1), limit, (row) => row.id, toAnswer),
  );
};

export const tenantApp: FastifyPluginAsyncTypebox<{ apps: Apps; router: Router }> = async (
  app,
  { apps, router },
) => {
  app.get(
    '/',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'getApp',
        summary: 'Read the app',
        tags,
        params: AppPath,
        response: {
          200: { ...AppShape, description: 'The app.' },
          ...backendProblems(),
        },
      },
    },
    async (request) => toAnswer(request.tenant),
  );

  app.patch(
    '/',
    {
      schema: {
        operationId: 'changeApp',
        summary: 'Change the app’s name or schemes',
        description: 'Needs a key with every scope. A scheme that is disabled again keeps its inboxes whole.',
        tags,
        params: AppPath,
        body: Type.Object(
          { name: Type.Optional(Label), schemes: Type.Optional(Schemes) },
          { additionalProperties: false, examples: [{ schemes: ['composed', 'registered'] }] },
        ),
        response: {
          200: { ...AppShape, description: 'The app as it is now.' },
          ...backendProblems('payload_too_large'),
        },
      },
    },
    async (request) => {
      const { name, schemes } = request.body;
      if (name === undefined && schemes === undefined) return toAnswer(request.tenant);
      return toAnswer(await apps.change(request.tenant.id, request.body));
    },
  );

  app.delete(
    '/',
    {
      config: { scope: 'admin' },
      schema: {
        operationId: 'deleteApp',
        summary: 'Delete the app with everything in it',
        tags,
        params: AppPath,
        response: {
          204: Type.Null({ description: 'Deleted; its sockets are closed.' }),
          ...backendProblems(),
        },
      },
    },
    async (request, reply) => {
      await apps.remove(request.tenant.id);
      router.disconnectApp(request.tenant.id);
      return reply.code(204).send(null);
    },
  );
};
