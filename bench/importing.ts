// Importing users as a customer does it: JSON lines in, results out, both as streams.

import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Tenant } from './service.ts';
import { nameOf } from './users.ts';

const LINES_PER_CHUNK = 2_000;

export const toJsonLine = (userId: string): string => `${JSON.stringify({ userId })}\n`;

/** A line per user, in portions. */
export function* toChunks(from: number, to: number, toLine: (name: string) => string): Generator<string> {
  for (let start = from; start < to; start += LINES_PER_CHUNK) {
    let chunk = '';
    for (let n = start; n < Math.min(start + LINES_PER_CHUNK, to); n++) chunk += toLine(nameOf(n));
    yield chunk;
  }
}

/** Imports, reading the results as they come; gives back how many lines of them there were. Throws at any error. */
export async function importLines(app: Tenant, chunks: Iterable<string>): Promise<number> {
  const sending = request(`${app.url}/identities/import`, {
    method: 'POST',
    headers: { authorization: `Bearer ${app.apiKey}`, 'content-type': 'application/x-ndjson' },
  });
  const sent = pipeline(Readable.from(chunks), sending);
  const [answer] = (await once(sending, 'response')) as [IncomingMessage];
  let lines = 0;
  for await (const chunk of answer.setEncoding('utf8') as AsyncIterable<string>) {
    if (answer.statusCode !== 200 || chunk.includes('"error"'))
      throw new Error(`The import failed: ${chunk}`);
    for (let at = chunk.indexOf('\n'); at >= 0; at = chunk.indexOf('\n', at + 1)) lines += 1;
  }
  await sent;
  return lines;
}
