// Resolving one address after another: for the first time since the service was started, and again right away.

import { openLoad, toRequest, type Load } from '../load.ts';
import { median } from '../measure.ts';
import { nameOf } from '../users.ts';
import type { Point } from './points.ts';
import { addressOf, kinds, restart, type Kind, type Stage, type Stand } from './stage.ts';

/** What cold is can only be told once of each user, so that few users take several starts of the service. */
const MAX_STARTS = 7;

export async function resolving(
  stage: Stage,
  users: number,
  { samples, isQuick }: { samples: number; isQuick: boolean },
): Promise<Point[]> {
  const taken = new Map(kinds.map((kind) => [kind, { cold: [] as number[], warm: [] as number[] }]));
  const perStart = Math.min(users, samples);
  const starts = Math.min(isQuick ? 1 : MAX_STARTS, Math.ceil(samples / perStart));
  for (let start = 0; start < starts; start++) {
    await Promise.all(kinds.map((kind) => restart(stage[kind])));
    using asking = new DisposableStack();
    const askers = await Promise.all(
      kinds.map(async (kind) => {
        const load = asking.use(await openLoad(stage[kind].service.url, 1));
        return { times: taken.get(kind)!, ask: (name: string) => ask(stage[kind], load, name) };
      }),
    );
    // The processes are to be warm, in turn so that none forgets the app meanwhile, and only the users cold.
    for (let n = 0; n < 5 * samples; n++) for (const asker of askers) await asker.ask(`nobody-${n}`);
    for (let i = 0; i < perStart; i++)
      for (const temperature of ['cold', 'warm'] as const)
        for (const { times, ask: askFor } of askers)
          times[temperature].push(await askFor(nameOf(i * Math.floor(users / perStart))));
  }
  const mediansOf = (temperature: 'cold' | 'warm') =>
    Object.fromEntries(kinds.map((kind) => [kind, median(taken.get(kind)![temperature])])) as Record<
      Kind,
      number
    >;
  return [
    { metric: 'cold', users, values: mediansOf('cold') },
    { metric: 'warm', users, values: mediansOf('warm') },
  ];
}

/** Milliseconds until the answer. */
async function ask(stand: Stand, load: Load, name: string): Promise<number> {
  const { url, apiKey } = stand.app;
  const request = toRequest(`${url}/resolve`, apiKey, { addresses: [addressOf(stand, name)] });
  const startedAt = performance.now();
  const { status } = await load.ask(request);
  const ms = performance.now() - startedAt;
  if (status !== 200) throw new Error(`A resolve was answered with ${status}`);
  return ms;
}
