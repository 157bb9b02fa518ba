// Whom the token's user has blocked.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { ImidError } from '../errors.ts';
import type { App } from '../identity/apps.ts';
import type { Directory, User } from '../identity/directory.ts';
import { show } from '../identity/schemes.ts';
import type { Router } from '../routing/router.ts';
import type { Scheme } from '../ids.ts';
import { atField } from './contacts.ts';
import { clientProblems } from './me.ts';
import { Address, Party, ref } from './shapes.ts';

const BLOCKED_MAX = 1_000;

const example = { items: [{ uid: 'mallory' }] };
const Blocked = Type.Object({ items: Type.Array(ref(Party)) }, { examples: [example] });

export const myBlocked: FastifyPluginAsyncTypebox<{ directory: Directory; router: Router }> = async (
  app,
  { directory, router },
) => {
  const shown = async (tenant: App, user: User, scheme: Scheme) => ({
    items: (await router.blocking.list(tenant.id, user.id)).map((each) => show(scheme, tenant.id, each)),
  });

  app.get(
    '/blocked',
    {
      schema: {
        operationId: 'getMyBlocked',
        summary: 'Whom the token’s user has blocked',
        tags: ['Me'],
        response: { 200: { ...Blocked, description: 'All of them.' }, ...clientProblems() },
      },
    },
    async ({ admitted: { app: tenant, user, claims } }) => shown(tenant, user, claims.scheme),
  );

  app.put(
    '/blocked',
    {
      schema: {
        operationId: 'replaceMyBlocked',
        summary: 'Block exactly these',
        description:
          'What they send from now on reaches no device, also after they are blocked no more, and they can’t tell: they are ' +
          'answered as ever, and the user looks offline to them.',
        tags: ['Me'],
        body: Type.Object(
          { items: Type.Array(ref(Address), { maxItems: BLOCKED_MAX }) },
          { additionalProperties: false, examples: [example] },
        ),
        response: {
          200: { ...Blocked, description: 'Whom it blocks now.' },
          ...clientProblems('not_found', 'payload_too_large'),
        },
      },
    },
    async ({ admitted: { app: tenant, user, claims }, body: { items } }) => {
      const users = (await directory.claim(tenant, items)).map((found, i) => {
        const field = { in: 'body', pointer: `#/items/${i}` } as const;
        if (found instanceof ImidError) throw atField(found, field);
        if (found.id === user.id)
          throw atField(new ImidError('invalid_request', `items.${i} is the user itself.`), field);
        return found.id;
      });
      await router.blocking.replace(tenant.id, user.id, [...new Set(users)]);
      return shown(tenant, user, claims.scheme);
    },
  );
};
