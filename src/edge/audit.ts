// The audit trail, for admins.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { parseAppId } from '../ids.ts';
import type { Audit } from '../identity/audit.ts';
import { readNumberCursor, toPage } from './paging.ts';
import { AppIdText, Cursor, EXAMPLE_AT, Limit, list, Name, problems, Timestamp } from './shapes.ts';
import { invalid } from './validation.ts';

const AuditEvent = Type.Object(
  {
    at: Timestamp,
    appId: AppIdText,
    actor: Type.String({ description: 'The id of an API key, or `admin`.' }),
    action: Type.String({ enum: ['identity.erase', 'identity.merge'] }),
    subject: Type.String({
      description: 'A keyed hash of the name it was done to: the same name, the same hash.',
    }),
  },
  {
    examples: [
      { at: EXAMPLE_AT, appId: '1', actor: 'admin', action: 'identity.erase', subject: 'Zk4r0b1dQ7m3…' },
    ],
  },
);

export const audit: FastifyPluginAsyncTypebox<{ audit: Audit }> = async (app, { audit: trail }) => {
  app.get(
    '/audit',
    {
      schema: {
        operationId: 'listAuditEvents',
        summary: 'Show who was erased or merged, when and by whom',
        description:
          'Names nobody: with `name`, the events about whoever had that name are found all the same.',
        tags: ['Apps'],
        querystring: Type.Object(
          {
            appId: Type.Optional(AppIdText),
            name: Type.Optional({ ...Name, description: 'A uid or userId of that app.' }),
            limit: Type.Optional(Limit),
            cursor: Type.Optional(Cursor),
          },
          { additionalProperties: false },
        ),
        response: {
          200: { ...list(AuditEvent), description: 'A page, oldest first.' },
          ...problems('invalid_request', 'unauthorized', 'forbidden', 'unavailable'),
        },
      },
    },
    async ({ query: { appId, name, limit = 100, cursor } }) => {
      if (name !== undefined && appId === undefined)
        throw invalid([{ in: 'query', pointer: '#/appId', detail: 'is missing: a name is one of an app' }]);
      const about = { appId: appId === undefined ? undefined : parseAppId(appId), name };
      const events = await trail.list(about, readNumberCursor(cursor), limit + 1);
      return toPage(
        events,
        limit,
        (event) => event.id,
        ({ at, appId: ofApp, actor, action, subjectHash }) => ({
          at: at.toISOString(),
          appId: String(ofApp),
          actor,
          action,
          subject: subjectHash.toString('base64url'),
        }),
      );
    },
  );
};
