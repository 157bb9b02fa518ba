// The process that the clients of one kind live in (see people_process.ts).

import { setTimeout as sleep } from 'node:timers/promises';
import type { Member } from '../messaging/fleet.ts';
import { perform } from '../tasks.ts';
import { createCircle, type Circle, type Say } from './circle.ts';
import type { Kind } from './speakers.ts';

let circle: Circle | undefined;

const tasks = {
  gather: ({ kind, members }: { kind: Kind; members: readonly Member[] }): void => {
    circle = createCircle(kind, members);
  },
  connect: (atATime: number): Promise<void> => circle!.connect(atATime),
  talk: (say: Say): Promise<number> => circle!.talk(say),
  dismiss: (): void => circle!.close(),
  /** What the process holds (RSS), in MiB, without what it needn't. */
  async memory(): Promise<number> {
    for (let n = 0; n < 3; n++) {
      await sleep(100);
      globalThis.gc!();
    }
    return process.memoryUsage.rss() / 2 ** 20;
  },
};

export type Tasks = typeof tasks;

perform(tasks);
