// Bodies of any length, plain or gzipped, in constant memory: read as they come in, written as they are made.

import { Readable, finished, pipeline } from 'node:stream';
import { constants, createGunzip, createGzip } from 'node:zlib';
import type { FastifyReply, FastifyRequest } from 'fastify';
import Negotiator from 'negotiator';
import { Type } from 'typebox';
import { ImidError } from '../errors.ts';
import { readPatiently } from './timeouts.ts';
import { invalid } from './validation.ts';

/**
 * The bytes of a body, whatever its Content-Encoding. What isn't read in the end is let go by, so that the answer gets out.
 * Throws `invalid_request`: for an encoding that isn't known before the first byte, for broken gzip behind the last good one;
 * `request_timeout` where nothing comes for `idleMs`.
 */
export async function* readBody(
  request: FastifyRequest,
  body: Readable,
  idleMs: number,
): AsyncGenerator<Buffer> {
  const bytes = readPatiently<Buffer>(body.iterator({ destroyOnReturn: false }), idleMs);
  try {
    const encoding = request.headers['content-encoding']?.toLowerCase() ?? 'identity';
    if (encoding === 'identity') yield* bytes;
    else if (encoding === 'gzip') yield* gunzip(bytes);
    else throw invalid([{ in: 'header', pointer: '#/content-encoding', detail: 'must be gzip or identity' }]);
  } finally {
    body.resume();
  }
}

/** Little enough at a time that what it comes to, up to a thousand times as much, fits into memory. */
const SLICE_BYTES = 4 * 1024;

async function* gunzip(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const inflate = createGunzip();
  const out: Buffer[] = [];
  let settle: (error?: unknown) => void = () => {};
  // It ends by itself where something that isn't gzip follows the gzip, and calls back no more.
  inflate
    .on('data', (chunk: Buffer) => out.push(chunk))
    .on('error', (error) => settle(error))
    .on('end', () => settle());
  async function* step(act: () => void): AsyncGenerator<Buffer> {
    const cause = await new Promise<unknown>((resolve) => {
      settle = resolve;
      act();
    });
    yield* out.splice(0);
    if (cause)
      throw new ImidError(
        'invalid_request',
        'The gzip is broken, or ends early; what has no result is not done.',
        { cause },
      );
  }
  try {
    for await (const chunk of chunks)
      for (let from = 0; from < chunk.length && !inflate.readableEnded; from += SLICE_BYTES)
        yield* step(() => inflate.write(chunk.subarray(from, from + SLICE_BYTES), (error) => settle(error)));
    if (!inflate.readableEnded) yield* step(() => inflate.end());
  } finally {
    inflate.destroy();
  }
}

/**
 * A stream of text as the client accepts it; with `isLive` each piece gets out at once. Fastify sends streams as they
 * are; the schema describes them as the text they come to.
 */
export function toStream(
  request: FastifyRequest,
  reply: FastifyReply,
  pieces: AsyncIterable<string>,
  isLive: boolean,
): string {
  const plain = Readable.from(pieces, { objectMode: false });
  reply.header('vary', 'accept, accept-encoding');
  if (new Negotiator(request).encoding(['gzip', 'identity']) !== 'gzip') return plain as unknown as string;
  reply.header('content-encoding', 'gzip');
  const gzip = createGzip({ flush: isLive ? constants.Z_SYNC_FLUSH : constants.Z_NO_FLUSH });
  return pipeline(plain, gzip, () => {}) as unknown as string;
}

/** The schema of a stream of text. */
export function asText(example: string) {
  return { schema: Type.String({ examples: [example] }), example };
}

/** Whether a body is one that is read as it comes in; what it holds is what its content type's parser gives. */
export function isStream(body: unknown): body is AsyncGenerator<never> {
  return typeof body === 'object' && body !== null && Symbol.asyncIterator in body;
}

/** A body that is read as it comes in. Throws `invalid_request` for one of another type than these. */
export function requireStream<T>(body: unknown, types: readonly string[]): AsyncGenerator<T> {
  if (isStream(body)) return body;
  throw invalid([{ in: 'header', pointer: '#/content-type', detail: `must be ${types.join(' or ')}` }]);
}

/**
 * Begins to make what is answered, before its status, so that what is out of reach is still an error. It ends with the answer,
 * also where nobody ever begins to read that.
 */
export async function begin<T>(reply: FastifyReply, pieces: AsyncGenerator<T>): Promise<AsyncGenerator<T>> {
  finished(reply.raw, () => void pieces.return(undefined).catch(() => {}));
  return resume(await pieces.next(), pieces);
}

/** Goes on with what was begun. */
export async function* resume<T>(first: IteratorResult<T>, rest: AsyncGenerator<T>): AsyncGenerator<T> {
  try {
    for (let step = first; !step.done; step = await rest.next()) yield step.value;
  } finally {
    await rest.return(undefined);
  }
}
