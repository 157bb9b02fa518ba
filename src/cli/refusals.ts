// The lines that the service refused: in words on stderr, or as NDJSON in a file.

import { once } from 'node:events';
import { finished } from 'node:stream/promises';
import { toLines } from '../edge/ndjson.ts';
import { createFile, pathOf } from './files.ts';
import type { Progress } from './progress.ts';

export interface Refusal {
  line: number;
  userId?: string;
  name?: string;
  newName?: string;
  /** The code is absent where only that of the whole is known. */
  error: { code?: string; detail: string };
}

export interface Refusals {
  /** Waits where the file is slow. */
  write(refusals: readonly Refusal[]): Promise<void>;
  end(): Promise<void>;
}

export async function openRefusals(file: string | undefined, progress: Progress): Promise<Refusals> {
  if (file === undefined)
    return {
      async write(refusals) {
        for (const refusal of refusals) progress.note(inWords(refusal));
      },
      async end() {},
    };
  const stream = await createFile(pathOf(file));
  return {
    async write(refusals) {
      if (refusals.length > 0 && !stream.write(toLines(refusals))) await once(stream, 'drain');
    },
    async end() {
      stream.end();
      await finished(stream);
    },
  };
}

function inWords({ line, userId, name = userId, newName, error }: Refusal): string {
  const names = [name, newName].filter((each) => each !== undefined).map((each) => JSON.stringify(each));
  const who = names.length === 0 ? '' : `, ${names.join(' to ')}`;
  return `line ${line}${who}: ${error.detail}${error.code === undefined ? '' : ` (${error.code})`}`;
}
