// Renaming a whole user base by a list beside one bare `update ... from unnest` of a table of the same kind.

import { measureInTurn } from '../measure.ts';
import { toRatioRow, type Row } from '../results.ts';
import type { Site } from '../service.ts';
import { insertUsers, nameOf } from '../users.ts';

const UPDATE = `
update identity_updated i set name = t.new_name
from unnest($2::text[], $3::text[]) as t (name, new_name)
where i.app_id = $1 and i.name = t.name`;

export async function renameAndUpdate(site: Site, isQuick: boolean): Promise<Row[]> {
  const rounds = isQuick ? 2 : 5;
  const users = isQuick ? 1_000 : 100_000;

  const database = await site.createDatabase();
  const { pool } = database;
  await using service = await database.startService();
  const app = await service.createApp(['registered']);
  await insertUsers(pool, { appId: app.appId, scheme: 'registered', from: 0, to: users });
  await pool.query('create table identity_updated (like identity including all)');
  await pool.query('insert into identity_updated overriding system value select * from identity');

  /** What a user is called before the round; everybody gets a new name in each. */
  const nameIn = (n: number, round: number): string => (round === 0 ? nameOf(n) : `${nameOf(n)}-${round}`);
  const namesIn = (round: number): string[] => Array.from({ length: users }, (_, n) => nameIn(n, round));
  const tidy = async (): Promise<void> => {
    await pool.query('vacuum identity');
    await pool.query('vacuum identity_updated');
    await pool.query('checkpoint');
  };
  let list = '';
  let before: string[] = [];
  let after: string[] = [];

  const measured = await measureInTurn(
    {
      ours: {
        cpuSeconds: () => service.cpuSeconds(),
        async prepare(round) {
          await tidy();
          const lines = Array.from(
            { length: users },
            (_, n) => `${nameIn(n, round)},${nameIn(n, round + 1)}\n`,
          );
          list = `name,newName\n${lines.join('')}`;
        },
        run: () => renameByList(app.url, app.apiKey, list),
      },
      beside: {
        cpuSeconds: () => database.cpuSeconds(),
        async prepare(round) {
          await tidy();
          before = namesIn(round);
          after = namesIn(round + 1);
        },
        async run() {
          const { rowCount } = await pool.query(UPDATE, [app.appId, before, after]);
          return expectAll(rowCount ?? 0);
        },
      },
    },
    rounds,
  );

  async function renameByList(url: string, key: string, body: string): Promise<number> {
    const response = await fetch(`${url}/identities/rename`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'text/csv' },
      body,
    });
    const answer = (await response.json()) as { renamed?: number };
    if (!response.ok) throw new Error(`The renaming failed: ${JSON.stringify(answer)}`);
    return expectAll(answer.renamed ?? 0);
  }

  function expectAll(renamed: number): number {
    if (renamed !== users) throw new Error(`Only ${renamed} of ${users} were renamed`);
    return renamed;
  }

  return [
    toRatioRow(`renaming ${users.toLocaleString('en-GB')} users by a list`, 0.5, measured, {
      of: 'rows',
      beside: 'one bare `update ... from unnest`',
    }),
  ];
}
