// The process that all clients of a messaging bench live in (see load_process.ts).

import { createCrowd, type Crowd } from './crowd.ts';
import { openFleet, type Fleet, type Member, type Talk, type Talked } from './fleet.ts';
import { perform } from '../tasks.ts';
import type { Door } from './wire.ts';

const fleets: Fleet[] = [];
const crowds: Crowd[] = [];

const tasks = {
  /** Gives back what the fleet is to be called. */
  openFleet: async (members: readonly Member[]): Promise<number> => fleets.push(await openFleet(members)) - 1,
  talk: ({ fleet, ...talk }: Talk & { fleet: number }): Promise<Talked> => fleets[fleet]!.talk(talk),
  closeFleet: (fleet: number): Promise<void> => fleets[fleet]!.close(),
  /** Gives back what the crowd is to be called. */
  gatherCrowd: async (doors: readonly Door[]): Promise<number> => crowds.push(createCrowd(doors)) - 1,
  connectCrowd: ({ crowd, atATime }: { crowd: number; atATime: number }): Promise<void> =>
    crowds[crowd]!.connect(atATime),
  dismissCrowd: async (crowd: number): Promise<void> => crowds[crowd]!.dismiss(),
};

export type Tasks = typeof tasks;

perform(tasks);
