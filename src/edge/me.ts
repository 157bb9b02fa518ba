// What a client may ask of itself with its token. Everybody is shown in the form of the token's scheme.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { ContactBook } from '../identity/contacts.ts';
import { schemes, show } from '../identity/schemes.ts';
import type { Router } from '../routing/router.ts';
import { contactExtras } from './contacts.ts';
import { inboxShown } from './messages.ts';
import { readNumberCursor, toPage } from './paging.ts';
import { After, Cursor, EXAMPLE_MESSAGE, Limit, list, problems, SchemeName } from './shapes.ts';

const Me = Type.Object(
  {
    scheme: SchemeName,
    uid: Type.Optional(Type.String()),
    imId: Type.Optional(Type.String()),
  },
  { examples: [{ scheme: 'composed', uid: 'alice' }] },
);

const Contact = Type.Object(
  {
    uid: Type.Optional(Type.String()),
    imId: Type.Optional(Type.String()),
    displayName: Type.Optional(Type.String()),
    data: Type.Optional(Type.Unknown()),
  },
  { examples: [{ uid: 'bob', displayName: 'Bob', data: { avatar: 'bob.png' } }] },
);

const tags = ['Me'];
const refusals = problems(
  'invalid_request',
  'unauthorized',
  'token_expired',
  'token_revoked',
  'forbidden',
  'scheme_disabled',
  'unavailable',
);

export const me: FastifyPluginAsyncTypebox<{ contactBook: ContactBook; router: Router }> = async (
  app,
  { contactBook, router },
) => {
  app.get(
    '/',
    {
      schema: {
        operationId: 'getMe',
        summary: 'Who the token acts for',
        description: 'Also what a browser asks when it can’t connect, since it is not told why.',
        tags,
        response: {
          200: { ...Me, description: '`uid` with a composed token, `imId` with a registered one.' },
          ...refusals,
        },
      },
    },
    async ({ admitted: { app: tenant, user, claims } }) => schemes[claims.scheme].me(tenant.id, user),
  );

  app.get(
    '/contacts',
    {
      schema: {
        operationId: 'getMyContacts',
        summary: 'The contacts of the token’s user',
        tags,
        querystring: Type.Object(
          { limit: Type.Optional(Limit), cursor: Type.Optional(Cursor) },
          { additionalProperties: false },
        ),
        response: { 200: { ...list(Contact), description: 'A page.' }, ...refusals },
      },
    },
    async ({ admitted: { app: tenant, user, claims }, query: { limit = 100, cursor } }) =>
      toPage(
        await contactBook.list(tenant.id, user.id, readNumberCursor(cursor), limit + 1),
        limit,
        (contact) => contact.position,
        (contact) => ({
          ...show(claims.scheme, tenant.id, contact.user),
          ...contactExtras(contact.displayName, contact.data),
        }),
      ),
  );

  app.get(
    '/messages',
    {
      schema: {
        operationId: 'getMyMessages',
        summary: 'The inbox of the token’s user',
        tags,
        querystring: Type.Object(
          { after: Type.Optional(After), limit: Type.Optional(Limit) },
          { additionalProperties: false },
        ),
        response: {
          200: inboxShown({ ...EXAMPLE_MESSAGE, from: { uid: 'alice' }, to: { uid: 'bob' } }),
          ...refusals,
        },
      },
    },
    async ({ admitted: { app: tenant, user, claims }, query: { after = 0, limit = 100 } }) => {
      const entries = await router.readInbox(tenant.id, user.id, after, limit);
      return {
        items: entries.map((entry) => ({
          seq: entry.seq,
          messageId: entry.messageId,
          from: show(claims.scheme, tenant.id, entry.from),
          to: show(claims.scheme, tenant.id, entry.to),
          content: JSON.parse(entry.content) as unknown,
          at: entry.at.toISOString(),
        })),
        epoch: router.epochOf(user.id),
      };
    },
  );
};
