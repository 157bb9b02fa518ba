// Merging: the guest who already had an account.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Mergers } from '../identity/mergers.ts';
import { describe } from '../identity/schemes.ts';
import type { Router } from '../routing/router.ts';
import { Address, BOB, backendProblems, ref, UserPath } from './shapes.ts';

export const merges: FastifyPluginAsyncTypebox<{ mergers: Mergers; router: Router }> = async (
  app,
  { mergers, router },
) => {
  app.post(
    '/identities/:imId/merge',
    {
      config: { scope: 'identities', idempotent: true },
      schema: {
        operationId: 'mergeIdentity',
        summary: 'Merge another user into this one',
        description:
          'Names, tokens, devices and contacts of `from` become this user’s at once: its imId and its names lead here, ' +
          'its tokens act as this user, its open sockets go on as this user with a second `welcome`. Its messages ' +
          'join the inbox behind what is there, in their order, each once, before this answers; where the two wrote to ' +
          'each other, the message stands there once. If this user has no registered imId and `from` has, it gets that ' +
          'one. The same again answers the same, also after a crash in between. A `from` that came to another user by a ' +
          'merger is a `conflict`: name that user by its own imId or name, if it is meant. It can’t be undone.',
        tags: ['Identities'],
        params: UserPath,
        body: Type.Object(
          { from: ref(Address) },
          { additionalProperties: false, examples: [{ from: { uid: 'g-81' } }] },
        ),
        response: {
          200: Type.Object(
            {
              imId: Type.String({ description: 'Of the user that stays.' }),
              messages: Type.Integer({ description: 'How many joined its inbox.' }),
            },
            { description: 'Merged.', examples: [{ imId: BOB.imId, messages: 12 }] },
          ),
          ...backendProblems('conflict', 'scheme_disabled', 'payload_too_large'),
        },
      },
    },
    async ({ tenant, params, body, actor }) => {
      const { fromId, user } = await mergers.begin(tenant, params.imId, body.from, actor);
      router.moveSessions(tenant.id, fromId, user);
      const messages = await mergers.bring(tenant.id, fromId);
      await router.announce(tenant.id, user.id);
      return { imId: describe(tenant, user).imId, messages };
    },
  );
};
