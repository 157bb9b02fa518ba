// What the edge counts, as Prometheus scrapes it. What happens with every request is counted in plain numbers.
// Invariant: no label has values that callers choose.

import type { FastifyReply, FastifyRequest } from 'fastify';
import { Counter, type Registry } from 'prom-client';
import { errorCodes, type ErrorCode } from '../errors.ts';
import { countAtScrape } from '../routing/meters.ts';
import { isSocketRequest } from './connect.ts';

export function createEdgeMeters(registry: Registry) {
  /** By status and code, which a space separates. */
  const answers = new Map<string, number>();
  countAtScrape(
    registry,
    'imid_http_answers_total',
    'Answers in HTTP, by status and by the code of the problem document, empty where there is none.',
    ['status', 'code'],
    function* () {
      for (const [key, count] of answers) {
        const [status = '', code = ''] = key.split(' ');
        yield [{ status, code }, count];
      }
    },
  );
  const refusals = new Counter({
    name: 'imid_refused_upgrades_total',
    help: 'Sockets that were refused while it was still HTTP, by the code of the problem document.',
    labelNames: ['code'],
    registers: [registry],
  });

  function add(status: number, code: string): void {
    const key = `${status} ${code}`;
    answers.set(key, (answers.get(key) ?? 0) + 1);
  }

  return {
    /** A hook for when a request was answered. */
    count({ raw }: FastifyRequest, { statusCode, problem }: FastifyReply, done: () => void): void {
      add(statusCode, problem ?? '');
      if (problem && isSocketRequest(raw)) refusals.inc({ code: problem });
      done();
    },

    /** A problem was told where there was no request that any route could take. */
    answered(code: ErrorCode | undefined): void {
      if (code) add(errorCodes[code].status, code);
    },
  };
}
