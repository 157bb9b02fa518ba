// What a backlog of pushes does to the service while it drains: to the messages of a hundred clients who talk meanwhile,
// beside the same when nothing is to be pushed; and to its memory.

import { setTimeout as sleep } from 'node:timers/promises';
import { measureInTurn, median, type Side } from '../measure.ts';
import type { Talked } from '../messaging/fleet.ts';
import { startLoadProcess } from '../messaging/load_process.ts';
import { openDoors, toNames } from '../messaging/stand.ts';
import { memoryMibOf, untilQuiet } from '../processes.ts';
import { toFigure, toLatencyRow, toRatioRow, type Row } from '../results.ts';
import type { Site } from '../service.ts';
import { openPushStage } from './stage.ts';

const BESIDE = 'the same with nothing to be pushed';

/** The memory while a backlog drains, in MiB: at the first talks and at the last ones. */
interface Held {
  first: number;
  last: number;
}

const TALKS = 10;
const SAMPLES = 5;
const SAMPLE_MS = 200;

export async function backlog(site: Site, isQuick: boolean): Promise<Row[]> {
  const [users, clients, messages] = isQuick ? [1_000, 10, 20] : [100_000, 100, 100];
  await using stage = await openPushStage(site, users);
  await using load = startLoadProcess();
  const { apns, app, service } = stage;
  const doors = await openDoors(service, app, toNames(users, users + clients));
  const fleet = await load.ask('openFleet', doors);
  const talk = (): Promise<Talked> => load.ask('talk', { fleet, window: 8, messages });
  const took: Record<'ours' | 'beside', Talked[]> = { ours: [], beside: [] };
  const held: Held[] = [];
  let before = 0;
  const settle = async (): Promise<void> => {
    await stage.untilHandled();
    if (!isQuick) await untilQuiet(service.cpuSeconds);
  };

  const draining: Side = {
    // All that drains behind the talks would count as well.
    cpuSeconds: () => undefined,
    async prepare() {
      await stage.store();
      if (!isQuick) await stage.rest();
      before = (await apns.ask('count', undefined)).taken;
      await stage.makeDue();
      await apns.ask('untilTaken', before + 1);
    },
    async run(round) {
      const talks: Talked[] = [];
      for (let n = 0; n < TALKS; n += 1) talks.push(await talk());
      const left = before + users - (await apns.ask('count', undefined)).taken;
      if (!isQuick && left <= 0) throw new Error('The backlog was drained before the talks were over');
      if (round > 0) took.ours.push(toTalked(talks));
      return toTalked(talks).delivered;
    },
    async settle() {
      const memory: number[] = [];
      do {
        memory.push(memoryMibOf(service.pid) ?? NaN);
        await sleep(SAMPLE_MS);
      } while ((await apns.ask('count', undefined)).taken < before + users);
      held.push({ first: median(memory.slice(0, SAMPLES)), last: median(memory.slice(-SAMPLES)) });
      await settle();
    },
  };
  const alone: Side = {
    // All that drains behind the talks would count as well.
    cpuSeconds: () => undefined,
    async prepare() {
      if (!isQuick) await stage.rest();
    },
    async run(round) {
      const talks: Talked[] = [];
      for (let n = 0; n < TALKS; n += 1) talks.push(await talk());
      if (round > 0) took.beside.push(toTalked(talks));
      return toTalked(talks).delivered;
    },
    settle,
  };
  const measured = await measureInTurn({ ours: draining, beside: alone }, isQuick ? 1 : 3);
  await load.ask('closeFleet', fleet);
  const due = `${users.toLocaleString('en-GB')} pushes`;
  return [
    toRatioRow(`${clients} clients, window 8, while ${due} are due`, 0.8, measured, {
      of: 'messages',
      beside: BESIDE,
    }),
    toLatencyRow(`until received, while ${due} are due`, 1.25, took, { beside: BESIDE }),
    ...toMemoryRow(`memory when ${due} have drained`, held),
  ];
}

/** The medians of what the talks took. */
function toTalked(talks: readonly Talked[]): Talked {
  return {
    delivered: talks.reduce((sum, { delivered }) => sum + delivered, 0),
    medianMs: median(talks.map(({ medianMs }) => medianMs)),
    p99Ms: median(talks.map(({ p99Ms }) => p99Ms)),
  };
}

/** None where it isn't known. */
function toMemoryRow(what: string, held: readonly Held[]): Row[] {
  const first = median(held.map((each) => each.first));
  const last = median(held.map((each) => each.last));
  if (Number.isNaN(first + last)) return [];
  return [
    {
      what,
      ours: `${toFigure(last)} MiB`,
      theirs: `${toFigure(first)} MiB`,
      beside: 'when the first were pushed',
      figure: last / first,
      rounds: held.map((each) => each.last / each.first),
      unit: 'times',
      target: 1.2,
      cpu: undefined,
    },
  ];
}
