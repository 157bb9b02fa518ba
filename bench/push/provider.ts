// Pushes by the provider of APNs alone, beside the same requests by a bare client of HTTP/2: what all the care for a
// connection and its answers costs.

import { fileURLToPath } from 'node:url';
import { measureInTurn } from '../measure.ts';
import { untilQuiet } from '../processes.ts';
import { toRatioRow, type Row } from '../results.ts';
import type { Site } from '../service.ts';
import { startTasks, type TaskProcess } from '../tasks.ts';
import type { Tasks as Apns } from './apns.ts';
import type { Tasks as BareClient } from './bare_client.ts';
import type { Tasks as ProviderClient } from './provider_client.ts';

const AT_A_TIME = 500;

const start = <T extends Record<string, (input: never) => unknown>>(file: string): TaskProcess<T> =>
  startTasks<T>(fileURLToPath(new URL(file, import.meta.url)));

export async function provider(_site: Site, isQuick: boolean): Promise<Row[]> {
  const count = isQuick ? 300 : 20_000;
  await using apns = start<Apns>('apns.ts');
  await using ours = start<ProviderClient>('provider_client.ts');
  await using bare = start<BareClient>('bare_client.ts');
  const origin = await apns.ask('listen', undefined);
  const order = { origin, count, atATime: AT_A_TIME };
  const settle = (cpuSeconds: () => number | undefined) =>
    isQuick ? {} : { settle: () => untilQuiet(cpuSeconds) };
  const measured = await measureInTurn(
    {
      ours: { cpuSeconds: ours.cpuSeconds, run: () => ours.ask('push', order), ...settle(ours.cpuSeconds) },
      beside: {
        cpuSeconds: bare.cpuSeconds,
        run: async () => bare.ask('push', { ...order, sample: await apns.ask('sample', undefined) }),
        ...settle(bare.cpuSeconds),
      },
    },
    isQuick ? 2 : 5,
  );
  return [
    toRatioRow(`pushes by the provider of APNs alone, ${AT_A_TIME} at a time`, 0.5, measured, {
      of: 'pushes',
      beside: 'a bare `node:http2` client',
    }),
  ];
}
