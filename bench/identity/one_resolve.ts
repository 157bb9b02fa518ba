// One resolve over HTTP beside a bare Fastify route that answers the same bytes: of a composed address, of a registered
// one that is known from before, and of one that was never asked for, beside the same route with a prepared look-up.

import assert from 'node:assert/strict';
import { openLoad, toRequest, type Load } from '../load.ts';
import { measureInTurn, type Side } from '../measure.ts';
import { toRatioRow, type Row } from '../results.ts';
import { post, type Program, type Site, type Tenant } from '../service.ts';
import { insertUsers, nameOf } from '../users.ts';

const CONNECTIONS = 50;
/** How many addresses are asked for again and again. */
const KNOWN = 1_000;

export async function oneResolve(site: Site, isQuick: boolean): Promise<Row[]> {
  const rounds = isQuick ? 2 : 15;
  const roundMs = isQuick ? 100 : 700;
  const freshPerRound = isQuick ? 200 : 4_000;

  const database = await site.createDatabase();
  await using service = await database.startService();
  const composed = await service.createApp(['composed']);
  const registered = await service.createApp(['registered']);
  const fresh = (rounds + 1) * freshPerRound;
  await insertUsers(database.pool, {
    appId: registered.appId,
    scheme: 'registered',
    from: 0,
    to: isQuick ? 2 * fresh + KNOWN : 1_000_000,
  });
  const firstFresh = KNOWN;
  using load = await openLoad(service.url, CONNECTIONS);

  /** Of as many addresses as there are to be known, over and over. */
  async function compareKnown(what: string, app: Tenant, address: (n: number) => object): Promise<Row> {
    const answer = await post(`${app.url}/resolve`, app.apiKey, { addresses: [address(0)] });
    await using bare = await database.startBare(answer);
    using bareLoad = await openLoad(bare.url, CONNECTIONS);
    const requestsTo = (url: string): string[] =>
      Array.from({ length: KNOWN }, (_, n) => resolveRequest(url, app, address(n)));
    const side = (program: Program, on: Load): Side => {
      const requests = requestsTo(program.url);
      return {
        cpuSeconds: () => program.cpuSeconds(),
        run() {
          const end = performance.now() + roundMs;
          let n = 0;
          return on.run(() => (performance.now() < end ? requests[n++ % KNOWN] : undefined));
        },
      };
    };
    await assertSameBytes(load, bareLoad, requestsTo(service.url)[0]!, requestsTo(bare.url)[0]!);
    const measured = await measureInTurn({ ours: side(service, load), beside: side(bare, bareLoad) }, rounds);
    return toRatioRow(what, 0.75, measured, { of: 'resolves', beside: 'a bare route, same bytes' });
  }

  /** Every address is asked for once; the two sides take turns in one table. */
  async function compareFresh(): Promise<Row> {
    const first = { addresses: [{ userId: nameOf(0) }] };
    await using bare = await database.startBare(
      await post(`${registered.url}/resolve`, registered.apiKey, first),
    );
    using bareLoad = await openLoad(bare.url, CONNECTIONS);
    const side = (program: Program, on: Load, offset: number, route?: string): Side => {
      let requests: string[] = [];
      return {
        cpuSeconds: () => program.cpuSeconds(),
        async prepare(round) {
          requests = Array.from({ length: freshPerRound }, (_, i) =>
            resolveRequest(
              program.url,
              registered,
              { userId: nameOf(firstFresh + (round * freshPerRound + i) * 2 + offset) },
              route,
            ),
          );
        },
        run() {
          let n = 0;
          return on.run(() => requests[n++]);
        },
      };
    };
    const measured = await measureInTurn(
      { ours: side(service, load, 0), beside: side(bare, bareLoad, 1, 'look-up-and-resolve') },
      rounds,
    );
    return toRatioRow('one resolve, registered, never asked for before', 0.6, measured, {
      of: 'resolves',
      beside: 'a bare route with a prepared `pg` look-up',
    });
  }

  return [
    await compareKnown('one resolve, composed', composed, (n) => ({ uid: nameOf(n) })),
    await compareKnown('one resolve, registered, cached', registered, (n) => ({ userId: nameOf(n) })),
    await compareFresh(),
  ];
}

function resolveRequest(url: string, app: Tenant, address: object, route = 'resolve'): string {
  return toRequest(`${url}/v1/apps/${app.appId}/${route}`, app.apiKey, { addresses: [address] });
}

async function assertSameBytes(ours: Load, bare: Load, request: string, bareRequest: string): Promise<void> {
  const [answer, bareAnswer] = await Promise.all([ours.ask(request), bare.ask(bareRequest)]);
  assert.equal(answer.body.toString(), bareAnswer.body.toString());
}
