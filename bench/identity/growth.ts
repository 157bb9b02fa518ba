// What resolving and registering cost in a table of ten million rows beside one of ten thousand: two services, each on
// a database of its own, in turn.

import { openLoad, toRequest, type Load } from '../load.ts';
import { cpuRatio, measureInTurn, type Measured, type Side } from '../measure.ts';
import { perSecond, toFigure, type Row } from '../results.ts';
import type { Service, Site, Tenant } from '../service.ts';
import { insertUsers, nameOf } from '../users.ts';

const CONNECTIONS = 50;

/** A service with its table filled. */
interface Grown extends AsyncDisposable {
  rows: number;
  service: Service;
  app: Tenant;
}

export async function growth(site: Site, isQuick: boolean): Promise<Row[]> {
  const rounds = isQuick ? 3 : 15;
  const [few, many] = isQuick ? [2_000, 20_000] : [10_000, 10_000_000];
  // In the smaller table, too, every address is asked for once.
  const callsPerRound = Math.floor(few / (rounds + 1));

  await using small = await grow(site, few);
  await using large = await grow(site, many);
  // Only now, since a connection that nobody uses is soon closed.
  using smallLoad = await openLoad(small.service.url, CONNECTIONS);
  using largeLoad = await openLoad(large.service.url, CONNECTIONS);
  for (const [load, { app }] of [
    [smallLoad, small],
    [largeLoad, large],
  ] as const)
    await warmUp(load, app, isQuick ? 200 : 5_000);

  const resolving = await compare(({ rows }) => {
    // All over the table.
    const step = Math.floor(rows / few);
    return ({ app }, i) =>
      toRequest(`${app.url}/resolve`, app.apiKey, { addresses: [{ userId: nameOf(i * step) }] });
  });
  const registering = await compare(
    ({ rows }) =>
      ({ app }, i) =>
        toRequest(`${app.url}/identities`, app.apiKey, { userId: nameOf(rows + i) }),
  );
  return [
    toRow('one resolve', 'resolves', resolving),
    toRow('one registration', 'registrations', registering),
  ];

  async function compare(
    toMaker: (of: Grown) => (of: Grown, i: number) => string,
  ): Promise<Record<'ours' | 'beside', Measured>> {
    const side = (of: Grown, load: Load): Side => {
      const make = toMaker(of);
      let requests: string[] = [];
      return {
        cpuSeconds: () => of.service.cpuSeconds(),
        async prepare(turn) {
          requests = Array.from({ length: callsPerRound }, (_, i) => make(of, turn * callsPerRound + i));
        },
        run: () => load.run(() => requests.pop()),
      };
    };
    return measureInTurn({ ours: side(large, largeLoad), beside: side(small, smallLoad) }, rounds);
  }

  function toRow(what: string, of: string, { ours, beside }: Record<'ours' | 'beside', Measured>): Row {
    const cpu = cpuRatio(beside, ours);
    return {
      what: `${what} at ${toFigure(many)} rows`,
      ours: `${perSecond(ours)} ${of}`,
      theirs: perSecond(beside),
      beside: `the same at ${toFigure(few)} rows`,
      figure: beside.unitsPerSecond / ours.unitsPerSecond,
      rounds: ours.rates.map((rate, i) => beside.rates[i]! / rate),
      unit: 'times',
      target: 1.3,
      cpu,
    };
  }
}

async function grow(site: Site, rows: number): Promise<Grown> {
  const database = await site.createDatabase();
  const service = await database.startService();
  const app = await service.createApp(['registered']);
  await insertUsers(database.pool, { appId: app.appId, scheme: 'registered', from: 0, to: rows });
  return { rows, service, app, [Symbol.asyncDispose]: () => service[Symbol.asyncDispose]() };
}

/** So that neither process is measured while it is still being compiled. Asks for nobody who is asked for later. */
async function warmUp(load: Load, app: Tenant, calls: number): Promise<void> {
  for (let n = 0; n < calls; n++)
    await load.ask(toRequest(`${app.url}/resolve`, app.apiKey, { addresses: [{ userId: `nobody-${n}` }] }));
}
