// The two schemes, and an app with both, side by side at one user, at many, and at very many.

import type { Site } from '../service.ts';
import { bringingIn, measureBytes } from './bringing_in.ts';
import type { Point } from './points.ts';
import { resolving } from './resolving.ts';
import { sending } from './sending.ts';
import { bringIn, openStage, type Kind } from './stage.ts';
import { typo, wire } from './wire_and_typo.ts';

export interface Schemes {
  points: Point[];
  typo: Record<Kind, string>;
}

export async function compareSchemes(site: Site, isQuick: boolean): Promise<Schemes> {
  const stage = await openStage(site);
  const samples = isQuick ? 20 : 300;
  const points: Point[] = [];
  let from = 0;
  let seconds = 0;
  for (const users of isQuick ? [1, 500] : [1, 100_000, 1_000_000]) {
    seconds += await bringIn(stage, from, users);
    from = users;
    const bytes = await measureBytes(stage);
    points.push(...(await resolving(stage, users, { samples, isQuick })));
    points.push(...(await bringingIn(stage, bytes, { users, seconds, samples })));
    points.push(...(await sending(stage, users, isQuick)));
  }
  points.push(...(await wire(stage)));
  return { points, typo: await typo(stage) };
}
