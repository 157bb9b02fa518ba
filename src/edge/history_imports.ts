// Bringing history along: messages of a former system as NDJSON in, a result per line out while the rest is coming in.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { ImidError } from '../errors.ts';
import type { History, Joined } from '../routing/history.ts';
import type { PastMessage } from '../routing/past_messages.ts';
import { CONTENT_MAX_BYTES } from './content.ts';
import { HISTORY_LINE_MAX_BYTES, readPastMessage } from './history_lines.ts';
import { toError, writeResults, type Outcome } from './import_batches.ts';
import type { Line } from './lines.ts';
import { NDJSON, readLines } from './ndjson.ts';
import { AppPath, EXAMPLE_MESSAGE, backendProblems } from './shapes.ts';
import { asText, readBody, requireStream, resume, toStream } from './streams.ts';
import { compileSchema } from './validation.ts';

/** Few, since live messages to the same users wait for a batch. */
const BATCH = 500;

export const EXAMPLE_LINE = {
  from: { uid: 'alice' },
  to: { userId: 'bob' },
  content: { text: 'hello' },
  at: '2019-05-01T08:00:00.000Z',
  id: 'old-81',
};

export const historyImport: FastifyPluginAsyncTypebox<{ history: History; idleMs: number }> = async (
  app,
  { history, idleMs },
) => {
  app.addContentTypeParser(NDJSON, (request, payload, done) =>
    done(null, readLines(readBody(request, payload, idleMs), HISTORY_LINE_MAX_BYTES)),
  );

  app.post(
    '/messages/import',
    {
      config: { scope: 'messages', idempotent: false },
      schema: {
        operationId: 'importMessages',
        summary: 'Bring messages of a former system along',
        description:
          'NDJSON in, a line `{from, to, content, at, id}` each, of any length, also gzipped; an export imports ' +
          'unchanged. Quietly: nobody is sent anything, nothing is pushed, nothing is unread. Inboxes go on from where ' +
          'they stand, in the order of the lines, with the time that a line says, from 1970 on; they may be in use.\n\n' +
          '`from` and `to` are addresses, as for sending; one of them may be `{"erased": true}`, and `from` `{"system": true}`. `content` is any JSON, ' +
          `at most ${CONTENT_MAX_BYTES} bytes. \`id\` is the sender’s own id of the message, and \`part\` (0) its place ` +
          'where it went to a list: what the sender has under both already is `existing`, so that the same again ends ' +
          'in the same state. Where the sender is erased, it is `at`, `id` and `part` that are looked at.\n\n' +
          'NDJSON out, a line each, in order, while the rest is still coming in: read it, or the import waits. A bad ' +
          'line stops no other.',
        tags: ['Messages'],
        params: AppPath,
        consumes: [NDJSON],
        body: { content: { [NDJSON]: asText(`${JSON.stringify(EXAMPLE_LINE)}\n`) } },
        response: {
          200: {
            description:
              'A result per line: created or existing, with the seq in the recipient’s inbox, or an error.',
            content: {
              [NDJSON]: asText(
                `${JSON.stringify({ line: 1, messageId: EXAMPLE_MESSAGE.messageId, seq: 1, status: 'created' })}\n`,
              ),
            },
          },
          ...backendProblems('payload_too_large'),
        },
      },
      // A body of lines is checked line by line.
      validatorCompiler: ({ schema, httpPart }) =>
        httpPart === 'body' ? () => true : compileSchema(schema, httpPart as 'querystring'),
    },
    async (request, reply) => {
      const lines = requireStream<Line[]>(request.body, [NDJSON]);
      // The first lines before the status, so that a bad header is still a 400.
      const first = await lines.next();
      const worker = {
        read: (line: Line) => readPastMessage(line, history.now()),
        act: history.begin(request.tenant),
        touches: () => [], // batches are stored one behind the other
        batch: BATCH,
        atOnce: 2,
      };
      const results = writeResults(resume(first, lines), worker, toResult, (error) =>
        app.log.error({ err: error }, 'an import of messages ended early'),
      );
      return reply.type(NDJSON).send(toStream(request, reply, results, true));
    },
  );
};

function toResult({ line, result }: Outcome<PastMessage, Joined>): object {
  return { line, ...(result instanceof ImidError ? toError(result) : result) };
}
