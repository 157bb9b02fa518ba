// Bringing users along and taking them elsewhere: NDJSON in, a result per line out; and NDJSON out.

import { Readable } from 'node:stream';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { asImidError, ImidError } from '../errors.ts';
import type { Name as NameText, RegisteredId } from '../ids.ts';
import type { App } from '../identity/apps.ts';
import type { Directory, User } from '../identity/directory.ts';
import type { Registered, Registration, Registry } from '../identity/registry.ts';
import { requireScheme } from '../identity/schemes.ts';
import type { Line } from './lines.ts';
import { NDJSON, readLines, toLines } from './ndjson.ts';
import { AppPath, ImIdText, Name, problems, Timestamp } from './shapes.ts';
import { compileSchema, faultsOf, invalid } from './validation.ts';

const BATCH = 1_000;

const ImportLine = Type.Object(
  {
    userId: Name,
    imId: Type.Optional({ ...ImIdText, pattern: '^im_' }),
    createdAt: Type.Optional(Timestamp),
    adopt: Type.Optional(
      Type.Unsafe<boolean | { uid: NameText }>({
        type: ['boolean', 'object'],
        properties: { uid: Name },
        required: ['uid'],
        additionalProperties: false,
      }),
    ),
  },
  { additionalProperties: false },
);

const tags = ['Identities'];
const stream = (example: string) => ({
  content: { [NDJSON]: { schema: Type.String({ examples: [example] }), example } },
});

export const transfer: FastifyPluginAsyncTypebox<{ directory: Directory; registry: Registry }> = async (
  app,
  { directory, registry },
) => {
  const validate = compileSchema(ImportLine, 'frame');
  app.addContentTypeParser(NDJSON, (_request, payload, done) => done(null, payload));

  app.post(
    '/identities/import',
    {
      config: { scope: 'identities' },
      schema: {
        operationId: 'importIdentities',
        summary: 'Register any number of userIds',
        description:
          'NDJSON in, a line `{userId, imId?, adopt?}` each, of any length; an export imports unchanged. NDJSON out, a ' +
          'line each, in order, while the rest is still coming in: read it, or the import waits. A bad line stops no ' +
          'other, nothing is ever overwritten, and the same again ends in the same state.',
        tags,
        params: AppPath,
        consumes: [NDJSON],
        body: stream('{"userId":"bob"}\n{"userId":"alice","adopt":{"uid":"g-81"}}\n'),
        response: {
          200: {
            description: 'A result per line: created, adopted, existing, or an error.',
            ...stream('{"line":1,"userId":"bob","imId":"im_…","status":"created"}\n'),
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
    async ({ tenant, body }, reply) => {
      requireScheme(tenant, 'registered');
      if (!(body instanceof Readable))
        throw invalid([{ in: 'header', pointer: '#/content-type', detail: `must be ${NDJSON}` }]);
      return reply.type(NDJSON).send(toStream(importLines(tenant, body)));
    },
  );

  app.get(
    '/identities/export',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'exportIdentities',
        summary: 'Export all registered users',
        description: 'NDJSON, as they all are at one moment, in the order they came.',
        tags,
        params: AppPath,
        response: {
          200: {
            description: 'A line `{imId, userId, createdAt}` per user.',
            ...stream('{"imId":"im_…","userId":"bob","createdAt":"2026-11-25T10:00:00.000Z"}\n'),
          },
          ...problems('invalid_request', 'unauthorized', 'forbidden', 'not_found', 'unavailable'),
        },
      },
    },
    async ({ tenant }, reply) => {
      const users = directory.exportAll(tenant.id);
      // The first portion before the status, so that a database that is gone is still a 503.
      const first = await users.next();
      return reply.type(NDJSON).send(toStream(exportLines(first, users)));
    },
  );

  async function* importLines(tenant: App, body: AsyncIterable<Buffer>): AsyncGenerator<string> {
    try {
      for await (const lines of readLines(body))
        for (let from = 0; from < lines.length; from += BATCH)
          yield toLines(await importBatch(tenant, lines.slice(from, from + BATCH)));
    } catch (error) {
      // The status is long sent: say where it ended, in a line without a number.
      app.log.error({ err: error }, 'an import ended early');
      const { code, message } = asImidError(error);
      yield toLines([{ error: { code, detail: message } }]);
    }
  }

  async function importBatch(tenant: App, lines: readonly Line[]): Promise<object[]> {
    const read = lines.map(readRegistration);
    const wanted = read.filter(
      (registration): registration is Registration => !(registration instanceof ImidError),
    );
    const registered = await registry.registerMany(tenant, wanted);
    let next = 0;
    return read.map((registration, i) => {
      const { line } = lines[i]!;
      if (registration instanceof ImidError) return { line, ...toError(registration) };
      return { line, ...toResult(registration, registered[next++]!) };
    });
  }

  function readRegistration(line: Line): Registration | ImidError {
    if ('fault' in line) return new ImidError('invalid_request', `The line ${line.fault}.`);
    if (!validate(line.value)) return invalid(faultsOf(validate.errors ?? [], 'body'));
    const { userId, imId, adopt = true, createdAt } = line.value as Type.Static<typeof ImportLine>;
    const registration = { userId, imId: imId as RegisteredId | undefined, adopt };
    if (createdAt === undefined) return registration;
    const date = new Date(createdAt);
    if (!/^\d{4}-/.test(createdAt) || !(date.getUTCFullYear() >= 1))
      return invalid([{ in: 'body', pointer: '#/createdAt', detail: 'must be a date and time of ISO 8601' }]);
    return { ...registration, createdAt: date };
  }
};

/** Fastify sends streams as they are; the schema describes them as the text they come to. */
function toStream(lines: AsyncIterable<string>): string {
  return Readable.from(lines) as unknown as string;
}

function toResult({ userId }: Registration, registered: Registered | ImidError): object {
  if (registered instanceof ImidError) return { userId, ...toError(registered) };
  return { userId, imId: registered.user.imId, status: registered.status };
}

function toError({ code, message }: ImidError): object {
  return { error: { code, detail: message } };
}

async function* exportLines(
  first: IteratorResult<User[]>,
  rest: AsyncGenerator<User[]>,
): AsyncGenerator<string> {
  try {
    for (let portion = first; !portion.done; portion = await rest.next())
      yield toLines(
        portion.value.map(({ imId, name, createdAt }) => ({
          imId,
          userId: name,
          createdAt: createdAt.toISOString(),
        })),
      );
  } finally {
    await rest.return(undefined);
  }
}
