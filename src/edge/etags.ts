// ETag, If-Match and If-None-Match (RFC 9110 sections 8.8.3 and 13). A tag is strong: a hash of all that is shown.
// Whoever changes something compares it within the act, by `readPrecondition`, so that of two that saw the same one wins.

import { hash } from 'node:crypto';
import type { FastifyReply, FastifyRequest, FastifySchema } from 'fastify';
import { Type } from 'typebox';
import { notAsDemanded } from '../identity/conflicts.ts';
import { addHeaders, addParameters, addProblems } from './documenting.ts';
import { invalid } from './validation.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What the route answers has an ETag. */
    tagged?: boolean;
  }
}

/** Throws `precondition_failed` where what is shown is not what the caller demands. */
export type Precondition = (shown: object) => void;

/** What a request demands of what is there, if it demands anything. Throws `invalid_request`. */
export function readPrecondition(request: FastifyRequest): Precondition | undefined {
  const wanted = readTags(request, 'if-match');
  const unwanted = request.method === 'PATCH' ? readTags(request, 'if-none-match') : undefined;
  if (!wanted && !unwanted) return undefined;
  return (shown) => {
    const tag = tagOf(shown);
    if ((wanted && !wanted.some((each) => each === '*' || each === tag)) || isAmong(unwanted, tag))
      throw notAsDemanded();
  };
}

/** Answers with a tag; whoever asks for nothing but news, with 304. Throws `precondition_failed`, `invalid_request`. */
export function sendTagged<T extends object>(request: FastifyRequest, reply: FastifyReply, shown: T): T {
  const tag = tagOf(shown);
  const isChange = request.method === 'PATCH';
  const known = isChange ? undefined : readTags(request, 'if-none-match');
  if (!isChange) readPrecondition(request)?.(shown);
  reply.header('etag', tag);
  if (!isAmong(known, tag)) return shown;
  return reply.code(304).send() as unknown as T;
}

/** The tag of what is shown. */
function tagOf(shown: object): string {
  return `"${hash('sha256', JSON.stringify(shown), 'base64url')}"`;
}

const TAG = String.raw`(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"`;
const TAGS = new RegExp(String.raw`^${TAG}(?:[ \t]*,[ \t]*${TAG})*$`);

function readTags(
  { headers }: FastifyRequest,
  name: 'if-match' | 'if-none-match',
): readonly string[] | undefined {
  const text = headers[name]?.trim();
  if (text === undefined) return undefined;
  if (text === '*') return [text];
  if (TAGS.test(text)) return text.match(new RegExp(TAG, 'g'))!;
  throw invalid([
    { in: 'header', pointer: `#/${name}`, detail: 'must be * or a list of tags in double quotes' },
  ]);
}

/** By weak comparison. */
function isAmong(tags: readonly string[] | undefined, tag: string): boolean {
  return tags?.some((each) => each === '*' || each.replace(/^W\//, '') === tag) ?? false;
}

const ETAG = { ETag: { type: 'string', description: 'Of what is shown; another one when it has changed.' } };
const IfNoneMatch = Type.Optional(
  Type.String({ description: 'Tags that the caller has: nothing is sent again, but 304.' }),
);
const IfMatch = Type.Optional(
  Type.String({
    description:
      'Tags, or `*`: nothing is changed but what has one of them, also if somebody else is changing it right now.',
  }),
);

/** Says in the schema of a route what its tags are for. */
export function describeTags(schema: FastifySchema, method: string): FastifySchema {
  const tagged = addProblems(addHeaders(schema, ETAG), 'precondition_failed');
  if (method === 'PATCH') return addParameters(tagged, { 'If-Match': IfMatch });
  const unchanged = Type.Null({ description: 'The caller has it already.', headers: ETAG });
  const response = { ...(tagged.response as object), 304: unchanged };
  return addParameters({ ...tagged, response }, { 'If-None-Match': IfNoneMatch });
}
