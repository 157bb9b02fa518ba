// What it costs to send, one to one over the socket: pairs of clients, each sender a few messages ahead of the answers.

import { measureInTurn, type Side } from '../measure.ts';
import type { Point } from './points.ts';
import { kinds, type Kind, type Stage, type Stand } from './stage.ts';
import { openTalker, type Talker } from './talkers.ts';

const WINDOW = 8;
const CONTENT = { text: 'Is the boat afloat? Then we sail on Sunday, with the dog.' };

export async function sending(stage: Stage, users: number, isQuick: boolean): Promise<Point[]> {
  const pairs = isQuick ? 2 : 20;
  const messages = isQuick ? 20 : 250;
  using stack = new DisposableStack();
  const sides = {} as Record<Kind, Side>;
  for (const kind of kinds) sides[kind] = await openSide(stage[kind]);
  const measured = await measureInTurn(sides, isQuick ? 2 : 7);
  const valuesOf = (value: (kind: Kind) => number | undefined) =>
    Object.fromEntries(
      kinds.map((kind) => [kind, value(kind)] as const).filter(([, v]) => v !== undefined),
    ) as Partial<Record<Kind, number>>;
  return [
    { metric: 'rate', users, values: valuesOf((kind) => measured[kind].unitsPerSecond) },
    {
      metric: 'cpu',
      users,
      values: valuesOf((kind) => {
        const { cpuSecondsPerUnit } = measured[kind];
        return cpuSecondsPerUnit === undefined ? undefined : cpuSecondsPerUnit * 10_000;
      }),
    },
  ];

  async function openSide(stand: Stand): Promise<Side> {
    const open = async (n: number): Promise<Talker> => stack.use(await openTalker(stand, n));
    const couples: [Talker, Talker][] = [];
    for (let i = 0; i < pairs; i++) couples.push([await open(2 * i), await open(2 * i + 1)]);
    return {
      cpuSeconds: () => stand.service.cpuSeconds(),
      async run(round) {
        await Promise.all(couples.map(([from, to]) => talk(from, to, messages, `${users}-${round}`)));
        return pairs * messages;
      },
    };
  }
}

/** Sends, and resolves when all is stored and has arrived. */
async function talk(from: Talker, to: Talker, messages: number, prefix: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let [next, stored, arrived] = [0, 0, 0];
  const send = (): void => {
    if (next < messages) from.send(to.address, `${prefix}-${next++}`, CONTENT);
  };
  const count = (text: string, type: 'sent' | 'message'): boolean => {
    if (text.startsWith(`{"type":"${type}"`)) return true;
    reject(new Error(`Got ${text}`));
    return false;
  };
  from.onFrame = (text) => {
    if (!count(text, 'sent')) return;
    stored += 1;
    send();
    if (stored === messages && arrived === messages) resolve();
  };
  to.onFrame = (text) => {
    if (count(text, 'message')) arrived += 1;
    if (stored === messages && arrived === messages) resolve();
  };
  for (let i = 0; i < WINDOW; i++) send();
  await promise;
}
