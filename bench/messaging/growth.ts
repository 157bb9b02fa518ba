// What sending and catching up cost in a database of ten million messages, and in inboxes of a million, beside the same
// in a next to empty one: two services, each on a database of its own, in turn.

import { openLoad, toRequest, type Load } from '../load.ts';
import { cpuRatio, measureInTurn, type Measured, type Side } from '../measure.ts';
import { perSecond, type Row } from '../results.ts';
import type { Service, Site, Tenant } from '../service.ts';
import { nameOf } from '../users.ts';
import type { Member, Talk } from './fleet.ts';
import { startLoadProcess, type LoadProcess } from './load_process.ts';
import { insertPast, type Past } from './past.ts';
import { openDoors } from './stand.ts';

const CATCH_UP = 100;
const CATCH_UP_CONNECTIONS = 8;

interface Grown extends AsyncDisposable {
  past: Past;
  service: Service;
  app: Tenant;
  /** Of the two with the long talk, and of pairs from all over the others; each with what it is called as a fleet. */
  two: { doors: Member[]; fleet: number };
  many: { doors: Member[]; fleet: number };
}

export async function growth(site: Site, isQuick: boolean, rounds = isQuick ? 1 : 7): Promise<Row[]> {
  const pairs = isQuick ? 5 : 50;
  const few: Past = { longTalk: CATCH_UP, pairs, perPair: CATCH_UP };
  const much: Past = isQuick
    ? { longTalk: 1_000, pairs: 50, perPair: 180 }
    : { longTalk: 1_000_000, pairs: 50_000, perPair: 180 };
  await using load = startLoadProcess();
  await using small = await grow(site, load, few, pairs);
  await using large = await grow(site, load, much, pairs);
  const inAll = `${toCount(much.longTalk + much.pairs * much.perPair)} messages`;
  const inOne = `${toCount(much.longTalk)} messages`;

  // Reading first, so that the ends of the inboxes are where the past ends.
  const lastInAll = await compareCatchUps('many', 'end');
  const lastInOne = await compareCatchUps('two', 'end');
  const anyInOne = await compareCatchUps('two', 'anywhere');
  return [
    toRow(`sending in a database of ${inAll}`, 'messages', await compareTalks('many', isQuick ? 20 : 150)),
    toRow(`sending into inboxes of ${inOne}`, 'messages', await compareTalks('two', isQuick ? 20 : 1_500)),
    toRow(`the last ${CATCH_UP} in a database of ${inAll}`, 'pages', lastInAll),
    toRow(`the last ${CATCH_UP} of an inbox of ${inOne}`, 'pages', lastInOne),
    toRow(`${CATCH_UP} from anywhere in an inbox of ${inOne}`, 'pages', anyInOne),
  ];

  function compareTalks(who: 'many' | 'two', messages: number): Promise<Compared> {
    const talk: Talk = { window: 8, messages };
    const side = (of: Grown): Side => ({
      cpuSeconds: of.service.cpuSeconds,
      run: async () => (await load.ask('talk', { ...talk, fleet: of[who].fleet })).delivered,
    });
    return measureInTurn({ ours: side(large), beside: side(small) }, rounds);
  }

  async function compareCatchUps(who: 'many' | 'two', from: 'end' | 'anywhere'): Promise<Compared> {
    const calls = isQuick ? 40 : 1_000;
    using smallLoad = await openLoad(small.service.url, CATCH_UP_CONNECTIONS);
    using largeLoad = await openLoad(large.service.url, CATCH_UP_CONNECTIONS);
    const side = (of: Grown, by: Load): Side => ({
      cpuSeconds: of.service.cpuSeconds,
      run(round) {
        let next = round * calls;
        const end = next + calls;
        return by.run(() => (next < end ? toCatchUp(of, { who, from }, next++) : undefined));
      },
    });
    // Awaited here, or the connections would be gone by then.
    return await measureInTurn({ ours: side(large, largeLoad), beside: side(small, smallLoad) }, rounds);
  }
}

type Compared = Record<'ours' | 'beside', Measured>;

async function grow(site: Site, load: LoadProcess, past: Past, pairs: number): Promise<Grown> {
  const database = await site.createDatabase();
  // Two clients alone send more a second than one may.
  const service = await database.startService({
    IMID_MAX_FRAMES_PER_SECOND: '1000000',
    IMID_MAX_FRAME_BURST: '1000000',
  });
  const app = await service.createApp(['composed']);
  await insertPast(database.pool, app.appId, past);
  const step = past.pairs / pairs;
  const open = async (names: string[]): Promise<Grown['two']> => {
    const doors = await openDoors(service, app, names);
    return { doors, fleet: await load.ask('openFleet', doors) };
  };
  const two = await open([nameOf(0), nameOf(1)]);
  const many = await open(
    Array.from({ length: 2 * pairs }, (_, i) => nameOf(2 + 2 * step * Math.floor(i / 2) + (i % 2))),
  );
  return { past, service, app, two, many, [Symbol.asyncDispose]: () => service[Symbol.asyncDispose]() };
}

/** A page of the inbox of one user after another. */
function toCatchUp(
  { past, service, ...grown }: Grown,
  { who, from }: { who: 'many' | 'two'; from: 'end' | 'anywhere' },
  n: number,
): string {
  const { doors } = grown[who];
  const { token } = doors[n % doors.length]!;
  const last = (who === 'two' ? past.longTalk : past.perPair) - CATCH_UP;
  const after = from === 'end' ? last : (Math.imul(n, SCATTER) >>> 0) % (last + 1);
  return toRequest(`${service.url}/v1/me/messages?after=${after}&limit=${CATCH_UP}`, token);
}

const SCATTER = 2_654_435_761;

function toRow(what: string, of: string, { ours, beside }: Compared): Row {
  return {
    what,
    ours: `${perSecond(ours)} ${of}`,
    theirs: perSecond(beside),
    beside: 'the same, next to empty',
    figure: beside.unitsPerSecond / ours.unitsPerSecond,
    rounds: ours.rates.map((rate, round) => beside.rates[round]! / rate),
    unit: 'times',
    target: 1.3,
    cpu: cpuRatio(beside, ours),
  };
}

function toCount(count: number): string {
  return count.toLocaleString('en-GB');
}
