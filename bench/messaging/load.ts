// The process that all clients of a messaging bench live in, so that what they cost is nobody else's. Does one task after
// another, as it is told over IPC (see load_process.ts), and ends with who started it.

import { createCrowd, type Crowd } from './crowd.ts';
import { openFleet, type Fleet, type Member, type Talk, type Talked } from './fleet.ts';
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
export type Order = { [T in keyof Tasks]: { task: T; input: Parameters<Tasks[T]>[0] } }[keyof Tasks];
export type Answer = { result: unknown } | { error: string };

async function perform({ task, input }: Order): Promise<Answer> {
  try {
    return { result: await (tasks[task] as (of: unknown) => Promise<unknown>)(input) };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

process.on('message', (order) => void perform(order as Order).then((answer) => process.send!(answer)));
process.on('disconnect', () => process.exit(0));
