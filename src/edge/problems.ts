// Prints every error as a problem document (RFC 9457), from the one table in errors.ts. Tells nothing internal.

import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import type { ErrorObject } from 'ajv';
import { asImidError, errorCodes, ImidError, type ErrorCode, type FieldFault } from '../errors.ts';
import type { Headers } from './headers.ts';
import { ORIGIN } from './logging.ts';
import { faultsOf, invalid } from './validation.ts';

const PARTS: Record<string, FieldFault['in']> = {
  body: 'body',
  querystring: 'query',
  params: 'path',
  headers: 'header',
};

declare module 'fastify' {
  interface FastifyReply {
    /** The code of the problem document that is the answer. */
    problem: ErrorCode | undefined;
  }
}

export const problems = fp(
  async (app) => {
    app.decorateReply('problem');
    app.setErrorHandler((error: FastifyError, request, reply) =>
      sendProblem(toImidError(error), request, reply),
    );
    app.setNotFoundHandler((request, reply) =>
      sendProblem(
        new ImidError('not_found', `There is no ${request.method} ${pathOf(request)}.`),
        request,
        reply,
      ),
    );
  },
  { name: 'problems' },
);

export function sendProblem(error: ImidError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { status } = errorCodes[error.code];
  reply.problem = error.code;
  reply.header('x-request-id', request.id);
  // Past the request's own logger, which says the id a second time, or not at all (app.ts).
  if (status >= 500)
    request.server.log.error({ [ORIGIN]: request.id, err: error.cause ?? error }, error.message);
  if (status === 401) reply.header('www-authenticate', challengeOf(error));
  if (error.retryAfterSeconds !== undefined) reply.header('retry-after', error.retryAfterSeconds);
  return reply
    .code(status)
    .type('application/problem+json')
    .serializer(JSON.stringify)
    .send(toProblem(error));
}

const MALFORMED: Record<string, () => ImidError> = {
  HPE_HEADER_OVERFLOW: () =>
    new ImidError('payload_too_large', 'The request line and headers are too large.'),
  ERR_HTTP_REQUEST_TIMEOUT: () =>
    new ImidError('request_timeout', 'The request line and headers did not arrive in time.'),
};

/** Answers what isn't HTTP enough to become a request; with which code, if with any. */
export function refuseMalformed(
  error: Error & { code?: string },
  socket: Socket,
  id: string,
  headers: Headers,
): ErrorCode | undefined {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return undefined;
  }
  const refusal =
    MALFORMED[error.code ?? '']?.() ?? new ImidError('invalid_request', 'This is not well-formed HTTP.');
  const body = JSON.stringify(toProblem(refusal));
  const { status } = errorCodes[refusal.code];
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/problem+json\r\n` +
      Object.entries(headers)
        .map(([name, value]) => `${name}: ${value}\r\n`)
        .join('') +
      `X-Request-Id: ${id}\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
  return refusal.code;
}

function toProblem(error: ImidError): object {
  const { status, title } = errorCodes[error.code];
  return {
    type: `urn:imid:error:${error.code}`,
    title,
    status,
    detail: error.message,
    code: error.code,
    ...(error.errors && { errors: error.errors }),
  };
}

/** RFC 6750 section 3: no error code when there was no credential at all. */
function challengeOf(error: ImidError): string {
  return error.code === 'unauthorized' && error.cause === 'none'
    ? 'Bearer realm="imid"'
    : 'Bearer realm="imid", error="invalid_token"';
}

/** Fastify's own errors are about the request, unless they are not. */
export function toImidError(error: FastifyError | Error): ImidError {
  if (error instanceof ImidError) return error;
  if (!('statusCode' in error) && !('validation' in error)) return asImidError(error);
  if ('validation' in error && error.validation)
    return invalid(
      faultsOf(error.validation as ErrorObject[], PARTS[error.validationContext ?? ''] ?? 'body'),
    );
  const status = Number(error.statusCode);
  if (status === 413) return new ImidError('payload_too_large', 'The body is too large.');
  if (status >= 400 && status < 500) return new ImidError('invalid_request', error.message, { cause: error });
  return asImidError(error);
}

function pathOf(request: FastifyRequest): string {
  return request.url.split('?', 1)[0]!;
}
