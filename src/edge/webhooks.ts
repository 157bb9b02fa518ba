// Where the backend of an app is told what happens. Its secrets are shown once, where they were made here.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { WebhookSecrets } from '../routing/push_providers.ts';
import { webhookEventTypes, type Webhooks } from '../routing/webhooks.ts';
import { AppPath, backendProblems, EXAMPLE_AT, Timestamp } from './shapes.ts';

const URL_MAX_LENGTH = 2_000;
const Url = Type.String({ format: 'text', minLength: 1, maxLength: URL_MAX_LENGTH });
const Events = Type.Array(Type.String({ enum: [...webhookEventTypes] }), {
  minItems: 1,
  uniqueItems: true,
  description:
    '`message.offline`: somebody who isn’t there has a message; `device.gone`: a push token is dead; `push.failed`: a push ' +
    'was given up.',
});
const exampleSettings = {
  url: 'https://chat.customer.example/imid',
  events: ['device.gone', 'push.failed'],
};
const WebhookShape = Type.Object(
  {
    url: Type.String(),
    events: Type.Array(Type.String()),
    changedAt: Timestamp,
    disabledAt: Type.Optional({
      ...Timestamp,
      description: 'Since when it is told nothing, because it answered 410. Put it again.',
    }),
  },
  { examples: [{ ...exampleSettings, changedAt: EXAMPLE_AT }] },
);
const NewWebhook = Type.Object(
  {
    ...WebhookShape.properties,
    secrets: Type.Optional(
      Type.Array(Type.String(), { description: 'What signs, where none was given. Shown only here.' }),
    ),
  },
  {
    examples: [
      {
        ...exampleSettings,
        changedAt: EXAMPLE_AT,
        secrets: ['whsec_bm90IGEgc2VjcmV0LCBidXQgMzIgYnl0ZXMgbG9uZyE='],
      },
    ],
  },
);
const tags = ['Webhook'];

export const webhooks: FastifyPluginAsyncTypebox<{ webhooks: Webhooks }> = async (
  app,
  { webhooks: known },
) => {
  app.put(
    '/webhook',
    {
      config: { audit: 'webhook.put' },
      schema: {
        operationId: 'putWebhook',
        summary: 'Say where the backend is told what happens',
        description:
          'Secrets are kept sealed. Without any, those that there are stay, and a new webhook gets one that is shown in this ' +
          'answer only. One that was disabled is told again, of what happens from now on.',
        tags,
        params: AppPath,
        body: Type.Object(
          { url: Url, events: Events, secrets: Type.Optional(WebhookSecrets) },
          { additionalProperties: false, examples: [exampleSettings] },
        ),
        response: {
          200: { ...WebhookShape, description: 'Replaced.' },
          201: { ...NewWebhook, description: 'It is told from now on.' },
          ...backendProblems('payload_too_large'),
        },
      },
    },
    async (request, reply) => {
      const { url, events, secrets } = request.body;
      const put = await known.put(request.tenant.id, { url, events, secrets });
      const { madeSecrets } = put;
      const shown = { url, events, changedAt: put.changedAt.toISOString() };
      if (!put.isNew) return shown;
      return reply.code(201).send({ ...shown, ...(madeSecrets && { secrets: madeSecrets }) });
    },
  );

  app.get(
    '/webhook',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'getWebhook',
        summary: 'Read where the backend is told what happens',
        tags,
        params: AppPath,
        response: { 200: { ...WebhookShape, description: 'Without its secrets.' }, ...backendProblems() },
      },
    },
    async ({ tenant }) => {
      const { url, events, changedAt, disabledAt } = await known.get(tenant.id);
      return {
        url,
        events,
        changedAt: changedAt.toISOString(),
        ...(disabledAt && { disabledAt: disabledAt.toISOString() }),
      };
    },
  );

  app.delete(
    '/webhook',
    {
      config: { audit: 'webhook.delete' },
      schema: {
        operationId: 'deleteWebhook',
        summary: 'Have the backend told nothing any more',
        tags,
        params: AppPath,
        response: {
          204: Type.Null({ description: 'Forgotten, with what it has not been told yet.' }),
          ...backendProblems('payload_too_large'),
        },
      },
    },
    async (request, reply) => {
      await known.remove(request.tenant.id);
      return reply.code(204).send(null);
    },
  );

  app.post(
    '/webhook/test',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'testWebhook',
        summary: 'Send the webhook an event of the type webhook.test',
        description: 'Once, whatever it answers; a disabled one, too.',
        tags,
        params: AppPath,
        response: {
          200: Type.Object(
            { ok: Type.Boolean(), detail: Type.Optional(Type.String({ description: 'What is wrong.' })) },
            { description: 'What it answers.', examples: [{ ok: true }] },
          ),
          ...backendProblems('payload_too_large'),
        },
      },
    },
    async ({ tenant }) => {
      const detail = await known.check(tenant.id);
      return detail === undefined ? { ok: true } : { ok: false, detail };
    },
  );
};
