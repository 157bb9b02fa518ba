// The process that all clients of a messaging bench live in, so that what they cost is nobody else's. Does one task after
// another, as it is told over IPC (see load_process.ts), and ends with who started it.

import { openFleet, type Fleet, type Member, type Talk, type Talked } from './fleet.ts';

const fleets: Fleet[] = [];

const tasks = {
  /** Gives back what the fleet is to be called. */
  openFleet: async (members: readonly Member[]): Promise<number> => fleets.push(await openFleet(members)) - 1,
  talk: ({ fleet, ...talk }: Talk & { fleet: number }): Promise<Talked> => fleets[fleet]!.talk(talk),
  closeFleet: (fleet: number): Promise<void> => fleets[fleet]!.close(),
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
