// Streams of JSON lines (application/x-ndjson): in constant memory, whatever their length.

import { readTextLines, type Line, type TextLine } from './lines.ts';
import { isTooDeep, TOO_DEEP } from './parsing.ts';

export const NDJSON = 'application/x-ndjson';

/** Reads lines, a list for each chunk that ends some. Blank lines count and are passed over. */
export async function* readLines(chunks: AsyncIterable<Buffer>, maxBytes?: number): AsyncGenerator<Line[]> {
  for await (const lines of readTextLines(chunks, maxBytes)) yield lines.flatMap(toValue);
}

function toValue(read: TextLine): Line | [] {
  if ('fault' in read) return read;
  const { line } = read;
  const text = read.text.trim();
  if (text === '') return [];
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { line, fault: 'is not JSON' };
  }
  return isTooDeep(Buffer.from(text)) ? { line, fault: TOO_DEEP } : { line, value };
}

export function toLines(values: readonly object[]): string {
  return values.map((value) => `${JSON.stringify(value)}\n`).join('');
}
