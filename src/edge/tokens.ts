// Tokens for clients, issued at the request of their backend.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { composeImId, type ImId } from '../ids.ts';
import type { App } from '../identity/apps.ts';
import type { Directory } from '../identity/directory.ts';
import { nobody, readAddress, schemeOfAddress, type Address } from '../identity/schemes.ts';
import { TTL_DEFAULT_SECONDS, TTL_MAX_SECONDS } from '../tokens/ttl.ts';
import type { Tokens } from '../tokens/tokens.ts';
import {
  addressed,
  ALICE,
  AppPath,
  DeviceId,
  EXAMPLE_AT,
  backendProblems,
  SchemeName,
  Timestamp,
} from './shapes.ts';

export const tokenIssue: FastifyPluginAsyncTypebox<{ tokens: Tokens; directory: Directory }> = async (
  app,
  { tokens, directory },
) => {
  app.post(
    '/tokens',
    {
      config: { scope: 'tokens', idempotent: true },
      schema: {
        operationId: 'issueToken',
        summary: 'Issue a token for a user',
        description:
          'The token has the scheme of the address: composed for a uid, registered for a userId or an `im_…`. It acts, ' +
          'as long as it lives, as the user who had the name when it was issued. Bound to `deviceId`, it connects no ' +
          'other device.',
        tags: ['Tokens'],
        params: AppPath,
        body: addressed(
          {
            ttlSeconds: Type.Optional(
              Type.Integer({ minimum: 1, maximum: TTL_MAX_SECONDS, default: TTL_DEFAULT_SECONDS }),
            ),
            deviceId: Type.Optional(DeviceId),
          },
          { examples: [{ uid: 'alice', ttlSeconds: 3600 }] },
        ),
        response: {
          201: Type.Object(
            {
              token: Type.String(),
              tokenType: Type.Literal('Bearer'),
              imId: Type.String(),
              scheme: SchemeName,
              expiresAt: Timestamp,
            },
            {
              description: 'Issued.',
              examples: [
                {
                  token: 'eyJ…',
                  tokenType: 'Bearer',
                  imId: ALICE.imId,
                  scheme: 'composed',
                  expiresAt: EXAMPLE_AT,
                },
              ],
            },
          ),
          ...backendProblems('scheme_disabled', 'payload_too_large'),
        },
      },
    },
    async ({ tenant, body }, reply) => {
      const { ttlSeconds, deviceId, ...address } = body;
      const imId = await subjectOf(directory, tenant, address);
      const issued = await tokens.issue({ appId: tenant.id, imId, ttlSeconds, deviceId });
      return reply.code(201).send({
        token: issued.token,
        tokenType: 'Bearer' as const,
        imId: issued.imId,
        scheme: issued.scheme,
        expiresAt: issued.expiresAt.toISOString(),
      });
    },
  );
};

/** The imId in the scheme of the address: composed without any I/O, registered by looking the user up. Throws `not_found`, `scheme_disabled`. */
export async function subjectOf(directory: Directory, app: App, address: Address): Promise<ImId> {
  if (schemeOfAddress(address) === 'composed') {
    const target = readAddress(app, address);
    if (target.by === 'name') return composeImId(app.id, target.name);
  }
  const user = await directory.find(app, address);
  if (user.imId === undefined) throw nobody();
  return user.imId;
}
