// Memory of connections on which nothing happens: what the process holds once they are there and all is quiet, without
// what it held before, when as many as a twentieth of them had come and gone. Postgres isn't counted.

import { setTimeout as sleep } from 'node:timers/promises';
import { median } from '../measure.ts';
import { memoryMibOf, untilQuiet } from '../processes.ts';
import { toFigure, type Row } from '../results.ts';
import type { Program, Site } from '../service.ts';
import type { Member } from './fleet.ts';
import { startLoadProcess } from './load_process.ts';
import { openDoors, toNames, toRelayDoors } from './stand.ts';

const AT_A_TIME = 32;

/** None where memory isn't known. */
export async function idle(site: Site, isQuick: boolean, rounds = isQuick ? 1 : 3): Promise<Row[]> {
  const connections = isQuick ? 400 : 10_000;
  const settleMs = isQuick ? 200 : 10_000;
  const database = await site.createDatabase();
  const names = toNames(0, connections);
  const kib = { ours: [] as number[], beside: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    // Each a process that nothing has happened in yet.
    await using service = await database.startService();
    await using relay = await site.startRelay();
    const app = await service.createApp(['composed']);
    const doors = await openDoors(service, app, names);
    for (const [side, program, own] of [
      ['ours', service, doors],
      ['beside', relay, toRelayDoors(relay, doors)],
    ] as const) {
      const bytes = await measure(program, own);
      if (bytes === undefined) return [];
      kib[side].push(bytes);
    }
  }
  const [ours, beside] = [median(kib.ours), median(kib.beside)];
  const show = (value: number): string => `${toFigure(value)} KiB`;
  return [
    {
      what: `memory of ${connections.toLocaleString('en-GB')} idle connections`,
      ours: `${show(ours)} each, with a device`,
      theirs: `${show(beside)} each`,
      beside: 'a bare `ws` relay',
      figure: ours / beside,
      rounds: kib.ours.map((value, round) => value / kib.beside[round]!),
      unit: 'times',
      target: 2,
      cpu: undefined,
    },
  ];

  /** KiB of each connection. */
  async function measure(program: Program, doors: readonly Member[]): Promise<number | undefined> {
    await using load = startLoadProcess();
    const fill = async (own: readonly Member[]): Promise<number> => {
      const crowd = await load.ask('gatherCrowd', own);
      await load.ask('connectCrowd', { crowd, atATime: AT_A_TIME });
      return crowd;
    };
    await load.ask('dismissCrowd', await fill(doors.slice(0, connections / 20)));
    await settle(program);
    const before = memoryMibOf(program.pid);
    const crowd = await fill(doors);
    await settle(program);
    const after = memoryMibOf(program.pid);
    await load.ask('dismissCrowd', crowd);
    return before === undefined || after === undefined ? undefined : ((after - before) * 1024) / connections;
  }

  async function settle(program: Program): Promise<void> {
    if (!isQuick) await untilQuiet(program.cpuSeconds);
    await sleep(settleMs);
  }
}
