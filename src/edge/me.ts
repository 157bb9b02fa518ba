// What a client may ask of itself with its token. Everybody is shown in the form of the token's scheme.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type, type TSchema } from 'typebox';
import type { ErrorCode } from '../errors.ts';
import type { AppId, Scheme } from '../ids.ts';
import type { ContactBook } from '../identity/contacts.ts';
import { schemes, show } from '../identity/schemes.ts';
import type { InboxEntry } from '../routing/inboxes.ts';
import type { Router } from '../routing/router.ts';
import type { Admitted } from '../routing/session.ts';
import { contactExtras } from './contacts.ts';
import { inboxShown, toMessageFields } from './messages.ts';
import { readNumberCursor, toPage } from './paging.ts';
import { After, Cursor, EXAMPLE_MESSAGE, Limit, list, problems, SchemeName } from './shapes.ts';

const Presence = Type.Boolean({ description: 'Whether others may see when the user is online.' });

const Me = Type.Object(
  {
    scheme: SchemeName,
    uid: Type.Optional(Type.String()),
    imId: Type.Optional(Type.String()),
    unread: Type.Integer({ description: 'How many messages of others are not read yet.' }),
    presence: Presence,
  },
  { examples: [{ scheme: 'composed', uid: 'alice', unread: 2, presence: true }] },
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

/** What any of these may answer, and more. */
export function clientProblems(...more: ErrorCode[]): Record<number, TSchema> {
  return problems(
    'invalid_request',
    'unauthorized',
    'token_expired',
    'token_revoked',
    'forbidden',
    ...more,
    'scheme_disabled',
    'unavailable',
  );
}

const refusals = clientProblems();

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
    async ({ admitted }) => describeMe(admitted),
  );

  app.patch(
    '/',
    {
      schema: {
        operationId: 'changeMe',
        summary: 'Change what others see of the token’s user',
        tags,
        body: Type.Object(
          { presence: Type.Optional(Presence) },
          { additionalProperties: false, examples: [{ presence: false }] },
        ),
        response: {
          200: { ...Me, description: 'As it is now.' },
          ...clientProblems('payload_too_large'),
        },
      },
    },
    async ({ admitted, body: { presence } }) => {
      const { app: tenant, user } = admitted;
      if (presence !== undefined) await router.presence.show(tenant.id, user.id, presence);
      return describeMe(admitted);
    },
  );

  async function describeMe({ app: tenant, user, claims }: Admitted) {
    const owner = { appId: tenant.id, id: user.id };
    return {
      ...schemes[claims.scheme].me(tenant.id, user),
      unread: await router.conversations.unread(owner),
      presence: await router.presence.isShown(tenant.id, user.id),
    };
  }

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
      const entries = await router.inboxes.readOwn(tenant.id, user.id, after, limit);
      return {
        items: entries.map((entry) => toShownMessage(claims.scheme, tenant.id, entry)),
        epoch: router.inboxes.epochOf(user.id),
      };
    },
  );
};

/** A message as a client of the scheme is shown it. */
export function toShownMessage(viewer: Scheme, appId: AppId, entry: InboxEntry) {
  const called = { from: show(viewer, appId, entry.from), to: show(viewer, appId, entry.to) };
  return { ...toMessageFields(entry), ...called };
}
