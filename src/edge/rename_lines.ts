// Lists of renames, line by line: read from JSON or CSV, and what is wrong with them as lines of JSON.

import { ImidError } from '../errors.ts';
import { faultOfName, type ImId, type Name } from '../ids.ts';
import type { Found } from '../identity/directory.ts';
import type { RenameFault, RenameLines, RenameSummary } from '../identity/renaming.ts';
import { readCsv } from './csv.ts';
import type { Line } from './lines.ts';
import { toLines } from './ndjson.ts';
import { invalid } from './validation.ts';

/** One rename of a JSON list. */
export interface AskedRename {
  imId: ImId;
  userId?: Name;
  uid?: Name;
}

/** With its user, or why it can't be done. */
type ReadRename<T> = { user: T; name: Name; pointer: string } | ImidError;

/** Finds what is wrong with a list by itself: an imId that is nobody's, a user or a name that stands twice. */
export function readRenames<T extends Found>(
  asked: readonly AskedRename[],
  users: readonly (T | ImidError)[],
): ReadRename<T>[] {
  const userAt = new Map<number | string, number>();
  const nameAt = new Map<string, number>();
  return users.map((user, i) => {
    const { userId, uid } = asked[i]!;
    const field = { in: 'body', pointer: `#/renames/${i}/imId` } as const;
    if (user instanceof ImidError)
      return new ImidError(user.code, user.message, { errors: [{ ...field, detail: user.message }] });
    const name = (userId ?? uid)!;
    const pointer = `#/renames/${i}/${userId === undefined ? 'uid' : 'userId'}`;
    const key = user.id ?? user.name;
    if (userAt.has(key)) return invalid([{ ...field, detail: `is the user of renames.${userAt.get(key)}` }]);
    if (nameAt.has(name))
      return invalid([{ in: 'body', pointer, detail: `is the name of renames.${nameAt.get(name)}` }]);
    userAt.set(key, i);
    nameAt.set(name, i);
    return { user, name, pointer };
  });
}

/** Throws `invalid_request` for a header that is not `name,newName`. */
export async function* readRenameCsv(chunks: AsyncIterable<Buffer>): AsyncGenerator<RenameLines> {
  for await (const lines of readCsv(chunks, { required: ['name', 'newName'] })) {
    const read: RenameLines = { renames: [], faults: [] };
    for (const line of lines) {
      const faults = faultsOfLine(line);
      if (faults.length > 0) read.faults.push(...faults);
      else
        read.renames.push({ line: line.line, ...(line as { value: { name: Name; newName: Name } }).value });
    }
    yield read;
  }
}

function faultsOfLine(read: Line): RenameFault[] {
  const fault = { line: read.line, name: undefined, newName: undefined, code: 'invalid_request' } as const;
  if ('fault' in read) return [{ ...fault, field: undefined, detail: read.fault }];
  const names = read.value as { name: string; newName: string };
  return (['name', 'newName'] as const).flatMap((field) => {
    const detail = faultOfName(names[field]);
    return detail === undefined ? [] : [{ ...fault, ...names, field, detail }];
  });
}

/** A line for each fault of a list, and at last one of what the list comes to. */
export async function* writeFaults(
  first: IteratorResult<RenameFault[], RenameSummary>,
  rest: AsyncGenerator<RenameFault[], RenameSummary>,
): AsyncGenerator<string> {
  let step = first;
  for (; !step.done; step = await rest.next()) yield toLines(step.value.map(toFaultLine));
  yield toLines([step.value]);
}

function toFaultLine({ line, name, newName, field, code, detail }: RenameFault): object {
  return { line, name, newName, error: { code, detail: `${field ?? 'The line'} ${detail}.` } };
}

export function isGood<T>(read: ReadRename<T>): read is Exclude<ReadRename<T>, ImidError> {
  return !(read instanceof ImidError);
}

/** The same of a JSON list, whose lines are its items, from 1. `taken` are those whose new name somebody else has. */
export function writeListFaults(
  asked: readonly AskedRename[],
  read: readonly ReadRename<Found>[],
  taken: readonly ReadRename<Found>[],
): string {
  const faults: object[] = [];
  let [renames, unchanged] = [0, 0];
  for (const [i, rename] of read.entries()) {
    const { imId, userId, uid } = asked[i]!;
    const line = { line: i + 1, imId, newName: userId ?? uid };
    const isTaken = taken.includes(rename);
    if (!isGood(rename)) faults.push({ ...line, error: { code: rename.code, detail: rename.message } });
    else if (isTaken) faults.push({ ...line, name: rename.user.name, error: TAKEN });
    else if (rename.user.name === rename.name) unchanged += 1;
    else renames += 1;
  }
  return toLines([...faults, { lines: asked.length, renames, unchanged, faults: faults.length }]);
}

const TAKEN = { code: 'conflict', detail: 'newName is taken.' };
