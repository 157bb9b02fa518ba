// What the comparison of the schemes consists of: what is measured, and in which words and units it is shown.

import { toFigure } from '../results.ts';
import type { Kind } from './stage.ts';

/** A figure of each kind of app, at so many users; a kind without one is as either scheme. */
export interface Point {
  metric: Metric;
  users: number | undefined;
  values: Partial<Record<Kind, number>>;
}

interface MetricEntry {
  title: string;
  unit: string;
}

export const metrics = {
  calls: { title: 'REST calls to bring a user in', unit: '' },
  register: { title: 'Bringing one more user in', unit: 'ms' },
  import: { title: 'Bringing all in, by an import', unit: 's' },
  idle: { title: 'Stored here per user, before its first message', unit: 'bytes' },
  inbox: { title: 'Stored here per user, with an inbox', unit: 'bytes' },
  customer: { title: 'Kept at the customer per user', unit: 'bytes' },
  cold: { title: 'Resolve, cold', unit: 'ms' },
  warm: { title: 'Resolve, warm', unit: 'ms' },
  sendFrame: { title: '`send` on the wire', unit: 'bytes' },
  messageFrame: { title: '`message` on the wire', unit: 'bytes' },
  rate: { title: 'Messages sent', unit: 'per second' },
  cpu: { title: 'CPU of 10,000 messages', unit: 's' },
} as const satisfies Record<string, MetricEntry>;

export type Metric = keyof typeof metrics;

/** In an app with both, a user costs what it does in the scheme that it is brought in by. */
export function describeValue({ metric, values }: Point, kind: Kind): string {
  const value = values[kind];
  if (value !== undefined) return value === 0 ? '0' : `${toFigure(value)} ${metrics[metric].unit}`.trimEnd();
  return kind === 'both' && Object.keys(values).length > 0 ? 'as either' : '';
}
