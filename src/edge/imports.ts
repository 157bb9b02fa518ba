// Importing users: NDJSON or CSV in, a result per line out while the rest is still coming in; or a dry run.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { ImidError } from '../errors.ts';
import type { App } from '../identity/apps.ts';
import type { BeginRehearsal } from '../identity/rehearsal.ts';
import type { Registered, Registration } from '../identity/registrations.ts';
import type { Registry } from '../identity/registry.ts';
import { requireScheme } from '../identity/schemes.ts';
import { CSV } from './lines.ts';
import { asText, readBody, requireStream, resume, toStream } from './streams.ts';
import { toError, writeResults, type Outcome } from './import_batches.ts';
import { DryRun, dryRunExample, rehearse } from './import_dry_run.ts';
import { importTypes, workOfRegistering } from './import_lines.ts';
import type { Line } from './lines.ts';
import { NDJSON } from './ndjson.ts';
import { AppPath, backendProblems } from './shapes.ts';
import { compileSchema } from './validation.ts';

export const userImport: FastifyPluginAsyncTypebox<{
  registry: Registry;
  beginRehearsal: BeginRehearsal;
  idleMs: number;
}> = async (app, { registry, beginRehearsal, idleMs }) => {
  for (const [type, read] of Object.entries(importTypes))
    app.addContentTypeParser(type, (request, payload, done) =>
      done(null, read(readBody(request, payload, idleMs))),
    );

  app.post(
    '/identities/import',
    {
      config: { scope: 'identities', idempotent: false },
      schema: {
        operationId: 'importIdentities',
        summary: 'Register any number of userIds',
        description:
          'NDJSON in, a line `{userId, imId?, createdAt?, adopt?}` each, or CSV with a header of these columns in any ' +
          'order (`adopt` is the uid to adopt there), of any length, also gzipped; an export imports unchanged. NDJSON ' +
          'out, a line each, in order, while the rest is still coming in: read it, or the import waits. A bad line ' +
          'stops no other, nothing is ever overwritten, and the same again ends in the same state.',
        tags: ['Identities'],
        params: AppPath,
        querystring: Type.Object(
          {
            dryRun: Type.Optional(
              Type.Boolean({
                default: false,
                examples: [true],
                description:
                  'Change nothing, and answer, once all is read, what it would come to. Each line is judged as those ' +
                  'before it would have left things.',
              }),
            ),
          },
          { additionalProperties: false },
        ),
        consumes: Object.keys(importTypes),
        body: {
          content: {
            [NDJSON]: asText('{"userId":"bob"}\n{"userId":"alice","adopt":{"uid":"g-81"}}\n'),
            [CSV]: asText('userId,adopt\nbob,\nalice,g-81\n'),
          },
        },
        response: {
          200: {
            description: 'A result per line: created, adopted, existing, or an error.',
            content: {
              [NDJSON]: asText('{"line":1,"userId":"bob","imId":"im_…","status":"created"}\n'),
              'application/json': { schema: DryRun, example: dryRunExample },
            },
          },
          ...backendProblems('scheme_disabled', 'payload_too_large'),
        },
      },
      // A body of lines is checked line by line.
      validatorCompiler: ({ schema, httpPart }) =>
        httpPart === 'body' ? () => true : compileSchema(schema, httpPart as 'querystring'),
    },
    async (request, reply) => {
      const { tenant, actor, query } = request;
      requireScheme(tenant, 'registered');
      const lines = requireStream<Line[]>(request.body, Object.keys(importTypes));
      if (query.dryRun) return dryRun(tenant, lines);
      // The first lines before the status, so that a bad header is still a 400.
      const first = await lines.next();
      const results = writeResults(
        resume(first, lines),
        workOfRegistering((wanted) => registry.registerMany(tenant, wanted, actor), 2),
        toResult,
        (error) => app.log.error({ err: error }, 'an import ended early'),
      );
      return reply.type(NDJSON).send(toStream(request, reply, results, true));
    },
  );

  async function dryRun(tenant: App, lines: AsyncGenerator<Line[]>): Promise<Type.Static<typeof DryRun>> {
    const rehearsal = await beginRehearsal(tenant);
    try {
      return await rehearse(rehearsal, lines);
    } finally {
      await rehearsal.close();
    }
  }
};

function toResult({ line, wanted, result }: Outcome<Registration, Registered>): object {
  const userId = wanted?.userId;
  if (result instanceof ImidError) return { line, userId, ...toError(result) };
  return { line, userId, imId: result.user.imId, status: result.status };
}
