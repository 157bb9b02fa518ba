// Renaming: one user, or up to a thousand at once. Inbox, tokens and a registered imId stay.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { ImidError } from '../errors.ts';
import type { ImId, Name as NameText } from '../ids.ts';
import type { Directory, User } from '../identity/directory.ts';
import type { Registry, Rename } from '../identity/registry.ts';
import { describe } from '../identity/schemes.ts';
import { Identity, identityExample, toAnswer } from './identities.ts';
import { AppPath, ImIdText, Name, problems, UserPath } from './shapes.ts';
import { invalid } from './validation.ts';

const RENAMES_MAX = 1000;
const tags = ['Identities'];

export const renames: FastifyPluginAsyncTypebox<{ directory: Directory; registry: Registry }> = async (
  app,
  { directory, registry },
) => {
  app.patch(
    '/identities/:imId',
    {
      config: { scope: 'identities' },
      schema: {
        operationId: 'renameIdentity',
        summary: 'Rename a user',
        description:
          'Give the new `userId` of a registered user, the new `uid` of a composed one. Inbox and tokens stay; a ' +
          'registered imId stays as well, a composed one follows. The former name is free for a new user.',
        tags,
        params: UserPath,
        body: Type.Object(
          { userId: Type.Optional(Name), uid: Type.Optional(Name) },
          { minProperties: 1, maxProperties: 1, additionalProperties: false, examples: [{ uid: 'alicia' }] },
        ),
        response: {
          200: { ...Identity, description: 'The user as it is called now.' },
          ...problems(
            'invalid_request',
            'unauthorized',
            'forbidden',
            'not_found',
            'conflict',
            'scheme_disabled',
            'payload_too_large',
            'unavailable',
          ),
        },
      },
    },
    async ({ tenant, params, body }) => {
      const user = await directory.find(tenant, { imId: params.imId });
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
      const [renamed] = await registry.rename(tenant, [{ user: row, name, pointer: `#/${field}` }]);
      return toAnswer(tenant, renamed!);
    },
  );

  app.post(
    '/identities/rename',
    {
      config: { scope: 'identities' },
      schema: {
        operationId: 'renameIdentities',
        summary: 'Rename up to 1000 users at once',
        description:
          'All or nothing. Users may swap names and follow one another: `a` to `b` while `b` goes to `c`. The new ' +
          'name is a `userId`, or a `uid` for a composed user.',
        tags,
        params: AppPath,
        body: Type.Object(
          {
            renames: Type.Array(
              Type.Object(
                { imId: ImIdText, userId: Type.Optional(Name), uid: Type.Optional(Name) },
                { additionalProperties: false, oneOf: [{ required: ['userId'] }, { required: ['uid'] }] },
              ),
              { minItems: 1, maxItems: RENAMES_MAX },
            ),
          },
          {
            additionalProperties: false,
            examples: [{ renames: [{ imId: identityExample.imId, userId: 'robert' }] }],
          },
        ),
        response: {
          200: Type.Object(
            { renamed: Type.Integer({ description: 'How many users have another name now.' }) },
            { description: 'Renamed.', examples: [{ renamed: 1 }] },
          ),
          ...problems(
            'invalid_request',
            'unauthorized',
            'forbidden',
            'not_found',
            'conflict',
            'scheme_disabled',
            'payload_too_large',
            'unavailable',
          ),
        },
      },
    },
    async ({ tenant, body: { renames: asked } }) => {
      const users = await directory.claim(
        tenant,
        asked.map(({ imId }) => ({ imId })),
      );
      const wanted = toRenames(users, asked);
      await registry.rename(tenant, wanted);
      return { renamed: wanted.filter(({ user, name }) => user.name !== name).length };
    },
  );
};

/** Throws where an imId leads to nobody, and where a user or a name stands twice. */
function toRenames(
  users: readonly (User | ImidError)[],
  asked: readonly { imId: ImId; userId?: NameText; uid?: NameText }[],
): Rename[] {
  const userAt = new Map<number, number>();
  const nameAt = new Map<string, number>();
  return users.map((user, i) => {
    const { userId, uid } = asked[i]!;
    const field = { in: 'body', pointer: `#/renames/${i}/imId` } as const;
    if (user instanceof ImidError)
      throw new ImidError(user.code, user.message, { errors: [{ ...field, detail: user.message }] });
    const name = (userId ?? uid)!;
    const pointer = `#/renames/${i}/${userId === undefined ? 'uid' : 'userId'}`;
    if (userAt.has(user.id))
      throw invalid([{ ...field, detail: `is the user of renames.${userAt.get(user.id)}` }]);
    if (nameAt.has(name))
      throw invalid([{ in: 'body', pointer, detail: `is the name of renames.${nameAt.get(name)}` }]);
    userAt.set(user.id, i);
    nameAt.set(name, i);
    return { user, name, pointer };
  });
}
