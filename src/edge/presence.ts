// Presence for backends: who is online, on which devices, and when someone was seen last.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { ImidError } from '../errors.ts';
import type { Directory, Found, User } from '../identity/directory.ts';
import type { Router } from '../routing/router.ts';
import {
  ALICE,
  AppPath,
  EXAMPLE_AT,
  ImIdText,
  ItemError,
  backendProblems,
  ref,
  Timestamp,
} from './shapes.ts';

const Device = Type.Object({
  deviceId: Type.String(),
  connected: Type.Boolean(),
  state: Type.Optional(Type.String({ enum: ['foreground', 'background'] })),
  lastSeenAt: Type.Optional(Timestamp),
});

const Presence = Type.Object({
  imId: Type.String(),
  online: Type.Boolean(),
  foreground: Type.Boolean(),
  devices: Type.Array(Device),
  lastSeenAt: Type.Optional(Timestamp),
  error: Type.Optional(ref(ItemError)),
});

const example = {
  imId: ALICE.imId,
  online: true,
  foreground: true,
  devices: [
    { deviceId: 'alices-phone', connected: true, state: 'foreground' },
    { deviceId: 'alices-laptop', connected: false, lastSeenAt: EXAMPLE_AT },
  ],
};

const OFFLINE = { online: false, foreground: false, devices: [] };

export const presence: FastifyPluginAsyncTypebox<{ directory: Directory; router: Router }> = async (
  app,
  { directory, router },
) => {
  app.get(
    '/presence',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'getPresence',
        summary: 'Show who is online',
        tags: ['Presence'],
        params: AppPath,
        querystring: Type.Object(
          {
            imId: Type.Array(ImIdText, {
              minItems: 1,
              maxItems: 100,
              description: 'May be repeated.',
              examples: [[ALICE.imId]],
            }),
          },
          { additionalProperties: false },
        ),
        response: {
          200: Type.Object(
            { items: Type.Array(Presence) },
            { description: 'One item per imId, in order.', examples: [{ items: [example] }] },
          ),
          ...backendProblems(),
        },
      },
    },
    async ({ tenant, query: { imId: imIds } }) => {
      const found = await directory.lookUpRows(
        tenant,
        imIds.map((imId) => ({ imId })),
      );
      const users = found.filter(isUser);
      const presences = await router.presence.of(tenant.id, users);
      const byUser = new Map(users.map((user, i) => [user.id, presences[i]!]));
      return {
        items: found.map((user, i) => {
          const imId = imIds[i]!;
          if (user instanceof ImidError)
            return { imId, ...OFFLINE, error: { code: user.code, detail: user.message } };
          if (!isUser(user)) return { imId, ...OFFLINE };
          const { devices, lastSeenAt, ...state } = byUser.get(user.id)!;
          return {
            imId,
            ...state,
            ...(lastSeenAt && { lastSeenAt: lastSeenAt.toISOString() }),
            devices: devices.map(({ lastSeenAt: seen, ...device }) => ({
              ...device,
              ...(seen && { lastSeenAt: seen.toISOString() }),
            })),
          };
        }),
      };
    },
  );
};

function isUser(user: Found | ImidError): user is User {
  return !(user instanceof ImidError) && user.id !== undefined;
}
