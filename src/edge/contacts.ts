// Contact lists, written by the backend. A contact follows its user through adoption and rename.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { ImidError, type FieldFault } from '../errors.ts';
import type { App } from '../identity/apps.ts';
import type { Directory } from '../identity/directory.ts';
import { describe } from '../identity/schemes.ts';
import type { ContactBook } from '../identity/contacts.ts';
import { CONTACT_DATA_MAX_BYTES, toJsonText } from './content.ts';
import { readNumberCursor, toPage } from './paging.ts';
import { addressed, BOB, Cursor, Limit, list, backendProblems, UserPath } from './shapes.ts';

const CONTACTS_MAX = 5_000;

const extras = {
  displayName: Type.Optional(Type.String({ format: 'text', maxLength: 200 })),
  data: Type.Optional(Type.Unknown({ description: `Opaque JSON, at most ${CONTACT_DATA_MAX_BYTES} bytes.` })),
};

const extrasExample = { displayName: 'Bob', data: { avatar: 'bob.png' } };

const Contact = Type.Object(
  {
    imId: Type.String(),
    uid: Type.Optional(Type.String()),
    userId: Type.Optional(Type.String()),
    ...extras,
  },
  { examples: [{ ...BOB, ...extrasExample }] },
);

const tags = ['Contacts'];

export const contacts: FastifyPluginAsyncTypebox<{ directory: Directory; contactBook: ContactBook }> = async (
  app,
  { directory, contactBook },
) => {
  app.put(
    '/contacts/:imId',
    {
      config: { scope: 'identities' },
      schema: {
        operationId: 'replaceContacts',
        summary: 'Replace a user’s contact list',
        tags,
        params: UserPath,
        body: Type.Object(
          { items: Type.Array(addressed(extras), { maxItems: CONTACTS_MAX }) },
          {
            additionalProperties: false,
            examples: [{ items: [{ uid: 'bob', ...extrasExample }] }],
          },
        ),
        response: {
          200: { ...list(Contact), description: 'The first page of the list as it is now.' },
          ...backendProblems('scheme_disabled', 'payload_too_large'),
        },
      },
    },
    async ({ tenant, params, body: { items } }) => {
      const owner = await directory.resolve(tenant, { imId: params.imId });
      const users = await directory.claim(tenant, items);
      const seen = new Map<number, number>();
      const rows = users.map((user, i) => {
        const field = { in: 'body', pointer: `#/items/${i}` } as const;
        if (user instanceof ImidError) throw atField(user, field);
        const twin = seen.get(user.id);
        if (twin !== undefined)
          throw atField(
            new ImidError('invalid_request', `items.${i} names the same user as items.${twin}.`),
            field,
          );
        seen.set(user.id, i);
        const { displayName, data } = items[i]!;
        return {
          userId: user.id,
          displayName,
          data:
            data === undefined
              ? undefined
              : toJsonText(data, CONTACT_DATA_MAX_BYTES, { in: 'body', pointer: `${field.pointer}/data` }),
        };
      });
      await contactBook.replace(tenant.id, owner.id, rows);
      return page(contactBook, tenant, owner.id, 0, 100);
    },
  );

  app.get(
    '/contacts/:imId',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'listContacts',
        summary: 'Read a user’s contact list',
        tags,
        params: UserPath,
        querystring: Type.Object(
          { limit: Type.Optional(Limit), cursor: Type.Optional(Cursor) },
          { additionalProperties: false },
        ),
        response: {
          200: { ...list(Contact), description: 'A page.' },
          ...backendProblems('scheme_disabled'),
        },
      },
    },
    async ({ tenant, params, query: { limit = 100, cursor } }) => {
      const after = readNumberCursor(cursor);
      const owner = await directory.find(tenant, { imId: params.imId });
      if (owner.id === undefined) return { items: [] };
      return page(contactBook, tenant, owner.id, after, limit);
    },
  );
};

async function page(contactBook: ContactBook, app: App, ownerId: number, after: number, limit: number) {
  return toPage(
    await contactBook.list(app.id, ownerId, after, limit + 1),
    limit,
    (contact) => contact.position,
    ({ user, displayName, data }) => {
      const { scheme: _scheme, ...forms } = describe(app, user);
      return { ...forms, ...contactExtras(displayName, data) };
    },
  );
}

export function contactExtras(displayName: string | undefined, data: string | undefined) {
  return {
    ...(displayName === undefined ? {} : { displayName }),
    ...(data === undefined ? {} : { data: JSON.parse(data) as unknown }),
  };
}

export function atField(error: ImidError, field: Pick<FieldFault, 'in' | 'pointer'>): ImidError {
  return new ImidError(error.code, error.message, { errors: [{ ...field, detail: error.message }] });
}
