// Bringing users in, one by one or all by an import; and what is kept of each, here and at the customer.

import { openLoad, toRequest, type Load } from '../load.ts';
import { median } from '../measure.ts';
import { nameOf } from '../users.ts';
import type { Point } from './points.ts';
import { addressOf, measureRows, type Stage, type Stand } from './stage.ts';

/** Those who are brought in one by one come from far behind those of the imports. */
let nextOther = 2 ** 31;

/** Of users that are in: what is stored of each once it has an inbox. */
export type BytesPerUser = Record<'composed' | 'registered', number>;

export async function measureBytes(stage: Stage): Promise<BytesPerUser> {
  const bytesOf = async (stand: Stand): Promise<number> => {
    const { rows, bytes } = await measureRows(stand);
    return bytes / rows;
  };
  return { composed: await bytesOf(stage.composed), registered: await bytesOf(stage.registered) };
}

/** Where there are `users` whose import took so many seconds: what it takes to bring in `samples` more, one by one. */
export async function bringingIn(
  { composed, registered }: Stage,
  bytes: BytesPerUser,
  { users, seconds, samples }: { users: number; seconds: number; samples: number },
): Promise<Point[]> {
  const one = {
    composed: await bringMoreIn(composed, samples),
    registered: await bringMoreIn(registered, samples),
  };
  const each = (value: (kind: keyof typeof one) => number) => ({
    composed: value('composed'),
    registered: value('registered'),
  });
  return [
    { metric: 'calls', users, values: each((kind) => one[kind].calls) },
    { metric: 'register', users, values: each((kind) => one[kind].ms) },
    // Where one takes no call, all take no import.
    { metric: 'import', users, values: each((kind) => (one[kind].calls === 0 ? 0 : seconds)) },
    { metric: 'idle', users, values: each((kind) => one[kind].rows * bytes[kind]) },
    { metric: 'inbox', users, values: bytes },
    { metric: 'customer', users, values: each((kind) => one[kind].kept) },
  ];
}

/** What it takes until a user is one, in the median; what is stored of it then; and what the customer has to keep. */
interface BroughtIn {
  calls: number;
  ms: number;
  rows: number;
  kept: number;
}

async function bringMoreIn(stand: Stand, samples: number): Promise<BroughtIn> {
  using load = await openLoad(stand.service.url, 1);
  const { rows: before } = await measureRows(stand);
  const ones: Omit<BroughtIn, 'rows'>[] = [];
  for (let i = 0; i < samples; i++) ones.push(await bringOneIn(stand, load, nameOf(nextOther++)));
  const { rows: after } = await measureRows(stand);
  return {
    calls: median(ones.map(({ calls }) => calls)),
    ms: median(ones.map(({ ms }) => ms)),
    kept: median(ones.map(({ kept }) => kept)),
    rows: (after - before) / samples,
  };
}

/** Registers a user, but only as long as its address leads to nobody. */
async function bringOneIn(stand: Stand, load: Load, name: string): Promise<Omit<BroughtIn, 'rows'>> {
  const { url, apiKey, appId } = stand.app;
  const look = toRequest(`${url}/resolve`, apiKey, { addresses: [addressOf(stand, name)] });
  const register = toRequest(`${url}/identities`, apiKey, { userId: name });
  const find = async (): Promise<string | undefined> => {
    const { body } = await load.ask(look);
    const { results } = JSON.parse(body.toString()) as { results: { imId?: string }[] };
    return results[0]?.imId;
  };
  let imId = await find();
  let calls = 0;
  const startedAt = performance.now();
  for (; imId === undefined && calls < 3; calls++) {
    const { body } = await load.ask(register);
    imId = (JSON.parse(body.toString()) as { imId?: string }).imId;
  }
  const ms = calls === 0 ? 0 : performance.now() - startedAt;
  if (imId === undefined || (await find()) !== imId) throw new Error(`${name} could not be brought in`);
  // What is composed of what the customer has anyway needs not to be kept.
  const kept = imId === `${appId}:${name}` ? 0 : Buffer.byteLength(name) + Buffer.byteLength(imId);
  return { calls, ms, kept };
}
