// Reads bodies and queries strictly: bytes that are not UTF-8 are an error, not a character of somebody's id.

import { isUtf8 } from 'node:buffer';
import type { FastifyRequest } from 'fastify';
import { ImidError } from '../errors.ts';

/** JSON in UTF-8 (RFC 8259 section 8.1); an empty body is none. Throws `invalid_request`. */
export async function parseJson(_request: unknown, body: Buffer): Promise<unknown> {
  if (body.length === 0) return undefined;
  if (!isUtf8(body)) throw new ImidError('invalid_request', 'The body is not UTF-8.');
  try {
    return JSON.parse(body.toString());
  } catch {
    throw new ImidError('invalid_request', 'The body is not JSON.');
  }
}

/** A query as names and values; a repeated name makes a list. Never throws: `refuseBadQuery` does, where it is heard. */
export function parseQuery(text: string): Record<string, string | string[]> {
  const query: Record<string, string | string[]> = Object.create(null);
  for (const pair of text.split('&')) {
    if (pair === '') continue;
    const at = pair.indexOf('=');
    const name = unescape(at < 0 ? pair : pair.slice(0, at));
    const value = at < 0 ? '' : unescape(pair.slice(at + 1));
    const before = query[name];
    query[name] = before === undefined ? value : [before, value].flat();
  }
  return query;
}

/** Throws `invalid_request` for a query with an escape that is not UTF-8. */
export async function refuseBadQuery(request: FastifyRequest): Promise<void> {
  const at = request.url.indexOf('?');
  if (at >= 0 && tryUnescape(request.url.slice(at)) === undefined)
    throw new ImidError('invalid_request', 'The query holds an escape that is not UTF-8.');
}

function unescape(text: string): string {
  return tryUnescape(text.replaceAll('+', ' ')) ?? text;
}

function tryUnescape(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
