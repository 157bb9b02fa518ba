// Adds to the schema of a route, for the OpenAPI document alone, what it takes and answers by its config.

import type { FastifySchema } from 'fastify';
import { Type, type TSchema } from 'typebox';
import type { ErrorCode } from '../errors.ts';
import { problems } from './shapes.ts';

type Responses = Record<string, TSchema & { headers?: object; content?: ProblemContent }>;
type ProblemContent = Record<
  string,
  { example?: { code: ErrorCode }; examples?: Record<ErrorCode, unknown> }
>;

export function addParameters(schema: FastifySchema, headers: Record<string, TSchema>): FastifySchema {
  return { ...schema, headers: Type.Object(headers) };
}

/** Headers of what is answered when all went well. */
export function addHeaders(schema: FastifySchema, headers: Record<string, object>): FastifySchema {
  const response = Object.fromEntries(
    Object.entries(schema.response as Responses).map(([status, answer]) => [
      status,
      status.startsWith('2') ? { ...answer, headers: { ...answer.headers, ...headers } } : answer,
    ]),
  );
  return { ...schema, response };
}

export function addProblems(schema: FastifySchema, ...codes: ErrorCode[]): FastifySchema {
  const response = schema.response as Responses;
  const before = Object.values(response).flatMap((answer) => {
    const { example, examples = {} } = answer.content?.['application/problem+json'] ?? {};
    return (example ? [example.code] : Object.keys(examples)) as ErrorCode[];
  });
  return { ...schema, response: { ...response, ...problems(...new Set([...before, ...codes])) } };
}
