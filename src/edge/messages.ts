// Messages for backends: sending as any user, and reading any inbox, for audit and support.

import { randomUUID } from 'node:crypto';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { ImidError } from '../errors.ts';
import type { App } from '../identity/apps.ts';
import type { Directory } from '../identity/directory.ts';
import { describe, SYSTEM_NAME } from '../identity/schemes.ts';
import type { InboxEntry } from '../routing/inboxes.ts';
import type { Router } from '../routing/router.ts';
import { CONTENT_MAX_BYTES, requireRoomForPush, toJsonText } from './content.ts';
import {
  Address,
  After,
  AppPath,
  ClientId,
  EXAMPLE_MESSAGE,
  ImIdText,
  ItemError,
  Limit,
  list,
  Message,
  backendProblems,
  PushText,
  ref,
  Seq,
  Timestamp,
} from './shapes.ts';

const LIST_MAX = 1000;

const Sent = Type.Object({
  messageId: Type.String({ format: 'uuid' }),
  seq: { ...Seq, description: 'In the recipient’s inbox.' },
  at: Timestamp,
});

const SentOrError = Type.Object({
  messageId: Type.Optional(Sent.properties.messageId),
  seq: Type.Optional(Sent.properties.seq),
  at: Type.Optional(Sent.properties.at),
  error: Type.Optional(ref(ItemError)),
});

const { messageId, seq, at } = EXAMPLE_MESSAGE;
const sentExample = { messageId, seq, at };
const sentExamples = {
  'to one': { value: sentExample },
  'to a list': {
    value: {
      results: [
        sentExample,
        { error: { code: 'unknown_recipient', detail: 'Nobody in this app has this address.' } },
      ],
    },
  },
};

const Inbox = list(ref(Message), {
  epoch: Type.String({ description: 'Of the sequence numbers: with another epoch, start over from 0.' }),
});
/** The answer to whoever reads an inbox, in the forms that the reader is shown. */
export const inboxShown = (example: object) => ({
  ...Inbox,
  description: 'Messages behind `after`, by seq.',
  examples: [{ items: [example], epoch: 'kJ3v0qWm2tYx8aLrZc5PdA' }],
});

const tags = ['Messages'];

export const messages: FastifyPluginAsyncTypebox<{ directory: Directory; router: Router }> = async (
  app,
  { directory, router },
) => {
  app.post(
    '/messages',
    {
      config: { scope: 'messages', idempotent: true },
      schema: {
        operationId: 'sendMessage',
        summary: 'Send a message as a user',
        description:
          'Answered when the message is on disk. `to` may be a list: then each recipient has its own result, in order, ' +
          'and one that is named twice gets one message. With an `id`, sending again stores nothing and answers the ' +
          'same; a list stores for those of its recipients that have not got it yet.',
        tags,
        params: AppPath,
        body: Type.Object(
          {
            from: Type.Optional({
              ...ref(Address),
              description: 'Without it, it is a message of the app itself: `{"system": true}`.',
            }),
            to: Type.Union([ref(Address), Type.Array(ref(Address), { minItems: 1, maxItems: LIST_MAX })]),
            content: Type.Unknown({ description: `Any JSON, at most ${CONTENT_MAX_BYTES} bytes.` }),
            id: Type.Optional(ClientId),
            push: Type.Optional(ref(PushText)),
          },
          {
            additionalProperties: false,
            examples: [{ from: { uid: 'alice' }, to: { uid: 'bob' }, content: { text: 'hello' } }],
          },
        ),
        response: {
          201: Type.Union(
            [Sent, Type.Object({ results: Type.Array(SentOrError) }, { additionalProperties: false })],
            { description: 'Stored.', 'x-examples': sentExamples },
          ),
          ...backendProblems('scheme_disabled', 'payload_too_large', 'unknown_recipient'),
        },
      },
    },
    async ({ id, headers, tenant, body }, reply) => {
      const content = toJsonText(body.content, CONTENT_MAX_BYTES, { in: 'body', pointer: '#/content' });
      requireRoomForPush(body.push, 'body');
      const outcome = await router.send(tenant, {
        from: body.from,
        to: body.to,
        content,
        id: body.id ?? randomUUID(),
        push: body.push,
        origin: id,
        traceparent: typeof headers['traceparent'] === 'string' ? headers['traceparent'] : undefined,
      });
      const results = outcome.map((stored) =>
        stored instanceof ImidError
          ? stored
          : { messageId: stored.messageId, seq: stored.recipientSeq, at: stored.at.toISOString() },
      );
      if (Array.isArray(body.to))
        return reply.code(201).send({
          results: results.map((result) =>
            result instanceof ImidError ? { error: { code: result.code, detail: result.message } } : result,
          ),
        });
      const [result] = results;
      if (result instanceof ImidError)
        throw new ImidError(result.code, result.message, {
          errors: [{ in: 'body', pointer: '#/to', detail: result.message }],
        });
      return reply.code(201).send(result!);
    },
  );

  app.get(
    '/messages',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'readInbox',
        summary: 'Read a user’s inbox',
        tags,
        params: AppPath,
        querystring: Type.Object(
          { imId: ImIdText, after: Type.Optional(After), limit: Type.Optional(Limit) },
          { additionalProperties: false },
        ),
        response: {
          200: inboxShown(EXAMPLE_MESSAGE),
          ...backendProblems('scheme_disabled'),
        },
      },
    },
    async ({ tenant, query: { imId, after = 0, limit = 100 } }) => {
      const user = await directory.find(tenant, { imId });
      const entries =
        user.id === undefined ? [] : await router.inboxes.read(tenant.id, user.id, after, limit);
      return {
        items: entries.map((entry) => toMessage(tenant, entry)),
        epoch: router.inboxes.epochOf(user.id ?? 0),
      };
    },
  );
};

function toMessage(app: App, entry: InboxEntry) {
  const called = (party: InboxEntry['from']) => {
    if (!party) return { erased: true };
    if (party.name === SYSTEM_NAME) return { system: true };
    const { scheme: _scheme, ...forms } = describe(app, party);
    return forms;
  };
  return { ...toMessageFields(entry), from: called(entry.from), to: called(entry.to) };
}

/** All of an entry but who its two are, which depends on who looks. */
export function toMessageFields(entry: InboxEntry) {
  return {
    seq: entry.seq,
    messageId: entry.messageId,
    content: JSON.parse(entry.content) as unknown,
    at: entry.at.toISOString(),
    ...(entry.isRecalled && { recalled: true }),
    ...(entry.recalls !== undefined && { recalls: entry.recalls }),
  };
}
