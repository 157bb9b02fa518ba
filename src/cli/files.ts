// Files as commands read and write them: NDJSON or CSV, gzipped or not, as their names say; `-` is stdin or stdout.

import { once } from 'node:events';
import { createReadStream, createWriteStream, type WriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pipeline, Transform, type Readable, type Writable } from 'node:stream';
import { Option } from 'commander';
import { readCliConfig } from '../config.ts';
import { CSV } from '../edge/lines.ts';
import { NDJSON } from '../edge/ndjson.ts';
import { Failure } from './failure.ts';
import { reasonOf } from './service.ts';

export interface Format {
  type: typeof NDJSON | typeof CSV;
  isGzipped: boolean;
}

export const formatOption = new Option(
  '--format <format>',
  'what the file is, whatever its name says; needed for stdin, ndjson on stdout',
).choices(['ndjson', 'csv', 'ndjson.gz', 'csv.gz']);

export function formatOf(file: string, format: string | undefined): Format {
  const [, name, gz] = /\.(ndjson|jsonl|csv)(\.gz)?$/i.exec(`.${format ?? file}`) ?? [];
  if (!name)
    throw new Failure(
      'usage',
      file === '-'
        ? 'Say with --format what comes in.'
        : `${file} is of no known kind: call it .csv or .ndjson, with .gz behind it if it is gzipped, or give --format.`,
    );
  return { type: /csv/i.test(name) ? CSV : NDJSON, isGzipped: gz !== undefined };
}

export function pathOf(file: string): string {
  return resolve(readCliConfig().workingDirectory, file);
}

export interface Source {
  stream: Readable;
  /** How much is done when `count` of its lines are, or how much was read, from 0 to 1, about; undefined where it has no size. */
  share: (count?: number) => number | undefined;
}

export async function openSource(file: string, isGzipped: boolean): Promise<Source> {
  if (file === '-') return { stream: process.stdin, share: () => undefined };
  const found = await stat(pathOf(file)).catch(refuse(file));
  if (found.isDirectory()) throw new Failure('usage', `${file} is a directory.`);
  const stream = createReadStream(pathOf(file));
  await once(stream, 'open').catch(refuse(file));
  if (!found.isFile() || found.size === 0) return { stream, share: () => undefined };
  // What was read is far ahead of what is done, for a small file all of it; so by lines, where they can be counted.
  const read = (): number => stream.bytesRead / found.size;
  if (isGzipped) return { stream, share: read };
  let lines = 0;
  const counted = tellLines((more) => (lines += more));
  return {
    stream: pipeline(stream, counted, () => {}),
    share: (count) => (count === undefined ? read() : Math.min((count / lines) * read(), 1) || 0),
  };
}

/** Passes everything on, and tells of each line that is complete, behind those of the head. */
export function tellLines(tell: (lines: number) => void, head = 0): Transform {
  let toSkip = head;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      let lines = 0;
      for (let at = chunk.indexOf(0x0a); at >= 0; at = chunk.indexOf(0x0a, at + 1)) lines += 1;
      const skipped = Math.min(lines, toSkip);
      toSkip -= skipped;
      tell(lines - skipped);
      done(null, chunk);
    },
  });
}

/** A file to write. */
export async function createFile(path: string): Promise<WriteStream> {
  const stream = createWriteStream(path);
  await once(stream, 'open').catch(refuse(path));
  return stream;
}

function refuse(file: string): (error: unknown) => never {
  return (error) => {
    throw new Failure('usage', `${file} can't be opened: ${reasonOf(error)}.`);
  };
}

export interface Target {
  stream: Writable;
  /** Puts the file in its place, now that it is whole. */
  keep: () => Promise<void>;
  /** Leaves nothing behind. */
  drop: () => Promise<void>;
}

/** Until it is kept, the file has `.part` behind its name. */
export async function openTarget(file: string): Promise<Target> {
  if (file === '-') return { stream: process.stdout, keep: async () => {}, drop: async () => {} };
  const path = pathOf(file);
  const part = `${path}.part`;
  return {
    stream: await createFile(part),
    keep: () => rename(part, path),
    drop: () => rm(part, { force: true }),
  };
}
