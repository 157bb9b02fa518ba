// Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): who asks again with the same key gets the same answer, and
// nothing is done twice. A route takes part by its config; a request without the header costs nothing.

import { hash } from 'node:crypto';
import type { FastifyReply, FastifyRequest, FastifySchema, RouteOptions } from 'fastify';
import { Type } from 'typebox';
import type { Answer, Claim, KeptAnswers } from '../tokens/kept_answers.ts';
import type { ErrorCode } from '../errors.ts';
import { addHeaders, addParameters, addProblems } from './documenting.ts';
import { isStream } from './streams.ts';
import { invalid } from './validation.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** The bytes of a JSON body, where a key came with them. */
    rawBody: Buffer | undefined;
    /** The key is this request's, until it is answered. */
    claim: Claim | undefined;
  }
  interface FastifyContextConfig {
    /**
     * Whether the route takes an Idempotency-Key; `false`: it refuses one, instead of letting it pass by. `ofActor`: what
     * one API key was answered is not for the app's others.
     */
    idempotent?: boolean | 'ofActor';
  }
}

const HEADER = 'idempotency-key';
const KEY_MAX_LENGTH = 255;
const KEPT_HEADERS = ['content-type', 'etag', 'location'];
/** Who is told one of these may be told something else when it asks again. */
const PASSING = new Set([401, 403, 408, 429]);

/** To be called with each route of a scope, whose credential was checked before. */
export function answerOnce(answers: KeptAnswers): (route: RouteOptions) => void {
  async function begin(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> {
    const key = readKey(request);
    if (key === undefined) return undefined;
    if (isStream(request.body)) throw fault('is not taken with a body that is read as it comes in');
    const actor = request.routeOptions.config.idempotent === 'ofActor' ? request.actor : '';
    const claimed = await answers.claim(request.tenant?.id, key, fingerprintOf(request, actor));
    if ('status' in claimed) return replay(reply, claimed);
    request.claim = claimed;
    return undefined;
  }

  async function end(request: FastifyRequest, reply: FastifyReply, payload: unknown): Promise<unknown> {
    const { claim } = request;
    if (!claim) return payload;
    request.claim = undefined;
    const { statusCode: status } = reply;
    const body = payload ?? null;
    const isText = typeof body === 'string' || body === null;
    if (!isText || status >= 500 || PASSING.has(status)) await answers.release(claim);
    else await answers.keep(claim, { status, headers: keptHeaders(reply), body });
    return payload;
  }

  return (route) => {
    const { idempotent } = route.config ?? {};
    if (idempotent === undefined) return;
    if (!idempotent) {
      route.onRequest = [...[route.onRequest ?? []].flat(), refuse];
      return;
    }
    // The body is read by then, and nothing of it judged: what is wrong with it is an answer as well.
    route.preValidation = [...[route.preValidation ?? []].flat(), begin];
    route.onSend = [...[route.onSend ?? []].flat(), end];
  };
}

async function refuse({ headers }: FastifyRequest): Promise<void> {
  if (headers[HEADER] !== undefined) throw fault('is not taken here');
}

/** The key, as a string of RFC 8941 section 3.3.3 or bare. Throws `invalid_request`. */
function readKey({ headers }: FastifyRequest): string | undefined {
  const text = headers[HEADER];
  if (text === undefined) return undefined;
  const [, quoted, bare] =
    /^(?:"((?:[\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"|([\x21\x23-\x7e]+))$/.exec(String(text)) ?? [];
  const key = quoted?.replaceAll(/\\(.)/g, '$1') ?? bare ?? '';
  if (key === '' || key.length > KEY_MAX_LENGTH)
    throw fault(`must be 1 to ${KEY_MAX_LENGTH} visible ASCII characters, bare or in double quotes`);
  return key;
}

function fingerprintOf({ method, url, rawBody = Buffer.alloc(0) }: FastifyRequest, actor: string): Buffer {
  return hash('sha256', Buffer.concat([Buffer.from(`${actor}${method} ${url}\n`), rawBody]), 'buffer');
}

function keptHeaders(reply: FastifyReply): Answer['headers'] {
  return Object.fromEntries(
    KEPT_HEADERS.flatMap((name) => {
      const value = reply.getHeader(name);
      return value === undefined ? [] : [[name, String(value)]];
    }),
  );
}

function replay(reply: FastifyReply, { status, headers, body }: Answer): FastifyReply {
  if (status >= 400 && body !== null) reply.problem = (JSON.parse(body) as { code: ErrorCode }).code;
  return reply
    .code(status)
    .headers({ ...headers, 'idempotency-replayed': 'true' })
    .serializer(String)
    .send(body);
}

function fault(detail: string) {
  return invalid([{ in: 'header', pointer: `#/${HEADER}`, detail }]);
}

const Key = Type.Optional(
  Type.String({
    description:
      'Makes it safe to ask again: the same key with the same request gets the same answer, and nothing is done twice. ' +
      `1 to ${KEY_MAX_LENGTH} visible ASCII characters, bare or in double quotes; a fresh UUID is best.`,
  }),
);
const REPLAYED = {
  'Idempotency-Replayed': { type: 'string', enum: ['true'], description: 'This answer was given before.' },
};

/** Says in the schema of a route that takes a key what comes of one. */
export function describeIdempotency(schema: FastifySchema): FastifySchema {
  return addProblems(
    addHeaders(addParameters(schema, { 'Idempotency-Key': Key }), REPLAYED),
    'conflict',
    'idempotency_mismatch',
  );
}
