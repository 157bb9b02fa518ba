// A million revoked tokens that aren't over yet: what they take of a process, and what a check among them costs.

import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import type pg from 'pg';
import { makeUuidAt, type AppId } from '../../src/ids.ts';
import { median } from '../measure.ts';
import { toFigure, type Row } from '../results.ts';
import type { Site } from '../service.ts';
import { startTasks } from '../tasks.ts';
import type { Tasks } from './follower.ts';

const FOLLOWER = fileURLToPath(new URL('follower.ts', import.meta.url));
const ASKED = 50_000;
const LOOKS = 50;

export async function revoked(site: Site, isQuick: boolean): Promise<Row[]> {
  const rounds = isQuick ? 2 : 15;
  const live = isQuick ? 20_000 : 1_000_000;
  const { pool, connection } = await site.createDatabase();
  await using follower = startTasks<Tasks>(FOLLOWER, ['--expose-gc']);
  await follower.ask('follow', { connection, secret: randomBytes(24).toString('base64url') });
  const { rows } = await pool.query<{ id: AppId }>(
    `insert into app (name, composed, registered) values ('bench', true, false) returning id::int`,
  );
  const appId = rows[0]!.id;
  const emptyMs = await follower.ask('noNews', LOOKS);
  await insertRevoked(pool, appId, live);
  const { held, rss, seconds, count } = await follower.ask('reload', undefined);
  if (count !== live) throw new Error(`${count} of ${live} are known`);
  const newsMs = await follower.ask('noNews', LOOKS);

  const jtis = await pool.query<{ jti: string }>(`select jti from revocation limit ${ASKED}`);
  const asked = {
    appId,
    jtis: jtis.rows.flatMap(({ jti }) => [jti, makeUuidAt(new Date())]),
    count: 2 * jtis.rows.length,
  };
  const among: number[] = [];
  const empty: number[] = [];
  for (let round = 0; round <= rounds; round += 1) {
    const taken = await follower.ask('check', asked);
    if (round === 0) continue;
    among.push(taken.among);
    empty.push(taken.empty);
  }

  const many = live.toLocaleString('en-GB');
  return [
    {
      what: `memory of ${many} live revocations`,
      ours: `${toFigure(held)} MiB`,
      theirs: rss === undefined ? 'not known' : `${toFigure(rss)} MiB of RSS`,
      beside: `after reading them in ${toFigure(seconds)} s`,
      figure: held,
      rounds: [],
      unit: 'MiB',
      target: 64,
      cpu: undefined,
    },
    {
      what: `a check among ${many} revocations`,
      ours: `${toFigure(median(among))} µs`,
      theirs: `${toFigure(median(empty))} µs`,
      beside: 'in an app that has none',
      figure: median(among),
      rounds: among,
      unit: 'µs',
      target: 1,
      cpu: undefined,
    },
    {
      what: `a look for news among ${many} revocations`,
      ours: `${toFigure(newsMs)} ms`,
      theirs: `${toFigure(emptyMs)} ms`,
      beside: 'where there are none',
      figure: newsMs / emptyMs,
      rounds: [],
      unit: 'times',
      target: 2,
      cpu: undefined,
    },
  ];
}

/** As if tokens of the last hour had been revoked. */
async function insertRevoked(pool: pg.Pool, appId: AppId, count: number): Promise<void> {
  const ms = `(extract(epoch from now()) * 1000)::bigint - n % 3600000`;
  await pool.query(
    `insert into revocation (app_id, jti, expires_at)
     select $1, (lpad(to_hex(${ms}), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
       now() + interval '1 day'
     from generate_series(1, ${count}) as n`,
    [appId],
  );
}
