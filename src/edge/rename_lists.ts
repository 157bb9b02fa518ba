// Renaming many users at once: up to a thousand in JSON, any number in CSV. All of a list, or nothing.

import { finished, type Readable } from 'node:stream';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { ImidError } from '../errors.ts';
import type { Directory } from '../identity/directory.ts';
import type { Registry } from '../identity/registry.ts';
import type { Renaming } from '../identity/renaming.ts';
import { CSV } from './lines.ts';
import { identityExample } from './identities.ts';
import { NDJSON } from './ndjson.ts';
import {
  isGood,
  readRenameCsv,
  readRenames,
  writeFaults,
  writeListFaults,
  type AskedRename,
} from './rename_lines.ts';
import { AppPath, ImIdText, Name, backendProblems } from './shapes.ts';
import { isStream, readBody, toStream } from './streams.ts';
import { compileSchema, invalid } from './validation.ts';

const RENAMES_MAX = 1000;

const JSON_EXAMPLE = { renames: [{ imId: identityExample.imId, userId: 'robert' }] };
const JsonList = Type.Object(
  {
    renames: Type.Array(
      Type.Object(
        { imId: ImIdText, userId: Type.Optional(Name), uid: Type.Optional(Name) },
        { additionalProperties: false, oneOf: [{ required: ['userId'] }, { required: ['uid'] }] },
      ),
      { minItems: 1, maxItems: RENAMES_MAX },
    ),
  },
  {
    additionalProperties: false,
    examples: [JSON_EXAMPLE],
  },
);
const CSV_EXAMPLE = 'name,newName\nbob,u-1002\nalice,u-1001\n';
const CsvList = Type.String({ examples: [CSV_EXAMPLE] });

const FAULT_EXAMPLE = `{"line":3,"name":"alice","newName":"carol","error":{"code":"conflict","detail":"newName is taken."}}
{"lines":2,"renames":1,"unchanged":0,"faults":1}
`;

export const renameLists: FastifyPluginAsyncTypebox<{
  directory: Directory;
  registry: Registry;
  renaming: Renaming;
  idleMs: number;
}> = async (app, { directory, registry, renaming, idleMs }) => {
  app.addContentTypeParser(CSV, (request, payload, done) =>
    done(null, readRenameCsv(readBody(request, payload as Readable, idleMs))),
  );

  app.post(
    '/identities/rename',
    {
      config: { scope: 'identities', idempotent: true },
      schema: {
        operationId: 'renameIdentities',
        summary: 'Rename many users at once',
        description:
          'All or nothing, in one act. Users may swap names and follow one another, in rings and chains of any length: ' +
          '`a` to `b` while `b` goes to `c`. Inboxes, tokens and registered imIds stay, so nobody is logged out.\n\n' +
          `**JSON**: up to ${RENAMES_MAX} users by their imId; the new name is a \`userId\`, or a \`uid\` for a ` +
          'composed user.\n\n' +
          '**CSV**: of any length, also gzipped, with the header `name,newName`: the uid or userId now, and the new one. ' +
          'A line with twice the same name changes nothing; a name that nobody has used is a fault. If there are ' +
          'faults, nothing is done, and `errors` tells the first hundred: `#/3/newName` is in line 3, the header being ' +
          'line 1.\n\n' +
          '**`dryRun=true`** changes nothing and answers NDJSON: a line for each fault, all of them, in the order of the ' +
          'lines, and at last what the list comes to.\n\n' +
          'Nobody has to wait until the whole file is checked. While the names change, messages to and from the users of ' +
          'the file wait, for about as long as the database takes to write their rows anew; each then arrives once, at ' +
          'the user that has its name then. One that would wait too long is `unavailable`, to be sent again. So send ' +
          'a huge file in parts that don’t depend on each other, whole rings and chains in one part.',
        tags: ['Identities'],
        params: AppPath,
        querystring: Type.Object(
          {
            dryRun: Type.Optional(
              Type.Boolean({
                default: false,
                examples: [true],
                description: 'Only tell what is in the way.',
              }),
            ),
          },
          { additionalProperties: false },
        ),
        consumes: ['application/json', CSV],
        body: {
          content: {
            'application/json': { schema: JsonList, example: JSON_EXAMPLE },
            [CSV]: { schema: CsvList, example: CSV_EXAMPLE },
          },
        },
        response: {
          200: {
            description: 'Renamed; or, of a dry run, what is in the way.',
            content: {
              'application/json': {
                schema: Type.Object(
                  { renamed: Type.Integer({ description: 'How many users have another name now.' }) },
                  { examples: [{ renamed: 1 }] },
                ),
                example: { renamed: 1 },
              },
              [NDJSON]: { schema: Type.String({ examples: [FAULT_EXAMPLE] }), example: FAULT_EXAMPLE },
            },
          },
          ...backendProblems('conflict', 'scheme_disabled', 'payload_too_large', 'rate_limited'),
        },
      },
      validatorCompiler: ({ schema, httpPart }) =>
        (schema as unknown) === CsvList ? () => true : compileSchema(schema, httpPart as 'body'),
    },
    async (request, reply) => {
      const { tenant, query, body } = request;
      if (isStream(body)) {
        if (!query.dryRun) return { renamed: await renaming.rename(tenant, body) };
        const faults = renaming.check(tenant, body);
        // Also where nobody ever begins to read them.
        finished(reply.raw, () => void faults.return(undefined as never).catch(() => {}));
        // The first portion before the status, so that a list that can't be read is still a 400.
        const first = await faults.next();
        return reply.type(NDJSON).send(toStream(request, reply, writeFaults(first, faults), false));
      }
      if (!isJsonList(body)) throw invalid([{ in: 'body', pointer: '#', detail: 'is missing' }]);
      const asked = body.renames;
      const addresses = asked.map(({ imId }) => ({ imId }));
      if (query.dryRun) {
        const read = readRenames(asked, await directory.lookUpRows(tenant, addresses));
        const wanted = read.filter(isGood).filter(({ user, name }) => user.name !== name);
        const taken = await registry.findTaken(tenant, wanted);
        return reply.type(NDJSON).send(writeListFaults(asked, read, taken));
      }
      const read = readRenames(asked, await directory.claim(tenant, addresses));
      const bad = read.find((rename) => rename instanceof ImidError);
      if (bad) throw bad;
      const wanted = read.filter(isGood);
      await registry.rename(tenant, wanted);
      return { renamed: wanted.filter(({ user, name }) => user.name !== name).length };
    },
  );
};

/** It was checked, unless there is none. */
function isJsonList(body: unknown): body is { renames: AskedRename[] } {
  return body !== undefined;
}
