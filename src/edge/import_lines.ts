// What an import reads: lines of NDJSON or CSV, and each of them as a registration or as what is wrong with it.

import { Type } from 'typebox';
import { ImidError } from '../errors.ts';
import type { RegisteredId } from '../ids.ts';
import type { Registration } from '../identity/registrations.ts';
import { readCsv } from './csv.ts';
import type { Worker } from './import_batches.ts';
import { CSV, type Line } from './lines.ts';
import { NDJSON, readLines } from './ndjson.ts';
import { Adopt, ImIdText, Name, Timestamp } from './shapes.ts';
import { compileSchema, faultsOf, invalid } from './validation.ts';

const ImportLine = Type.Object(
  {
    userId: Name,
    imId: Type.Optional({ ...ImIdText, pattern: '^im_' }),
    createdAt: Type.Optional(Timestamp),
    adopt: Type.Optional(Adopt),
  },
  { additionalProperties: false },
);
const validate = compileSchema(ImportLine, 'frame');

const BATCH = 2_000;

const COLUMNS = { required: ['userId'], optional: ['imId', 'createdAt', 'adopt'] };

/** What an import may come as, with how its lines are read. */
export const importTypes: Record<string, (chunks: AsyncIterable<Buffer>) => AsyncIterable<Line[]>> = {
  [NDJSON]: readLines,
  async *[CSV](chunks) {
    for await (const lines of readCsv(chunks, COLUMNS)) yield lines.map(toJson);
  },
};

/** The column `adopt` holds the uid of the user to adopt. */
function toJson(read: Line): Line {
  if ('fault' in read) return read;
  const { adopt, ...value } = read.value as Record<string, string>;
  return adopt === undefined ? read : { ...read, value: { ...value, adopt: { uid: adopt } } };
}

/** How registrations are worked through. */
export function workOfRegistering<T>(
  act: Worker<Registration, T>['act'],
  atOnce: number,
): Worker<Registration, T> {
  return { read: readRegistration, act, touches: touchedBy, batch: BATCH, atOnce };
}

/** The names and imIds that a registration has to do with. */
function touchedBy({ userId, imId, adopt }: Registration): string[] {
  return [userId, ...(imId === undefined ? [] : [imId]), ...(typeof adopt === 'object' ? [adopt.uid] : [])];
}

function readRegistration(read: Line): Registration | ImidError {
  if ('fault' in read) return new ImidError('invalid_request', `The line ${read.fault}.`);
  if (!validate(read.value)) return invalid(faultsOf(validate.errors ?? [], 'body'));
  const { userId, imId, adopt = true, createdAt } = read.value as Type.Static<typeof ImportLine>;
  return {
    userId,
    imId: imId as RegisteredId | undefined,
    adopt,
    createdAt: createdAt === undefined ? undefined : new Date(createdAt),
  };
}
