// Apps: made and deleted by the admin; an app's own key may read it and change its settings.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { App, Apps, PushTemplates } from '../identity/apps.ts';
import type { Router } from '../routing/router.ts';
import { scopes, type ApiKeys } from '../tokens/api_keys.ts';
import { readPrecondition, sendTagged } from './etags.ts';
import { parseOrigin } from './origins.ts';
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

const ORIGINS_MAX = 100;

const AllowedOrigins = Type.Array(Type.String({ format: 'origin', maxLength: 300 }), {
  maxItems: ORIGINS_MAX,
  description:
    'The origins of the pages from which browsers may connect, such as `https://chat.example`, `http://localhost:3000` or ' +
    '`capacitor://localhost`; none: every page may. Clients that are no browsers send no origin and may always connect.',
  examples: [['https://chat.example']],
});

const RECALL_MAX_SECONDS = 30 * 86_400;
const RETENTION_MAX_DAYS = 36_500;

const TEMPLATES_MAX = 100;
const template = (maxLength: number) =>
  Type.String({ format: 'lines', maxLength, pattern: '^([^{}]|\\{(sender|text|count)\\})*$' });

const settings = {
  recallSeconds: Type.Integer({
    minimum: 0,
    maximum: RECALL_MAX_SECONDS,
    description: 'For how long its sender can recall a message; 0: never.',
  }),
  retentionDays: Type.Unsafe<number | null>({
    type: ['integer', 'null'],
    minimum: 1,
    maximum: RETENTION_MAX_DAYS,
    description: 'After how many days messages go, with nobody having to do anything; null: never.',
  }),
  presence: Type.Boolean({ description: 'Whether users may see of each other who is online.' }),
  pushWhen: Type.Unsafe<'device' | 'user'>(
    Type.String({
      enum: ['device', 'user'],
      description:
        '`device`: each device that isn’t in the foreground gets a push. `user`: while one of a user is in the foreground, ' +
        'the others wait some seconds, and get none for what it has acked by then.',
    }),
  ),
  pushShowsText: Type.Boolean({
    description:
      'Whether pushes may say what a message says; without it they are the `hidden` of the template.',
  }),
  pushTemplates: Type.Unsafe<PushTemplates>({
    type: 'object',
    maxProperties: TEMPLATES_MAX,
    propertyNames: { pattern: '^(default|[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3})$' },
    additionalProperties: Type.Object(
      {
        title: Type.Optional(template(200)),
        body: Type.Optional(template(1_000)),
        hidden: Type.Optional(template(1_000)),
      },
      { additionalProperties: false },
    ),
    description:
      'What pushes say, by the language tag of the device; `default` for all others. `{sender}` is what the recipient calls the ' +
      'sender in its contacts, `{text}` the content, where that is a string or has one as `text`, `{count}` how many are unread. A ' +
      'message’s own `push` goes before it. `hidden` is what it says instead where the text is not to be shown.',
    examples: [{ default: { title: '{sender}', body: '{text}', hidden: 'New message' } }],
  }),
};

const DEFAULTS = {
  recallSeconds: 120,
  retentionDays: null,
  presence: true,
  pushWhen: 'device' as const,
  pushShowsText: true,
  pushTemplates: {},
};

const appFields = {
  appId: Type.String(),
  name: Type.String(),
  schemes: Schemes,
  allowedOrigins: AllowedOrigins,
  ...settings,
  createdAt: Timestamp,
};
const example = {
  appId: '1',
  name: 'chat',
  schemes: ['composed', 'registered'],
  allowedOrigins: [],
  ...DEFAULTS,
  createdAt: EXAMPLE_AT,
};
const AppShape = Type.Object(appFields, { examples: [example] });

const toAnswer = (app: App) => ({
  appId: String(app.id),
  name: app.name,
  schemes: app.schemes,
  allowedOrigins: app.allowedOrigins,
  recallSeconds: app.recallSeconds,
  retentionDays: app.retentionDays ?? null,
  presence: app.presence,
  pushWhen: app.pushWhen,
  pushShowsText: app.pushShowsText,
  pushTemplates: app.pushTemplates,
  createdAt: app.createdAt.toISOString(),
});

/** Each once, in the form in which browsers send it. */
const normalise = (origins: readonly string[]): string[] => [
  ...new Set(origins.map((origin) => parseOrigin(origin)!)),
];

const tags = ['Apps'];

export const adminApps: FastifyPluginAsyncTypebox<{ apps: Apps; apiKeys: ApiKeys }> = async (
  app,
  { apps, apiKeys },
) => {
  app.post(
    '/',
    {
      config: { idempotent: true, audit: 'app.create' },
      schema: {
        operationId: 'createApp',
        summary: 'Create an app and its first API key',
        description: 'The key is shown this once.',
        tags,
        body: Type.Object(
          {
            name: Label,
            schemes: Schemes,
            allowedOrigins: Type.Optional(AllowedOrigins),
            ...Type.Partial(Type.Object(settings)).properties,
          },
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
      const { allowedOrigins = [], retentionDays, ...rest } = { ...DEFAULTS, ...request.body };
      const created = await apps.create({
        ...rest,
        allowedOrigins: normalise(allowedOrigins),
        retentionDays: retentionDays ?? undefined,
      });
      const { id: keyId, apiKey } = await apiKeys.create(created.id, { name: 'first', scopes });
      request.audited = { appId: created.id, target: keyId };
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
      config: { scope: 'read', tagged: true },
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
    async (request, reply) => sendTagged(request, reply, toAnswer(request.tenant)),
  );

  app.patch(
    '/',
    {
      config: { tagged: true, audit: 'app.change' },
      schema: {
        operationId: 'changeApp',
        summary: 'Change the app’s settings',
        description:
          'Needs a key with every scope. A scheme that is disabled again keeps its inboxes whole; a connection that is ' +
          'open stays open when its origin is taken off the list.',
        tags,
        params: AppPath,
        body: Type.Object(
          {
            name: Type.Optional(Label),
            schemes: Type.Optional(Schemes),
            allowedOrigins: Type.Optional(AllowedOrigins),
            ...Type.Partial(Type.Object(settings)).properties,
          },
          { additionalProperties: false, examples: [{ schemes: ['composed', 'registered'] }] },
        ),
        response: {
          200: { ...AppShape, description: 'The app as it is now.' },
          ...backendProblems('payload_too_large'),
        },
      },
    },
    async (request, reply) => {
      const { allowedOrigins, retentionDays, ...rest } = request.body;
      const demand = readPrecondition(request);
      const change = {
        ...rest,
        ...(allowedOrigins && { allowedOrigins: normalise(allowedOrigins) }),
        ...(retentionDays !== undefined && { retentionDays: retentionDays ?? undefined }),
      };
      if (Object.keys(change).length === 0 && !demand)
        return sendTagged(request, reply, toAnswer(request.tenant));
      const check = demand && ((current: App) => demand(toAnswer(current)));
      return sendTagged(request, reply, toAnswer(await apps.change(request.tenant.id, change, check)));
    },
  );

  app.delete(
    '/',
    {
      config: { scope: 'admin', audit: 'app.delete' },
      schema: {
        operationId: 'deleteApp',
        summary: 'Delete the app with everything in it',
        description: 'The audit trail keeps what was done in it, and names nobody.',
        tags,
        params: AppPath,
        response: {
          204: Type.Null({ description: 'Deleted; its sockets are closed.' }),
          ...backendProblems('payload_too_large'),
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
