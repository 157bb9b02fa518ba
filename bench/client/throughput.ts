// A hundred clients of the library in pairs, beside as many bare ones, on the same service.

import { measureInTurn, type Side } from '../measure.ts';
import type { Member } from '../messaging/fleet.ts';
import { openDoors, toNames } from '../messaging/stand.ts';
import { untilQuiet } from '../processes.ts';
import { toRatioRow, type Row } from '../results.ts';
import type { Site } from '../service.ts';
import { startPeople, type People } from './people_process.ts';
import type { Kind } from './speakers.ts';

const AT_A_TIME = 32;

export async function throughput(site: Site, isQuick: boolean, rounds = isQuick ? 2 : 7): Promise<Row[]> {
  const clients = isQuick ? 10 : 100;
  const say = { window: 8, messages: isQuick ? 50 : 200 };
  const database = await site.createDatabase();
  await using service = await database.startService();
  const app = await service.createApp(['composed']);
  await using ours = startPeople();
  await using ws = startPeople();
  await using ownSocket = startPeople();
  const sides = {
    ours: await toSide(ours, 'library', 0),
    ws: await toSide(ws, 'ws', 1),
    ownSocket: await toSide(ownSocket, 'ownSocket', 2),
  };
  const measured = await measureInTurn(sides, rounds);
  for (const people of [ours, ws, ownSocket]) await people.ask('dismiss', undefined);
  const what = `${clients} clients, window ${say.window}`;
  return [
    toRatioRow(
      what,
      0.8,
      { ours: measured.ours, beside: measured.ws },
      { of: 'messages', beside: 'bare `ws`' },
    ),
    toRatioRow(
      `${what}, on the same kind of socket`,
      0.8,
      { ours: measured.ours, beside: measured.ownSocket },
      { of: 'messages', beside: 'the bare `WebSocket` of Node' },
    ),
  ];

  async function toSide(people: People, kind: Kind, n: number): Promise<Side> {
    const members: Member[] = await openDoors(service, app, toNames(n * clients, (n + 1) * clients));
    await people.ask('gather', { kind, members });
    await people.ask('connect', AT_A_TIME);
    return {
      cpuSeconds: people.cpuSeconds,
      run: () => people.ask('talk', say),
      ...(isQuick ? {} : { settle: () => untilQuiet(service.cpuSeconds) }),
    };
  }
}
