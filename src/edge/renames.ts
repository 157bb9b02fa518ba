// Renaming one user. Inbox, tokens and a registered imId stay.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Directory } from '../identity/directory.ts';
import type { Registry } from '../identity/registry.ts';
import { describe } from '../identity/schemes.ts';
import { readPrecondition, sendTagged } from './etags.ts';
import { Identity, toAnswer } from './identities.ts';
import { Name, backendProblems, UserPath } from './shapes.ts';
import { invalid } from './validation.ts';

export const renames: FastifyPluginAsyncTypebox<{ directory: Directory; registry: Registry }> = async (
  app,
  { directory, registry },
) => {
  app.patch(
    '/identities/:imId',
    {
      config: { scope: 'identities', tagged: true },
      schema: {
        operationId: 'renameIdentity',
        summary: 'Rename a user',
        description:
          'Give the new `userId` of a registered user, the new `uid` of a composed one. Inbox and tokens stay; a ' +
          'registered imId stays as well, a composed one follows. The former name is free for a new user.',
        tags: ['Identities'],
        params: UserPath,
        body: Type.Object(
          { userId: Type.Optional(Name), uid: Type.Optional(Name) },
          { minProperties: 1, maxProperties: 1, additionalProperties: false, examples: [{ uid: 'alicia' }] },
        ),
        response: {
          200: { ...Identity, description: 'The user as it is called now.' },
          ...backendProblems('conflict', 'scheme_disabled', 'payload_too_large'),
        },
      },
    },
    async (request, reply) => {
      const { tenant, params, body } = request;
      const demand = readPrecondition(request);
      const user = await directory.find(tenant, { imId: params.imId });
      demand?.(toAnswer(tenant, await directory.date(tenant.id, user)));
      const field = describe(tenant, user).scheme === 'registered' ? 'userId' : 'uid';
      const name = body[field];
      if (name === undefined)
        throw invalid([
          {
            in: 'body',
            pointer: `#/${field}`,
            detail: `is missing: the user is ${field === 'uid' ? 'composed' : 'registered'}`,
          },
        ]);
      const row = user.id === undefined ? await directory.resolve(tenant, { uid: user.name }) : user;
      // The next one of this name, of whom nothing is stored either, would be shown in the same way, and has the same tag.
      const from = demand && user;
      const [renamed] = await registry.rename(tenant, [{ user: row, name, pointer: `#/${field}`, from }]);
      return sendTagged(request, reply, toAnswer(tenant, await directory.date(tenant.id, renamed!)));
    },
  );
};
