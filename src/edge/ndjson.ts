// Streams of JSON lines (application/x-ndjson): in constant memory, whatever their length.

import { isUtf8 } from 'node:buffer';

export const NDJSON = 'application/x-ndjson';
const LINE_MAX_BYTES = 16 * 1024;

/** One line that was read: its number from 1, and its value or what is wrong with it. */
export type Line = { line: number; value: unknown } | { line: number; fault: string };

/** Reads lines, a list for each chunk that arrives. Blank lines count and are passed over. */
export async function* readLines(chunks: AsyncIterable<Buffer>): AsyncGenerator<Line[]> {
  let rest: Buffer = Buffer.alloc(0);
  let isTooLong = false;
  let line = 0;

  const take = (bytes: Buffer): Line[] => {
    line += 1;
    if (isTooLong || bytes.length > LINE_MAX_BYTES) {
      isTooLong = false;
      return [{ line, fault: `is longer than ${LINE_MAX_BYTES} bytes` }];
    }
    if (!isUtf8(bytes)) return [{ line, fault: 'is not UTF-8' }];
    const text = bytes.toString().trim();
    if (text === '') return [];
    try {
      return [{ line, value: JSON.parse(text) }];
    } catch {
      return [{ line, fault: 'is not JSON' }];
    }
  };

  for await (const chunk of chunks) {
    const lines: Line[] = [];
    let from = 0;
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, from)) {
      lines.push(...take(Buffer.concat([rest, chunk.subarray(from, end)])));
      rest = Buffer.alloc(0);
      from = end + 1;
    }
    rest = Buffer.concat([rest, chunk.subarray(from)]);
    if (rest.length > LINE_MAX_BYTES) {
      isTooLong = true;
      rest = Buffer.alloc(0);
    }
    if (lines.length > 0) yield lines;
  }
  if (rest.length > 0 || isTooLong) yield take(rest);
}

export function toLines(values: readonly object[]): string {
  return values.map((value) => `${JSON.stringify(value)}\n`).join('');
}
