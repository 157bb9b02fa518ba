// A thousand clients in one process, of the library and bare on the same kind of socket: how fast they connect, how fast
// each sends and receives, and what they cost the process. Each round has a process of its own for either kind, which knows
// the code already.

import { median, type Measured } from '../measure.ts';
import type { Member } from '../messaging/fleet.ts';
import { openDoors, toNames } from '../messaging/stand.ts';
import { untilQuiet } from '../processes.ts';
import { toFigure, toRatioRow, type Row } from '../results.ts';
import type { Service, Site } from '../service.ts';
import type { Say } from './circle.ts';
import { startPeople } from './people_process.ts';
import type { Kind } from './speakers.ts';

const AT_A_TIME = 32;
const BESIDE = 'the bare `WebSocket` of Node';
/** So many clients are enough to have the code compiled. */
const WARM_UP = 50;

/** How a round went. */
interface Lived {
  connectsPerSecond: number;
  messagesPerSecond: number;
  /** Of the clients' process, for connecting and talking; NaN where nobody knows. */
  cpuSeconds: number;
  kibPerClient: number;
}

type Both = Record<'ours' | 'beside', Lived[]>;

export async function thousand(site: Site, isQuick: boolean, rounds = isQuick ? 1 : 5): Promise<Row[]> {
  const clients = isQuick ? 100 : 1_000;
  const say = { window: 1, messages: isQuick ? 5 : 20 };
  const database = await site.createDatabase();
  await using service = await database.startService();
  const app = await service.createApp(['composed']);
  const members = await openDoors(service, app, toNames(0, clients));
  const lived: Both = { ours: [], beside: [] };
  for (let round = 0; round < rounds; round++) {
    lived.ours.push(await live('library', members, { service, say, isQuick }));
    lived.beside.push(await live('ownSocket', members, { service, say, isQuick }));
  }
  const all = `${clients.toLocaleString('en-GB')} clients in one process`;
  return [
    toRateRow(`${all}, connecting`, lived, 'connectsPerSecond', 'connects'),
    toRateRow(`${all}, each sends and receives`, lived, 'messagesPerSecond', 'messages'),
    toCostRow(`CPU of ${all}`, 1.5, lived, 'cpuSeconds', 's'),
    toCostRow(`memory of ${all}`, 1.25, lived, 'kibPerClient', 'KiB each'),
  ].filter(({ figure }) => !Number.isNaN(figure));
}

async function live(
  kind: Kind,
  members: readonly Member[],
  { service, say, isQuick }: { service: Service; say: Say; isQuick: boolean },
): Promise<Lived> {
  await using people = startPeople();
  const settle = async (): Promise<void> => {
    if (!isQuick) await untilQuiet(service.cpuSeconds);
  };
  await people.ask('gather', { kind, members: members.slice(0, WARM_UP) });
  await people.ask('connect', AT_A_TIME);
  await people.ask('talk', say);
  await people.ask('dismiss', undefined);
  await settle();
  const memoryBefore = await people.ask('memory', undefined);
  const cpuBefore = people.cpuSeconds() ?? Number.NaN;
  await people.ask('gather', { kind, members });
  const connecting = await timed(async () => people.ask('connect', AT_A_TIME));
  const talking = await timed(async () => people.ask('talk', say));
  const cpuSeconds = (people.cpuSeconds() ?? Number.NaN) - cpuBefore;
  await settle();
  const memoryAfter = await people.ask('memory', undefined);
  await people.ask('dismiss', undefined);
  return {
    connectsPerSecond: members.length / connecting,
    messagesPerSecond: (members.length * say.messages) / talking,
    cpuSeconds,
    kibPerClient: ((memoryAfter - memoryBefore) * 1024) / members.length,
  };
}

async function timed(act: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await act();
  return (performance.now() - startedAt) / 1000;
}

function toRateRow(what: string, lived: Both, key: keyof Lived, of: string): Row {
  const toMeasured = (rates: number[]): Measured => ({
    unitsPerSecond: median(rates),
    rates,
    cpuSecondsPerUnit: undefined,
  });
  const ours = toMeasured(lived.ours.map((round) => round[key]));
  const beside = toMeasured(lived.beside.map((round) => round[key]));
  return toRatioRow(what, 0.8, { ours, beside }, { of, beside: BESIDE });
}

function toCostRow(what: string, target: number, lived: Both, key: keyof Lived, unit: string): Row {
  const [ours, beside] = [
    median(lived.ours.map((round) => round[key])),
    median(lived.beside.map((round) => round[key])),
  ];
  return {
    what,
    ours: `${toFigure(ours)} ${unit}`,
    theirs: `${toFigure(beside)} ${unit}`,
    beside: BESIDE,
    figure: ours / beside,
    rounds: lived.ours.map((round, n) => round[key] / lived.beside[n]![key]),
    unit: 'times',
    target,
    cpu: undefined,
  };
}
