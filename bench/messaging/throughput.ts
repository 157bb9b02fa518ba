// A hundred clients in pairs: messages per second, what they cost in CPU time, and how long one is under way.

import { cpuRatio, measureInTurn, type Measured, type Side } from '../measure.ts';
import { untilQuiet } from '../processes.ts';
import { toFigure, toLatencyRow, toRatioRow, type Row } from '../results.ts';
import type { Program, Site } from '../service.ts';
import type { Talk, Talked } from './fleet.ts';
import { startLoadProcess, type LoadProcess } from './load_process.ts';
import { openDoors, toNames, toRelayDoors } from './stand.ts';

const RELAY = 'a bare `ws` relay';

interface Talking {
  ours: Measured;
  beside: Measured;
  /** By side, of each round. */
  talked: Record<'ours' | 'beside', Talked[]>;
}

export async function throughput(site: Site, isQuick: boolean, rounds = isQuick ? 2 : 7): Promise<Row[]> {
  const clients = isQuick ? 10 : 100;
  const database = await site.createDatabase();
  await using service = await database.startService();
  await using relay = await site.startRelay();
  await using load = startLoadProcess();
  const app = await service.createApp(['composed']);
  const doors = await openDoors(service, app, toNames(0, clients));
  const fleets = {
    ours: await load.ask('openFleet', doors),
    beside: await load.ask('openFleet', toRelayDoors(relay, doors)),
  };
  const programs = { ours: service, beside: relay };

  const many = await compare({ window: 8, messages: isQuick ? 50 : 1_000 });
  const one = await compare({ window: 1, messages: isQuick ? 50 : 400 });
  // Each was delivered once: a run checks that of its own, and this that nothing came afterwards.
  for (const fleet of Object.values(fleets)) await load.ask('closeFleet', fleet);

  return [
    toRatioRow(`${clients} clients, window 8`, 0.75, many, { of: 'messages', beside: RELAY }),
    ...toCpuRow(`CPU of ${clients} clients, window 8`, many),
    toRatioRow(`${clients} clients, window 1`, 0.45, one, { of: 'messages', beside: RELAY }),
    toLatencyRow(`until received, ${clients} clients, window 1`, 4, one.talked, { beside: RELAY }),
  ];

  async function compare(talk: Talk): Promise<Talking> {
    const talked: Talking['talked'] = { ours: [], beside: [] };
    const side = (name: 'ours' | 'beside'): Side =>
      toSide(load, programs[name], { ...talk, fleet: fleets[name], isQuick }, talked[name]);
    return { ...(await measureInTurn({ ours: side('ours'), beside: side('beside') }, rounds)), talked };
  }
}

function toSide(
  load: LoadProcess,
  { cpuSeconds }: Program,
  { isQuick, ...talk }: Talk & { fleet: number; isQuick: boolean },
  talked: Talked[],
): Side {
  return {
    cpuSeconds,
    async run(round) {
      const result = await load.ask('talk', talk);
      if (round > 0) talked.push(result);
      return result.delivered;
    },
    ...(isQuick ? {} : { settle: () => untilQuiet(cpuSeconds) }),
  };
}

/** None where the CPU time isn't known. */
function toCpuRow(what: string, { ours, beside }: Talking): Row[] {
  const ratio = cpuRatio(beside, ours);
  if (ratio === undefined) return [];
  const show = ({ cpuSecondsPerUnit }: Measured): string => `${toFigure(cpuSecondsPerUnit! * 100_000)} s`;
  return [
    {
      what,
      ours: `${show(ours)} for 100,000 messages`,
      theirs: show(beside),
      beside: RELAY,
      figure: ratio,
      rounds: [],
      unit: 'times',
      target: 1.6,
      cpu: undefined,
    },
  ];
}
