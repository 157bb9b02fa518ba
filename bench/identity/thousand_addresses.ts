// 1000 addresses in one resolve beside the bare query that finds them, `= any($1)` by `pg` on as many connections:
// addresses that were never asked for before, so that both look all of them up.

import { openLoad, toRequest } from '../load.ts';
import { measureInTurn } from '../measure.ts';
import { toRatioRow, type Row } from '../results.ts';
import type { Site } from '../service.ts';
import { insertUsers, nameOf } from '../users.ts';

const ADDRESSES = 1_000;
const CONNECTIONS = 10;
const FIND = `select id, name, im_id, created_at from identity where app_id = $1 and name = any($2)`;

export async function thousandAddresses(site: Site, isQuick: boolean): Promise<Row[]> {
  const rounds = isQuick ? 2 : 11;
  const callsPerRound = isQuick ? 5 : 80;

  const database = await site.createDatabase();
  await using service = await database.startService();
  const app = await service.createApp(['registered']);
  await insertUsers(database.pool, {
    appId: app.appId,
    scheme: 'registered',
    from: 0,
    to: 2 * (rounds + 1) * callsPerRound * ADDRESSES,
  });
  using load = await openLoad(service.url, CONNECTIONS);

  let next = 0;
  const takeNames = (): string[][] =>
    Array.from({ length: callsPerRound }, () => Array.from({ length: ADDRESSES }, () => nameOf(next++)));
  let requests: string[] = [];
  let names: string[][] = [];

  const measured = await measureInTurn(
    {
      ours: {
        cpuSeconds: () => service.cpuSeconds(),
        async prepare() {
          requests = takeNames().map((few) =>
            toRequest(`${app.url}/resolve`, app.apiKey, { addresses: few.map((userId) => ({ userId })) }),
          );
        },
        run: async () => ADDRESSES * (await load.run(() => requests.pop())),
      },
      beside: {
        cpuSeconds: () => database.cpuSeconds(),
        async prepare() {
          names = takeNames();
        },
        async run() {
          let found = 0;
          const ask = async (): Promise<void> => {
            for (let few = names.pop(); few; few = names.pop()) {
              const values = [app.appId, few];
              const { rowCount } = await database.pool.query({ name: 'find', text: FIND, values });
              found += rowCount ?? 0;
            }
          };
          await Promise.all(Array.from({ length: CONNECTIONS }, ask));
          if (found !== callsPerRound * ADDRESSES) throw new Error(`Only ${found} were found`);
          return found;
        },
      },
    },
    rounds,
  );
  return [
    toRatioRow('1000 addresses in one resolve, never asked for before', 0.7, measured, {
      of: 'ids',
      beside: 'bare `= any($1)`',
    }),
  ];
}
