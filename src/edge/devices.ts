// The devices of a user, for its backend: how each is reached by push. Push tokens are shown to nobody.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { BoundDevice, Devices } from '../identity/devices.ts';
import type { Directory } from '../identity/directory.ts';
import { AppPath, backendProblems, EXAMPLE_AT, ImIdText, list, Timestamp } from './shapes.ts';

export const deviceFields = {
  deviceId: Type.String(),
  platform: Type.Optional(Type.String()),
  provider: Type.Optional(Type.String({ description: 'Absent of a device that can’t be reached by push.' })),
  environment: Type.Optional(Type.String()),
  locale: Type.Optional(Type.String()),
  appVersion: Type.Optional(Type.String()),
  boundAt: Type.Optional(Timestamp),
  lastSeenAt: Timestamp,
  createdAt: Timestamp,
};

export const exampleDevice = {
  deviceId: 'alices-phone',
  platform: 'ios',
  provider: 'apns',
  environment: 'production',
  boundAt: EXAMPLE_AT,
  lastSeenAt: EXAMPLE_AT,
  createdAt: EXAMPLE_AT,
};

export function toDevice({ id, binding, lastSeenAt, createdAt }: BoundDevice) {
  return {
    deviceId: id,
    ...(binding && {
      platform: binding.platform,
      provider: binding.provider,
      environment: binding.environment,
      ...(binding.locale !== undefined && { locale: binding.locale }),
      ...(binding.appVersion !== undefined && { appVersion: binding.appVersion }),
      boundAt: binding.boundAt.toISOString(),
    }),
    lastSeenAt: lastSeenAt.toISOString(),
    createdAt: createdAt.toISOString(),
  };
}

const Device = Type.Object(deviceFields, { examples: [exampleDevice] });

export const devices: FastifyPluginAsyncTypebox<{ directory: Directory; devices: Devices }> = async (
  app,
  { directory, devices: known },
) => {
  app.get(
    '/devices',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'listDevices',
        summary: 'List a user’s devices',
        tags: ['Devices'],
        params: AppPath,
        querystring: Type.Object({ imId: ImIdText }, { additionalProperties: false }),
        response: {
          200: { ...list(Device), description: 'All of them.' },
          ...backendProblems('scheme_disabled'),
        },
      },
    },
    async ({ tenant, query: { imId } }) => {
      const user = await directory.find(tenant, { imId });
      return { items: user.id === undefined ? [] : (await known.list(tenant.id, user.id)).map(toDevice) };
    },
  );
};
