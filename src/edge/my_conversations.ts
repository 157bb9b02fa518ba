// The conversations of the token's user: with whom, what came last, and what is read of it, on either side.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { show } from '../identity/schemes.ts';
import type { Conversation, Router } from '../routing/router.ts';
import { clientProblems, toShownMessage } from './me.ts';
import { readNumberCursor, toPage } from './paging.ts';
import {
  Cursor,
  EXAMPLE_AT,
  EXAMPLE_MESSAGE,
  Limit,
  list,
  Message,
  Party,
  ref,
  Timestamp,
} from './shapes.ts';

const ReadMark = Type.Object({ messageId: Type.String({ format: 'uuid' }), at: Timestamp });

const example = {
  with: { uid: 'bob' },
  last: { ...EXAMPLE_MESSAGE, from: { uid: 'bob' }, to: { uid: 'alice' } },
  unread: 1,
  theirRead: { messageId: EXAMPLE_MESSAGE.messageId, at: EXAMPLE_AT },
};

const Conversation = Type.Object(
  {
    with: ref(Party),
    last: Type.Optional({ ...ref(Message), description: 'The newest message; absent once it has expired.' }),
    unread: Type.Integer({ description: 'How many of the other side are not read yet.' }),
    read: Type.Optional({ ...ReadMark, description: 'Up to which message the user has read.' }),
    theirRead: Type.Optional({ ...ReadMark, description: 'Up to which message the other side has read.' }),
  },
  { examples: [example] },
);

export const myConversations: FastifyPluginAsyncTypebox<{ router: Router }> = async (app, { router }) => {
  app.get(
    '/conversations',
    {
      schema: {
        operationId: 'getMyConversations',
        summary: 'The conversations of the token’s user, the newest first',
        description:
          'One per user that it has exchanged messages with. What comes in while pages are read moves to the front.',
        tags: ['Me'],
        querystring: Type.Object(
          { limit: Type.Optional(Limit), cursor: Type.Optional(Cursor) },
          { additionalProperties: false },
        ),
        response: { 200: { ...list(Conversation), description: 'A page.' }, ...clientProblems() },
      },
    },
    async ({ admitted: { app: tenant, user, claims }, query: { limit = 100, cursor } }) => {
      const toItem = ({ peer, last, unread, read, theirRead }: Conversation) => ({
        with: show(claims.scheme, tenant.id, peer),
        ...(last && { last: toShownMessage(claims.scheme, tenant.id, last) }),
        unread,
        ...(read && { read: toMark(read) }),
        ...(theirRead && { theirRead: toMark(theirRead) }),
      });
      const before = cursor === undefined ? Number.MAX_SAFE_INTEGER : readNumberCursor(cursor);
      return toPage(
        await router.conversations.list({ appId: tenant.id, id: user.id }, before, limit + 1),
        limit,
        ({ lastSeq }) => lastSeq,
        toItem,
      );
    },
  );
};

const toMark = ({ messageId, at }: { messageId: string; at: Date }) => ({ messageId, at: at.toISOString() });
