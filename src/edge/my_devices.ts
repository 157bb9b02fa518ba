// The devices of the token's user: what each can be reached by through push while it isn't connected.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { ImidError } from '../errors.ts';
import type { Claims } from '../tokens/tokens.ts';
import type { Devices } from '../identity/devices.ts';
import { normalisePushToken, pushProviderNames, type PushProviderName } from '../routing/push_providers.ts';
import { deviceFields, exampleDevice, toDevice } from './devices.ts';
import { clientProblems } from './me.ts';
import { DeviceId } from './shapes.ts';

/** An index takes no longer ones. */
const PUSH_TOKEN_MAX_LENGTH = 2_000;

const DevicePath = Type.Object({
  deviceId: { ...DeviceId, description: 'Which installation it is, as it says when it connects.' },
});
const text = (maxLength: number, description: string) =>
  Type.String({ format: 'text', minLength: 1, maxLength, description });
const Device = Type.Object(deviceFields, { examples: [exampleDevice] });

export const myDevices: FastifyPluginAsyncTypebox<{ devices: Devices }> = async (app, { devices }) => {
  app.put(
    '/devices/:deviceId',
    {
      schema: {
        operationId: 'bindMyDevice',
        summary: 'Say how a device is reached by push',
        description:
          'A push token belongs to one device of an app at a time: whoever had it before is not reached by it any more. ' +
          'Call it at each start of the app, and whenever the provider gives another token. The binding ends with the ' +
          'token that was used here, when that is revoked.',
        tags: ['Devices'],
        params: DevicePath,
        body: Type.Object(
          {
            platform: text(50, 'Such as `ios`, `android` or `web`.'),
            provider: Type.Unsafe<PushProviderName>(Type.String({ enum: pushProviderNames })),
            pushToken: Type.String({
              pattern: '^[\\x20-\\x7e]+$',
              maxLength: PUSH_TOKEN_MAX_LENGTH,
              description: 'Visible ASCII characters and spaces. Of Web Push the subscription, as JSON.',
            }),
            environment: Type.Optional(
              Type.Unsafe<'production' | 'sandbox'>(
                Type.String({ enum: ['production', 'sandbox'], default: 'production' }),
              ),
            ),
            locale: Type.Optional(text(35, 'A language tag of BCP 47.')),
            appVersion: Type.Optional(text(50, 'Of the app on the device.')),
          },
          {
            additionalProperties: false,
            examples: [
              {
                platform: 'ios',
                provider: 'apns',
                pushToken: '00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0',
              },
            ],
          },
        ),
        response: {
          200: { ...Device, description: 'The device as it is now.' },
          ...clientProblems('not_found', 'payload_too_large'),
        },
      },
    },
    async ({ admitted: { app: tenant, user, claims }, params: { deviceId }, body }) => {
      requireOwn(claims, deviceId);
      return toDevice(
        await devices.bind(tenant.id, user.id, {
          deviceId,
          by: claims,
          ...body,
          pushToken: normalisePushToken(body.provider, body.pushToken),
          environment: body.environment ?? 'production',
          locale: body.locale,
          appVersion: body.appVersion,
        }),
      );
    },
  );

  app.delete(
    '/devices/:deviceId',
    {
      schema: {
        operationId: 'forgetMyDevice',
        summary: 'Forget a device, as at a logout',
        description:
          'It is reached by push no more, and begins at the end of the inbox when it connects again.',
        tags: ['Devices'],
        params: DevicePath,
        response: {
          204: { ...Type.Null({ description: 'Forgotten.' }) },
          ...clientProblems('not_found', 'payload_too_large'),
        },
      },
    },
    async ({ admitted: { app: tenant, user, claims }, params: { deviceId } }, reply) => {
      requireOwn(claims, deviceId);
      await devices.forget(tenant.id, user.id, deviceId);
      return reply.code(204).send(null);
    },
  );
};

function requireOwn({ deviceId: bound }: Claims, deviceId: string): void {
  if (bound !== undefined && bound !== deviceId)
    throw new ImidError('forbidden', 'The token is bound to another device.');
}
