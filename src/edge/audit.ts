// The audit trail, for admins.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { parseAppId } from '../ids.ts';
import type { Audit } from '../identity/audit.ts';
import { readNumberCursor, toCursor, toPage } from './paging.ts';
import { AppIdText, Cursor, EXAMPLE_AT, Limit, list, Name, problems, Timestamp } from './shapes.ts';
import { invalid } from './validation.ts';

const Actor = Type.String({
  format: 'text',
  minLength: 1,
  maxLength: 100,
  description:
    'The id of an API key, `admin`, `client` for a user itself, or `service` for what it does by itself.',
  examples: ['admin'],
});
const Action = Type.String({
  format: 'text',
  minLength: 1,
  maxLength: 100,
  description: 'What was done, `<thing>.<verb>`.',
  examples: ['identity.erase'],
});

const AuditEvent = Type.Object(
  {
    at: Timestamp,
    appId: Type.Optional(AppIdText),
    actor: Actor,
    action: Action,
    subject: Type.Optional(
      Type.String({
        description: 'A keyed hash of the name of the user it was done to: the same name, the same hash.',
      }),
    ),
    target: Type.Optional(
      Type.String({ description: 'What it was done with: the id of a key, or an operation of this API.' }),
    ),
    count: Type.Integer({ description: 'How many times: uses are counted.' }),
    cursor: Type.String({ description: 'Goes on behind this event, as `?cursor=`.' }),
  },
  {
    examples: [
      {
        at: EXAMPLE_AT,
        appId: '1',
        actor: 'admin',
        action: 'identity.erase',
        subject: 'Zk4r0b1dQ7m3…',
        count: 1,
        cursor: 'YWZ0ZXI6ODE',
      },
    ],
  },
);

export const audit: FastifyPluginAsyncTypebox<{ audit: Audit }> = async (app, { audit: trail }) => {
  app.get(
    '/audit',
    {
      schema: {
        operationId: 'listAuditEvents',
        summary: 'Show what was done, when and by whom',
        description:
          'Names nobody: with `name`, the events about whoever had that name are found all the same. Who goes on from the ' +
          '`cursor` of the last event misses none, whatever was under way. What keys are used for is counted, and is ' +
          'written within seconds.',
        tags: ['Apps'],
        querystring: Type.Object(
          {
            appId: Type.Optional(AppIdText),
            name: Type.Optional({ ...Name, description: 'A uid or userId of that app.' }),
            actor: Type.Optional(Actor),
            action: Type.Optional(Action),
            from: Type.Optional({ ...Timestamp, description: 'At that time or later.' }),
            to: Type.Optional({ ...Timestamp, description: 'Earlier than that.' }),
            order: Type.Optional(
              Type.Unsafe<'asc' | 'desc'>(
                Type.String({
                  enum: ['asc', 'desc'],
                  default: 'asc',
                  description: 'Oldest or newest first.',
                }),
              ),
            ),
            limit: Type.Optional(Limit),
            cursor: Type.Optional(Cursor),
          },
          { additionalProperties: false },
        ),
        response: {
          200: { ...list(AuditEvent), description: 'A page.' },
          ...problems('invalid_request', 'unauthorized', 'forbidden', 'unavailable'),
        },
      },
    },
    async ({ query: { appId, name, actor, action, from, to, order = 'asc', limit = 100, cursor } }) => {
      if (name !== undefined && appId === undefined)
        throw invalid([{ in: 'query', pointer: '#/appId', detail: 'is missing: a name is one of an app' }]);
      const events = await trail.list(
        {
          appId: appId === undefined ? undefined : parseAppId(appId),
          name,
          actor,
          action,
          from: from === undefined ? undefined : new Date(from),
          to: to === undefined ? undefined : new Date(to),
        },
        { order, afterId: cursor === undefined ? undefined : readNumberCursor(cursor), limit: limit + 1 },
      );
      return toPage(
        events,
        limit,
        (event) => event.id,
        ({ id, at, appId: ofApp, subjectHash, target, ...event }) => ({
          at: at.toISOString(),
          ...(ofApp !== undefined && { appId: String(ofApp) }),
          actor: event.actor,
          action: event.action,
          ...(subjectHash && { subject: subjectHash.toString('base64url') }),
          ...(target !== undefined && { target }),
          count: event.count,
          cursor: toCursor(id),
        }),
      );
    },
  );
};
