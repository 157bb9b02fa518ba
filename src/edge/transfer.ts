// Bringing users along and taking them elsewhere: NDJSON or CSV in, a result per line out; NDJSON or CSV out.

import { finished } from 'node:stream';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Negotiator from 'negotiator';
import { Type } from 'typebox';
import { asImidError } from '../errors.ts';
import type { App } from '../identity/apps.ts';
import type { Directory, User } from '../identity/directory.ts';
import type { Registry } from '../identity/registry.ts';
import { requireScheme } from '../identity/schemes.ts';
import { CSV, toRecord } from './csv.ts';
import { readBody, toStream } from './encoding.ts';
import { importLines, toError } from './importing.ts';
import type { Line } from './lines.ts';
import { NDJSON, toLines } from './ndjson.ts';
import { importTypes } from './registrations.ts';
import { AppPath, BOB, EXAMPLE_AT, problems } from './shapes.ts';
import { invalid } from './validation.ts';

/** What an export may be asked for as; the first unless asked. */
const exportTypes: Record<string, { head: string; write: (users: User[]) => string }> = {
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

const tags = ['Identities'];
const text = (example: string) => ({ schema: Type.String({ examples: [example] }), example });

export const transfer: FastifyPluginAsyncTypebox<{ directory: Directory; registry: Registry }> = async (
  app,
  { directory, registry },
) => {
  for (const [type, read] of Object.entries(importTypes))
    app.addContentTypeParser(type, (request, payload, done) => done(null, read(readBody(request, payload))));

  app.post(
    '/identities/import',
    {
      config: { scope: 'identities' },
      schema: {
        operationId: 'importIdentities',
        summary: 'Register any number of userIds',
        description:
          'NDJSON in, a line `{userId, imId?, createdAt?, adopt?}` each, or CSV with a header of these columns in any ' +
          'order (`adopt` is the uid to adopt there), of any length, also gzipped; an export imports unchanged. NDJSON ' +
          'out, a line each, in order, while the rest is still coming in: read it, or the import waits. A bad line ' +
          'stops no other, nothing is ever overwritten, and the same again ends in the same state.',
        tags,
        params: AppPath,
        consumes: Object.keys(importTypes),
        body: {
          content: {
            [NDJSON]: text('{"userId":"bob"}\n{"userId":"alice","adopt":{"uid":"g-81"}}\n'),
            [CSV]: text('userId,adopt\nbob,\nalice,g-81\n'),
          },
        },
        response: {
          200: {
            description: 'A result per line: created, adopted, existing, or an error.',
            content: {
              [NDJSON]: text('{"line":1,"userId":"bob","imId":"im_…","status":"created"}\n'),
            },
          },
          ...problems(
            'invalid_request',
            'unauthorized',
            'forbidden',
            'not_found',
            'scheme_disabled',
            'unavailable',
          ),
        },
      },
      validatorCompiler: () => () => true,
    },
    async (request, reply) => {
      const { tenant, body } = request;
      requireScheme(tenant, 'registered');
      if (!isLines(body))
        throw invalid([
          {
            in: 'header',
            pointer: '#/content-type',
            detail: `must be ${Object.keys(importTypes).join(' or ')}`,
          },
        ]);
      // The first lines before the status, so that a bad header is still a 400.
      const first = await body.next();
      return reply.type(NDJSON).send(toStream(request, reply, writeResults(tenant, first, body), true));
    },
  );

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
        tags,
        params: AppPath,
        response: {
          200: {
            description: 'A line per user.',
            content: {
              [NDJSON]: text(`${JSON.stringify({ ...BOB, createdAt: EXAMPLE_AT })}\n`),
              [CSV]: text(`userId,imId,createdAt\n${BOB.userId},${BOB.imId},${EXAMPLE_AT}\n`),
            },
          },
          ...problems('invalid_request', 'unauthorized', 'forbidden', 'not_found', 'unavailable'),
        },
      },
    },
    async (request, reply) => {
      const type = new Negotiator(request).mediaType(Object.keys(exportTypes)) ?? NDJSON;
      const users = directory.exportAll(request.tenant.id);
      // Also where nobody ever begins to read them.
      finished(reply.raw, () => void users.return(undefined).catch(() => {}));
      // The first portion before the status, so that a database that is gone is still a 503.
      const first = await users.next();
      return reply.type(type).send(toStream(request, reply, writeUsers(type, first, users), false));
    },
  );

  async function* writeResults(
    tenant: App,
    first: IteratorResult<Line[]>,
    rest: AsyncGenerator<Line[]>,
  ): AsyncGenerator<string> {
    try {
      for await (const results of importLines(registry, tenant, resume(first, rest))) yield toLines(results);
    } catch (error) {
      // The status is long sent: say where it ended, in a line without a number.
      app.log.error({ err: error }, 'an import ended early');
      yield toLines([toError(asImidError(error))]);
    }
  }
};

function isLines(body: unknown): body is AsyncGenerator<Line[]> {
  return typeof body === 'object' && body !== null && Symbol.asyncIterator in body;
}

async function* writeUsers(
  type: string,
  first: IteratorResult<User[]>,
  rest: AsyncGenerator<User[]>,
): AsyncGenerator<string> {
  const { head, write } = exportTypes[type]!;
  yield head;
  for await (const users of resume(first, rest)) yield write(users);
}

/** Goes on with what was begun. */
async function* resume<T>(first: IteratorResult<T>, rest: AsyncGenerator<T>): AsyncGenerator<T> {
  try {
    for (let step = first; !step.done; step = await rest.next()) yield step.value;
  } finally {
    await rest.return(undefined);
  }
}

function toExported({ imId, name, createdAt }: User) {
  return { imId, userId: name, createdAt: createdAt.toISOString() };
}
