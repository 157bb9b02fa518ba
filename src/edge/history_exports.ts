// Exporting messages, of an app or of one inbox, as they are at one moment, as NDJSON that imports unchanged.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { App } from '../identity/apps.ts';
import type { Directory } from '../identity/directory.ts';
import type { ExportedMessage, History } from '../routing/history.ts';
import { EXAMPLE_LINE } from './history_imports.ts';
import { writePastMessage } from './history_lines.ts';
import { NDJSON } from './ndjson.ts';
import { AppPath, ImIdText, backendProblems } from './shapes.ts';
import { asText, begin, toStream } from './streams.ts';

export const historyExport: FastifyPluginAsyncTypebox<{ history: History; directory: Directory }> = async (
  app,
  { history, directory },
) => {
  app.get(
    '/messages/export',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'exportMessages',
        summary: 'Export messages',
        description:
          'All of the app, by their times, or with `imId` those of one inbox, in its order; as they all are at one ' +
          'moment. The lines import unchanged, also elsewhere: users are named by their uid or userId, so import the ' +
          'registered ones first. Who was erased is `{"erased": true}`, and a message from such a user has its ' +
          'messageId as its `id`. What was recalled is left out.',
        tags: ['Messages'],
        params: AppPath,
        querystring: Type.Object({ imId: Type.Optional(ImIdText) }, { additionalProperties: false }),
        response: {
          200: {
            description: 'A line per message.',
            content: { [NDJSON]: asText(`${JSON.stringify(EXAMPLE_LINE)}\n`) },
          },
          ...backendProblems('scheme_disabled'),
        },
      },
    },
    async (request, reply) => {
      const { tenant, query } = request;
      const inbox = query.imId === undefined ? undefined : await directory.find(tenant, { imId: query.imId });
      // There is no row 0: a composed user that nobody has used yet has no messages.
      const portions = await begin(reply, history.exportAll(tenant, inbox && (inbox.id ?? 0)));
      return reply.type(NDJSON).send(toStream(request, reply, writeMessages(tenant, portions), false));
    },
  );
};

async function* writeMessages(
  app: App,
  portions: AsyncIterable<readonly ExportedMessage[]>,
): AsyncGenerator<string> {
  for await (const portion of portions)
    yield portion.map((message) => writePastMessage(app, message)).join('');
}
