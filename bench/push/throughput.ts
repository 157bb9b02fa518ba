// Pushes to users who are offline, beside the same requests by a bare client of HTTP/2: from the first that arrives to the
// last.

import { fileURLToPath } from 'node:url';
import { measureInTurn, type Side } from '../measure.ts';
import { untilQuiet } from '../processes.ts';
import { toRatioRow, type Row } from '../results.ts';
import type { Site } from '../service.ts';
import { startTasks } from '../tasks.ts';
import type { Tasks } from './bare_client.ts';
import { openPushStage, type PushStage } from './stage.ts';

const BARE_CLIENT = fileURLToPath(new URL('bare_client.ts', import.meta.url));

export async function throughput(site: Site, isQuick: boolean): Promise<Row[]> {
  return [await measure(site, isQuick, true), await measure(site, isQuick, false)];
}

/** `isStrict`: pushes to an APNs that looks at what comes, which costs more than to send it. */
async function measure(site: Site, isQuick: boolean, isStrict: boolean): Promise<Row> {
  const users = isQuick ? 300 : isStrict ? 10_000 : 20_000;
  await using stage = await openPushStage(site, users, { isStrict });
  await using bare = startTasks<Tasks>(BARE_CLIENT);
  const { apns, origin } = stage;
  const settle = (cpuSeconds: () => number | undefined) =>
    isQuick ? {} : { settle: () => untilQuiet(cpuSeconds) };
  let atATime = 0;
  const measured = await measureInTurn(
    {
      ours: {
        ...toOurs(stage, users, isQuick),
        async settle() {
          await stage.untilHandled();
          if (!isQuick) await untilQuiet(stage.service.cpuSeconds);
          atATime ||= (await apns.ask('count', undefined)).most;
        },
      },
      beside: {
        cpuSeconds: bare.cpuSeconds,
        run: async () =>
          bare.ask('push', { origin, sample: await apns.ask('sample', undefined), count: users, atATime }),
        ...settle(bare.cpuSeconds),
      },
    },
    isQuick ? 2 : 5,
  );
  const what = `pushes to ${users.toLocaleString('en-GB')} users who are offline, APNs checks ${isStrict ? 'each' : 'none'}`;
  return toRatioRow(what, 0.5, measured, {
    of: 'pushes',
    beside: `a bare \`node:http2\` client, ${atATime} at a time`,
  });
}

/** A round begins with the first push that arrives. */
function toOurs({ apns, service, store, rest, makeDue }: PushStage, users: number, isQuick: boolean): Side {
  let before = 0;
  return {
    cpuSeconds: service.cpuSeconds,
    async prepare() {
      await store();
      if (!isQuick) await rest();
      before = (await apns.ask('count', undefined)).taken;
      await makeDue();
      await apns.ask('untilTaken', before + 1);
    },
    async run() {
      await apns.ask('untilTaken', before + users);
      return users;
    },
  };
}
