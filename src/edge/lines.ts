// Streams of bytes as lines of text, in constant memory whatever their length.
// Invariant: a line is what was sent, character for character, or a fault; a bad one stops no other.

import { isUtf8 } from 'node:buffer';

/** Beside what reads it, csv.ts, which takes long to load. */
export const CSV = 'text/csv';
export const LINE_MAX_BYTES = 16 * 1024;

/** One line without its end (LF or CRLF): its number from 1, and its text or what is wrong with it. */
export type TextLine = { line: number; text: string } | { line: number; fault: string };

/** One line that was read: its number from 1, and its value or what is wrong with it. */
export type Line = { line: number; value: unknown } | { line: number; fault: string };

/** Reads lines, a list for each chunk that ends some. */
export async function* readTextLines(
  chunks: AsyncIterable<Buffer>,
  maxBytes: number = LINE_MAX_BYTES,
): AsyncGenerator<TextLine[]> {
  let rest: Buffer = Buffer.alloc(0);
  let isTooLong = false;
  let line = 0;

  const split = (block: Buffer): TextLine[] => {
    const isGood = isUtf8(block);
    return block
      .toString(isGood ? 'utf8' : 'latin1')
      .split('\n')
      .map((text) => {
        line += 1;
        if (isTooLong || isLonger(text, isGood, maxBytes)) {
          isTooLong = false;
          return { line, fault: `is longer than ${maxBytes} bytes` };
        }
        const decoded = isGood ? text : decode(text);
        if (decoded === undefined) return { line, fault: 'is not UTF-8' };
        return { line, text: decoded.endsWith('\r') ? decoded.slice(0, -1) : decoded };
      });
  };

  for await (const chunk of chunks) {
    const end = chunk.lastIndexOf(0x0a);
    if (end >= 0) yield split(Buffer.concat([rest, chunk.subarray(0, end)]));
    const tail = chunk.subarray(end + 1);
    rest = end < 0 ? Buffer.concat([rest, tail]) : tail;
    if (rest.length > maxBytes) {
      isTooLong = true;
      rest = Buffer.alloc(0);
    }
  }
  if (rest.length > 0 || isTooLong) yield split(rest);
}

/** Whether a text, or bytes that stand as characters, is longer than a line may be; at most 3 bytes a UTF-16 unit. */
function isLonger(text: string, isText: boolean, maxBytes: number): boolean {
  if (!isText) return text.length > maxBytes;
  return text.length * 3 > maxBytes && Buffer.byteLength(text) > maxBytes;
}

/** The text of bytes that stand as characters; undefined when they are not UTF-8. */
function decode(latin1: string): string | undefined {
  const bytes = Buffer.from(latin1, 'latin1');
  return isUtf8(bytes) ? bytes.toString() : undefined;
}
