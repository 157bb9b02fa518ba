// Reads bodies and queries strictly: bytes that are not UTF-8 are an error, not a character of somebody's id.

import { isUtf8 } from 'node:buffer';
import type { FastifyRequest } from 'fastify';
import { ImidError } from '../errors.ts';

/** JSON in UTF-8 (RFC 8259 section 8.1); an empty body is none. Gives `invalid_request`. */
export function parseJson(
  request: FastifyRequest,
  body: Buffer,
  done: (error: Error | null, body?: unknown) => void,
): void {
  if (request.headers['idempotency-key'] !== undefined) request.rawBody = body;
  if (body.length === 0) return done(null, undefined);
  if (!isUtf8(body)) return done(new ImidError('invalid_request', 'The body is not UTF-8.'));
  let value: unknown;
  try {
    value = JSON.parse(body.toString());
  } catch {
    return done(new ImidError('invalid_request', 'The body is not JSON.'));
  }
  if (isTooDeep(body)) return done(new ImidError('invalid_request', `The body ${TOO_DEEP}.`));
  done(null, value);
}

const NESTING_MAX = 100;
export const TOO_DEEP = `has more than ${NESTING_MAX} arrays and objects within one another`;

/** Whether JSON, already known to be well-formed, is nested so deeply that whoever walks it might run out of stack. */
export function isTooDeep(json: Buffer): boolean {
  if (json.length <= NESTING_MAX) return false;
  let depth = 0;
  for (let at = 0; at < json.length; at++) {
    const byte = json[at];
    if (byte === QUOTE) {
      for (at++; at < json.length && json[at] !== QUOTE; at++) if (json[at] === BACKSLASH) at++;
    } else if (byte === BRACKET || byte === BRACE) {
      if (++depth > NESTING_MAX) return true;
    } else if (byte === BRACKET + 2 || byte === BRACE + 2) depth -= 1;
  }
  return false;
}

const [QUOTE, BACKSLASH, BRACKET, BRACE] = Buffer.from('"\\[{') as unknown as [
  number,
  number,
  number,
  number,
];

/**
 * A form (RFC 6749 appendix B): each parameter at most once (section 3.2), and one without a value is none. Gives
 * `invalid_request`.
 */
export function parseForm(
  _request: unknown,
  body: Buffer,
  done: (error: Error | null, body?: unknown) => void,
): void {
  const form: Record<string, string> = {};
  const seen = new Set<string>();
  for (const pair of body.toString('latin1').split('&')) {
    const at = pair.indexOf('=');
    const [name, value] = [at < 0 ? pair : pair.slice(0, at), at < 0 ? '' : pair.slice(at + 1)].map((part) =>
      /^[ -~]*$/.test(part) ? tryUnescape(part.replaceAll('+', ' ')) : undefined,
    );
    if (name === undefined || value === undefined)
      return done(new ImidError('invalid_request', 'The form is not in percent-encoded UTF-8.'));
    if (seen.has(name))
      return done(new ImidError('invalid_request', `The parameter ${name.slice(0, 40)} stands twice.`));
    seen.add(name);
    if (value !== '') Object.defineProperty(form, name, { value, enumerable: true });
  }
  done(null, form);
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

/** Gives `invalid_request` for a request of HTTP/1.1 that doesn't say for which host it is (RFC 9112 section 3.2). */
export function refuseWithoutHost(
  { raw }: FastifyRequest,
  _reply: unknown,
  done: (error?: Error) => void,
): void {
  if (raw.headers.host === undefined && raw.httpVersion === '1.1')
    done(new ImidError('invalid_request', 'The request has no Host header.'));
  else done();
}

/** Gives `invalid_request` for a query with an escape that is not UTF-8. */
export function refuseBadQuery(
  request: FastifyRequest,
  _reply: unknown,
  done: (error?: Error) => void,
): void {
  const at = request.url.indexOf('?');
  if (at >= 0 && tryUnescape(request.url.slice(at)) === undefined)
    done(new ImidError('invalid_request', 'The query holds an escape that is not UTF-8.'));
  else done();
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
