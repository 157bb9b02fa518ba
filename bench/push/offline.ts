// What a message costs its sender until it is answered: to a user who is offline and is pushed to, beside one to a user who is
// there, has a bound device as well, and acks at once.

import { fileURLToPath } from 'node:url';
import { cpuRatio, measureInTurn, type Side } from '../measure.ts';
import { openDoors, toNames } from '../messaging/stand.ts';
import { untilQuiet } from '../processes.ts';
import { toLatencyRow, type Latency, type Row } from '../results.ts';
import type { Site } from '../service.ts';
import { startTasks } from '../tasks.ts';
import type { Tasks } from './speakers.ts';
import { openPushStage } from './stage.ts';

const SPEAKERS = fileURLToPath(new URL('speakers.ts', import.meta.url));

export async function offline(site: Site, isQuick: boolean): Promise<Row[]> {
  const [users, senders, messages] = isQuick ? [20, 5, 5] : [1_000, 50, 10];
  await using stage = await openPushStage(site, 2 * users);
  await using speakers = startTasks<Tasks>(SPEAKERS);
  await using listeners = startTasks<Tasks>(SPEAKERS);
  const { apns, app, service } = stage;
  const here = toNames(0, users);
  await listeners.ask('listen', await openDoors(service, app, here));
  await speakers.ask('openSenders', await openDoors(service, app, toNames(2 * users, 2 * users + senders)));
  const took: Record<'ours' | 'beside', Latency[]> = { ours: [], beside: [] };
  const measured = await measureInTurn(
    { ours: toSide('ours', toNames(users, 2 * users)), beside: toSide('beside', here) },
    isQuick ? 2 : 9,
  );
  await check();
  const cpu = cpuRatio(measured.beside, measured.ours);
  const what = `until answered, ${senders} senders to ${users.toLocaleString('en-GB')} users who are offline`;
  return [toLatencyRow(what, 1.1, took, { beside: 'to as many who are there', cpu })];

  function toSide(name: 'ours' | 'beside', names: readonly string[]): Side {
    return {
      cpuSeconds: service.cpuSeconds,
      async run(round) {
        const latency = await speakers.ask('send', { names, messages });
        if (round > 0) took[name].push(latency);
        return names.length * messages;
      },
      async settle() {
        await stage.untilHandled();
        if (!isQuick) await untilQuiet(service.cpuSeconds);
      },
    };
  }

  /** Whoever is there was told by the socket, and whoever isn't by a push. */
  async function check(): Promise<void> {
    const heard = await listeners.ask('heard', undefined);
    const sent = users * messages * (took.beside.length + 1);
    if (heard !== sent) throw new Error(`Only ${heard} of ${sent} messages came to who was there`);
    const { taken } = await apns.ask('count', undefined);
    if (taken < users) throw new Error(`Only ${taken} pushes for ${users} users`);
  }
}
