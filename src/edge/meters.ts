// What the edge counts, as Prometheus scrapes it.
// Invariant: no label has values that callers choose.

import type { FastifyReply, FastifyRequest } from 'fastify';
import { Counter, type Registry } from 'prom-client';
import { errorCodes, type ErrorCode } from '../errors.ts';
import { isSocketRequest } from './connect.ts';

export function createEdgeMeters(registry: Registry) {
  const answers = new Counter({
    name: 'imid_http_answers_total',
    help: 'Answers in HTTP, by status and by the code of the problem document, empty where there is none.',
    labelNames: ['status', 'code'],
    registers: [registry],
  });
  const refusals = new Counter({
    name: 'imid_refused_upgrades_total',
    help: 'Sockets that were refused while it was still HTTP, by the code of the problem document.',
    labelNames: ['code'],
    registers: [registry],
  });

  return {
    /** A hook for when a request was answered. */
    async count(request: FastifyRequest, reply: FastifyReply): Promise<void> {
      answers.inc({ status: reply.statusCode, code: reply.problem ?? '' });
      if (reply.problem && isSocketRequest(request.raw)) refusals.inc({ code: reply.problem });
    },

    /** A problem was told where there was no request that any route could take. */
    answered(code: ErrorCode | undefined): void {
      if (code) answers.inc({ status: errorCodes[code].status, code });
    },
  };
}
