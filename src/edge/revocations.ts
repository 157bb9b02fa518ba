// Revoking tokens before they are over: one, or all that a user, a device or the app was issued until now.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Apps } from '../identity/apps.ts';
import type { Directory } from '../identity/directory.ts';
import type { Revocations } from '../tokens/revocations.ts';
import { AppPath, backendProblems, DeviceId, ImIdText, Name } from './shapes.ts';
import { invalid } from './validation.ts';

const Revocation = Type.Object(
  {
    jti: Type.Optional(
      Type.String({ format: 'text', maxLength: 100, description: 'Of one token: its claim `jti`.' }),
    ),
    uid: Type.Optional(Name),
    userId: Type.Optional(Name),
    imId: Type.Optional(ImIdText),
    deviceId: Type.Optional({
      ...DeviceId,
      description: 'With an address: only what this device was issued.',
    }),
    all: Type.Optional(Type.Literal(true)),
  },
  {
    oneOf: [
      { required: ['jti'] },
      { required: ['uid'] },
      { required: ['userId'] },
      { required: ['imId'] },
      { required: ['all'] },
    ],
    additionalProperties: false,
    examples: [{ uid: 'alice' }],
  },
);

export const tokenRevocation: FastifyPluginAsyncTypebox<{
  revocations: Revocations;
  directory: Directory;
  apps: Apps;
}> = async (app, { revocations, directory, apps }) => {
  app.post(
    '/tokens/revoke',
    {
      config: { scope: 'tokens', audit: 'token.revoke', idempotent: true },
      schema: {
        operationId: 'revokeTokens',
        summary: 'Revoke tokens',
        description:
          'One token, by its `jti`; or every one that was issued until now, to the millisecond: to a user, to a device of a ' +
          'user, or in the whole app. Connections that were opened with them are closed with 4502 within a second, on every ' +
          'process, and they open none any more. Of a device: tokens that are bound to it, and the one that it is connected ' +
          'with, or was last. Revoking again does no harm.',
        tags: ['Tokens'],
        params: AppPath,
        body: Revocation,
        response: {
          204: Type.Null({ description: 'Revoked.' }),
          ...backendProblems('payload_too_large'),
        },
      },
    },
    async (request, reply) => {
      const { tenant, body } = request;
      const { jti, all, deviceId, ...address } = body;
      if (deviceId !== undefined && (jti !== undefined || all))
        throw invalid([{ in: 'body', pointer: '#/deviceId', detail: 'goes with an address only' }]);
      if (jti !== undefined) {
        await revocations.revokeToken(tenant.id, jti);
        request.audited = { target: jti };
      } else if (all) {
        await revocations.revokeApp(tenant.id);
        apps.forget(tenant.id);
        request.audited = { target: 'all' };
      } else {
        // Also of a scheme that is not in use any more: its tokens would count again when it is.
        const user = await directory.resolve({ ...tenant, schemes: ['composed', 'registered'] }, address);
        await (deviceId === undefined
          ? revocations.revokeUser(tenant.id, user.id)
          : revocations.revokeDevice(tenant.id, user.id, deviceId));
        request.audited = { name: user.name, target: deviceId === undefined ? 'user' : 'device' };
      }
      return reply.code(204).send(null);
    },
  );
};
