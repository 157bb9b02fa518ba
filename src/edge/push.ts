// What an app proves itself to the providers of push with, whether that works, and which pushes were given up.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { ImidError } from '../errors.ts';
import type { Directory } from '../identity/directory.ts';
import { describe } from '../identity/schemes.ts';
import type { PushAccounts } from '../routing/push_accounts.ts';
import { pushProviderNames, pushProviders, type PushProviderName } from '../routing/push_providers.ts';
import { readNumberCursor, toPage } from './paging.ts';
import {
  AppIdText,
  AppPath,
  backendProblems,
  BOB,
  Cursor,
  DeviceId,
  EXAMPLE_AT,
  ImIdText,
  Limit,
  list,
  Timestamp,
} from './shapes.ts';
import { compileSchema, faultsOf, invalid } from './validation.ts';

const ProviderPath = Type.Object({
  appId: AppIdText,
  provider: Type.Unsafe<PushProviderName>(
    Type.String({
      enum: pushProviderNames,
      description: 'Through which devices are reached.',
      examples: ['webhook'],
    }),
  ),
});
const Account = Type.Object(
  { provider: Type.String(), changedAt: Timestamp },
  { examples: [{ provider: 'apns', changedAt: EXAMPLE_AT }] },
);
const validators = new Map(
  pushProviderNames.map((name) => [name, compileSchema(pushProviders[name].credentials, 'body')] as const),
);

const Failure = Type.Object(
  {
    at: Timestamp,
    imId: Type.String(),
    deviceId: Type.String(),
    provider: Type.String(),
    messageId: Type.String({ format: 'uuid' }),
    reason: Type.String({ description: 'A code, and words that say what to do.' }),
  },
  {
    examples: [
      {
        at: EXAMPLE_AT,
        imId: BOB.imId,
        deviceId: 'bobs-phone',
        provider: 'apns',
        messageId: '0196c0de-0000-7000-8000-000000000000',
        reason: 'credential: the app has none for this provider',
      },
    ],
  },
);
/** Of a webhook. */
const EXAMPLE_CREDENTIALS = {
  url: 'https://push.customer.example/imid',
  secrets: ['whsec_bm90IGEgc2VjcmV0LCBidXQgMzIgYnl0ZXMgbG9uZyE='],
};
const tested = {
  ok: Type.Boolean(),
  detail: Type.Optional(Type.String({ description: 'What is wrong, in words.' })),
};
const toTested = (detail: string | undefined) =>
  detail === undefined ? { ok: true } : { ok: false, detail };
const tags = ['Push'];

export const push: FastifyPluginAsyncTypebox<{ directory: Directory; pushAccounts: PushAccounts }> = async (
  app,
  { directory, pushAccounts },
) => {
  app.put(
    '/push/:provider',
    {
      config: { audit: 'push.put' },
      schema: {
        operationId: 'putPushCredentials',
        summary: 'Say what the app proves itself to a provider of push with',
        description:
          'Kept sealed, and shown to nobody again. A change counts within a second on every process.',
        tags,
        params: ProviderPath,
        body: Type.Union(
          pushProviderNames.map((name) => ({ title: name, ...pushProviders[name].credentials })),
          { examples: [EXAMPLE_CREDENTIALS] },
        ),
        response: {
          200: { ...Account, description: 'Replaced.' },
          201: { ...Account, description: 'Kept.' },
          ...backendProblems('payload_too_large'),
        },
      },
      // By the schema of the provider alone, which says what is wrong.
      validatorCompiler: ({ schema, httpPart }) =>
        httpPart === 'body' ? () => true : compileSchema(schema, httpPart as 'params'),
    },
    async (request, reply) => {
      const { tenant, params, body } = request;
      const validate = validators.get(params.provider)!;
      if (!validate(body)) throw invalid(faultsOf(validate.errors ?? [], 'body'));
      request.audited = { target: params.provider };
      const { isNew, changedAt } = await pushAccounts.put(tenant.id, params.provider, body);
      return reply
        .code(isNew ? 201 : 200)
        .send({ provider: params.provider, changedAt: changedAt.toISOString() });
    },
  );

  app.get(
    '/push',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'listPushProviders',
        summary: 'List the providers that the app has credentials for',
        tags,
        params: AppPath,
        response: { 200: { ...list(Account), description: 'All of them.' }, ...backendProblems() },
      },
    },
    async ({ tenant }) => ({
      items: (await pushAccounts.list(tenant.id)).map(({ provider, changedAt }) => ({
        provider,
        changedAt: changedAt.toISOString(),
      })),
    }),
  );

  app.delete(
    '/push/:provider',
    {
      config: { audit: 'push.delete' },
      schema: {
        operationId: 'deletePushCredentials',
        summary: 'Forget the credentials for a provider',
        tags,
        params: ProviderPath,
        response: {
          204: Type.Null({ description: 'Forgotten.' }),
          ...backendProblems('payload_too_large'),
        },
      },
    },
    async (request, reply) => {
      request.audited = { target: request.params.provider };
      await pushAccounts.remove(request.tenant.id, request.params.provider);
      return reply.code(204).send(null);
    },
  );

  app.post(
    '/push/:provider/test',
    {
      schema: {
        operationId: 'testPush',
        summary: 'Try whether pushes through a provider work',
        description:
          'With `imId` it sends a test push to the devices of that user that are bound to the provider, or to one of them. Without ' +
          'it the provider is asked whether the credentials are good, as far as it tells, and nobody gets anything.',
        tags,
        params: ProviderPath,
        querystring: Type.Object(
          {
            imId: Type.Optional({ ...ImIdText, description: 'Whose devices get a test push.' }),
            deviceId: Type.Optional({ ...DeviceId, description: 'Which of them; without it, each.' }),
          },
          { additionalProperties: false },
        ),
        response: {
          200: Type.Object(
            {
              ...tested,
              devices: Type.Optional(Type.Array(Type.Object({ deviceId: Type.String(), ...tested }))),
            },
            { description: 'What the provider says.', examples: [{ ok: true }] },
          ),
          ...backendProblems('payload_too_large'),
        },
      },
    },
    async ({ tenant, params: { provider }, query: { imId, deviceId } }) => {
      if (imId === undefined && deviceId !== undefined)
        throw invalid([{ in: 'query', pointer: '#/imId', detail: 'is missing: a device is one of a user' }]);
      if (imId === undefined) return toTested(await pushAccounts.check(tenant.id, provider));
      const user = await directory.find(tenant, { imId });
      const sent = await pushAccounts.test(tenant.id, provider, user.id, deviceId);
      if (sent.length === 0)
        throw new ImidError('not_found', 'The user has no such device that is bound to this provider.');
      return {
        ...toTested(sent.find(({ fault }) => fault !== undefined)?.fault),
        devices: sent.map((each) => ({ deviceId: each.deviceId, ...toTested(each.fault) })),
      };
    },
  );

  app.get(
    '/push/failures',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'listPushFailures',
        summary: 'List pushes that were given up, the newest first',
        tags,
        params: AppPath,
        querystring: Type.Object(
          { limit: Type.Optional(Limit), cursor: Type.Optional(Cursor) },
          { additionalProperties: false },
        ),
        response: { 200: { ...list(Failure), description: 'A page.' }, ...backendProblems() },
      },
    },
    async ({ tenant, query: { limit = 100, cursor } }) => {
      const before = cursor === undefined ? Number.MAX_SAFE_INTEGER : readNumberCursor(cursor);
      return toPage(
        await pushAccounts.failures(tenant.id, before, limit + 1),
        limit,
        ({ id }) => id,
        ({ at, user, deviceId, provider, messageId, reason }) => ({
          at: at.toISOString(),
          imId: describe(tenant, user).imId,
          deviceId,
          provider,
          messageId,
          reason,
        }),
      );
    },
  );
};
