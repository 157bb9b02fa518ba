// Exporting users: all of an app as they are at one moment, as NDJSON or CSV, which imports unchanged.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Negotiator from 'negotiator';
import type { DatedUser, Directory } from '../identity/directory.ts';
import { toRecord } from './csv.ts';
import { CSV } from './lines.ts';
import { NDJSON, toLines } from './ndjson.ts';
import { AppPath, BOB, EXAMPLE_AT, backendProblems } from './shapes.ts';
import { asText, begin, toStream } from './streams.ts';

/** What an export may be asked for as; the first unless asked. */
const exportTypes: Record<string, { head: string; write: (users: DatedUser[]) => string }> = {
  [NDJSON]: { head: '', write: (users) => toLines(users.map(toExported)) },
  [CSV]: {
    head: toRecord(['userId', 'imId', 'createdAt']),
    write: (users) =>
      users
        .map(toExported)
        .map(({ userId, imId, createdAt }) => toRecord([userId, imId ?? '', createdAt]))
        .join(''),
  },
};

export const userExport: FastifyPluginAsyncTypebox<{ directory: Directory }> = async (app, { directory }) => {
  app.get(
    '/identities/export',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'exportIdentities',
        summary: 'Export all registered users',
        description:
          'As they all are at one moment, in the order they came: NDJSON, or CSV for `Accept: text/csv`. Either ' +
          'imports unchanged.',
        tags: ['Identities'],
        params: AppPath,
        response: {
          200: {
            description: 'A line per user.',
            content: {
              [NDJSON]: asText(`${JSON.stringify({ ...BOB, createdAt: EXAMPLE_AT })}\n`),
              [CSV]: asText(`userId,imId,createdAt\n${BOB.userId},${BOB.imId},${EXAMPLE_AT}\n`),
            },
          },
          ...backendProblems(),
        },
      },
    },
    async (request, reply) => {
      const type = new Negotiator(request).mediaType(Object.keys(exportTypes)) ?? NDJSON;
      const portions = await begin(reply, directory.exportAll(request.tenant.id));
      return reply.type(type).send(toStream(request, reply, writeUsers(type, portions), false));
    },
  );
};

async function* writeUsers(type: string, portions: AsyncIterable<DatedUser[]>): AsyncGenerator<string> {
  const { head, write } = exportTypes[type]!;
  yield head;
  for await (const users of portions) yield write(users);
}

function toExported({ imId, name, createdAt }: DatedUser) {
  return { imId, userId: name, createdAt: createdAt.toISOString() };
}
