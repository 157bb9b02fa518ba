// The two schemes side by side: how far each is used, and what addresses of either lead to.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { ImidError } from '../errors.ts';
import { describe } from '../identity/schemes.ts';
import type { Directory, Found } from '../identity/directory.ts';
import type { Router } from '../routing/router.ts';
import { identityFields } from './identities.ts';
import { Address, ALICE, AppPath, BOB, ItemError, backendProblems, ref } from './shapes.ts';

const SchemeUse = Type.Object({
  enabled: Type.Boolean(),
  users: Type.Integer({
    description: 'Users with a row: without an imId for composed, with one for registered.',
  }),
  connections: Type.Integer(),
});

const Resolved = Type.Object({
  imId: Type.Optional(Type.String()),
  scheme: Type.Optional(identityFields.scheme),
  uid: identityFields.uid,
  userId: identityFields.userId,
  formerName: Type.Optional(
    Type.Boolean({ description: 'Nobody has the name now; this is the user who had it last.' }),
  ),
  error: Type.Optional(ref(ItemError)),
});

const tags = ['Schemes'];

export const schemeUse: FastifyPluginAsyncTypebox<{ directory: Directory; router: Router }> = async (
  app,
  { directory, router },
) => {
  app.get(
    '/schemes',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'getSchemes',
        summary: 'Show both schemes side by side',
        description: 'The users of composed are those without an imId: how far a move to registered is.',
        tags,
        params: AppPath,
        response: {
          200: Type.Object(
            { composed: SchemeUse, registered: SchemeUse },
            {
              description: 'Both schemes.',
              examples: [
                {
                  composed: { enabled: true, users: 1, connections: 1 },
                  registered: { enabled: true, users: 1, connections: 0 },
                },
              ],
            },
          ),
          ...backendProblems(),
        },
      },
    },
    async ({ tenant }) => {
      const users = await directory.count(tenant.id);
      const connections = await router.presence.count(tenant.id);
      const useOf = (scheme: 'composed' | 'registered') => ({
        enabled: tenant.schemes.includes(scheme),
        users: users[scheme],
        connections: connections[scheme],
      });
      return { composed: useOf('composed'), registered: useOf('registered') };
    },
  );

  app.post(
    '/resolve',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'resolve',
        summary: 'Resolve up to 1000 addresses',
        description:
          'The results stand in the order of the addresses. What another process has changed (a name, a scheme of the ' +
          'app) is seen within a second; what this one has, at once. With `formerNames`, a name that nobody has any ' +
          'more leads to the user who had it last, unless that user was erased.',
        tags,
        params: AppPath,
        body: Type.Object(
          {
            addresses: Type.Array(ref(Address), { maxItems: 1000 }),
            formerNames: Type.Optional(Type.Boolean({ default: false })),
          },
          { additionalProperties: false, examples: [{ addresses: [{ uid: 'alice' }, { userId: 'bob' }] }] },
        ),
        response: {
          200: Type.Object(
            { results: Type.Array(Resolved) },
            {
              description: 'One result per address.',
              examples: [
                {
                  results: [
                    { ...ALICE, scheme: 'composed' },
                    { ...BOB, scheme: 'registered' },
                  ],
                },
              ],
            },
          ),
          ...backendProblems('payload_too_large'),
        },
      },
    },
    async ({ tenant, body }) => {
      const lookUp = body.formerNames ? directory.lookUpFormer : directory.lookUp;
      const found: (ImidError | (Found & { hadName?: true }))[] = await lookUp(tenant, body.addresses);
      return {
        results: found.map((user) => {
          if (user instanceof ImidError) return { error: { code: user.code, detail: user.message } };
          return user.hadName ? { ...describe(tenant, user), formerName: true } : describe(tenant, user);
        }),
      };
    },
  );
};
