// What the messaging core counts, as Prometheus scrapes it.

import { Counter, Histogram, type Registry } from 'prom-client';
import type { ErrorCode } from '../errors.ts';

export type Meters = ReturnType<typeof createMeters>;

export function createMeters(registry: Registry) {
  const registers = [registry];
  const flushSize = new Histogram({
    name: 'imid_flush_units',
    help: 'Sends that were stored together.',
    buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000],
    registers,
  });
  const flushSeconds = new Histogram({
    name: 'imid_flush_seconds',
    help: 'How long it took to store them, to the commit.',
    buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30],
    registers,
  });
  const resumes = new Counter({
    name: 'imid_resumes_total',
    help: 'Connections that were welcomed, by what they go on from.',
    labelNames: ['outcome'],
    registers,
  });
  const deliveries = new Counter({
    name: 'imid_deliveries_total',
    help: 'Messages that were shown to connections.',
    registers,
  });
  const errors = new Counter({
    name: 'imid_frame_errors_total',
    help: 'Errors that clients were told on the socket, by code.',
    labelNames: ['code'],
    registers,
  });
  const bellLag = new Histogram({
    name: 'imid_bell_lag_seconds',
    help: 'From what a ring tells of until it is heard.',
    buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1],
    registers,
  });
  const closes = new Counter({
    name: 'imid_closes_total',
    help: 'Connections that the service closed, by close code.',
    labelNames: ['code'],
    registers,
  });

  return {
    flushed(units: number, seconds: number): void {
      flushSize.observe(units);
      flushSeconds.observe(seconds);
    },
    /** A connection was welcomed: its device resumed, is new, or has to start over. */
    welcomed: (outcome: 'resumed' | 'new' | 'over'): void => resumes.inc({ outcome }),
    delivered: (): void => deliveries.inc(),
    failed: (code: ErrorCode): void => errors.inc({ code }),
    /** A ring was heard, so many seconds after what it tells of. */
    heard: (seconds: number): void => bellLag.observe(Math.max(seconds, 0)),
    closed: (code: number): void => closes.inc({ code }),
  };
}
