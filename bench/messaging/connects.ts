// Connecting with a fresh token each, until the welcome is there; beside a relay that checks the signature, and no more.

import { measureInTurn, type Side } from '../measure.ts';
import { untilQuiet } from '../processes.ts';
import { toRatioRow, type Row } from '../results.ts';
import type { Site } from '../service.ts';
import type { Member } from './fleet.ts';
import { startLoadProcess } from './load_process.ts';
import { openDoors, toNames, toRelayDoors } from './stand.ts';

const AT_A_TIME = 32;

export async function connects(site: Site, isQuick: boolean, rounds = isQuick ? 1 : 7): Promise<Row[]> {
  // Each is another user, with a device; from the second round on they are known.
  const names = toNames(0, isQuick ? 64 : 2_000);
  const database = await site.createDatabase();
  await using service = await database.startService();
  const jwks = await (await fetch(`${service.url}/.well-known/jwks.json`)).text();
  await using relay = await site.startRelay(jwks);
  await using load = startLoadProcess();
  const app = await service.createApp(['composed']);
  let crowd: number | undefined;

  const toSide = (cpuSeconds: Side['cpuSeconds'], toDoors: (doors: Member[]) => Member[]): Side => ({
    cpuSeconds,
    async prepare() {
      if (crowd !== undefined) await load.ask('dismissCrowd', crowd);
      crowd = await load.ask('gatherCrowd', toDoors(await openDoors(service, app, names)));
      if (!isQuick) await untilQuiet(() => service.cpuSeconds());
    },
    async run() {
      await load.ask('connectCrowd', { crowd: crowd!, atATime: AT_A_TIME });
      return names.length;
    },
  });
  const measured = await measureInTurn(
    {
      ours: toSide(service.cpuSeconds, (doors) => doors),
      beside: toSide(relay.cpuSeconds, (doors) => toRelayDoors(relay, doors)),
    },
    rounds,
  );
  await load.ask('dismissCrowd', crowd!);
  return [
    toRatioRow(`connects with fresh tokens, ${AT_A_TIME} at a time`, 0.5, measured, {
      of: 'connects',
      beside: 'a bare `ws` relay with an ES256 verify',
    }),
  ];
}
