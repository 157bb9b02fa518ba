// Streams of JSON lines (application/x-ndjson): in constant memory, whatever their length.

import { readTextLines, type Line, type TextLine } from './lines.ts';

export const NDJSON = 'application/x-ndjson';

/** Reads lines, a list for each chunk that ends some. Blank lines count and are passed over. */
export async function* readLines(chunks: AsyncIterable<Buffer>): AsyncGenerator<Line[]> {
  for await (const lines of readTextLines(chunks)) yield lines.flatMap(toValue);
}

function toValue(read: TextLine): Line | [] {
  if ('fault' in read) return read;
  const { line } = read;
  const text = read.text.trim();
  if (text === '') return [];
  try {
    return { line, value: JSON.parse(text) };
  } catch {
    return { line, fault: 'is not JSON' };
  }
}

export function toLines(values: readonly object[]): string {
  return values.map((value) => `${JSON.stringify(value)}\n`).join('');
}
