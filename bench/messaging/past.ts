// Messages in any number, put into the tables without the service, as if they had been sent: of two users that share one
// very long talk, and of many pairs that each have a short one, all of them mixed in time.
// Invariant: in every inbox the seqs are 1, 2, 3 and so on, up to its user's last_seq.

import type pg from 'pg';
import { insertUsersInTurn, nameOf } from '../users.ts';

export interface Past {
  /** Messages between users 0 and 1, each of which stands in both inboxes. */
  longTalk: number;
  /** Pairs of the others: users 2 and 3, 4 and 5, and so on. */
  pairs: number;
  perPair: number;
}

/** Of an app that has no users yet. */
export async function insertPast(pool: pg.Pool, appId: string, past: Past): Promise<void> {
  const { longTalk, pairs, perPair } = past;
  const users = 2 + 2 * pairs;
  await insertUsersInTurn(pool, { appId, from: 0, to: users });
  const client = await pool.connect();
  try {
    await client.query(`set maintenance_work_mem = '512MB'`);
    const first = await findFirstId(client, appId, users);
    const { rows: indexes } = await client.query<{ name: string; indexdef: string }>(
      `select indexname as name, indexdef from pg_indexes where tablename = 'message' and indexname <> 'message_pkey'`,
    );
    for (const { name } of indexes) await client.query(`drop index ${name}`);
    // Of so many messages in a row, the first is of the long talk, and the others are of pairs in turn.
    const every = Math.max(2, Math.round((longTalk + pairs * perPair) / longTalk));
    await client.query(
      `insert into message
         (app_id, id, sender_id, sender_seq, recipient_id, recipient_seq, client_id, part, content, at)
       select ${Number(appId)}, ${MESSAGE_ID}, one + k % 2, k + 1, one + 1 - k % 2, k + 1, 'past-' || k, 0, ${CONTENT},
         now() - make_interval(secs => (${longTalk} * ${every} - n) / 1000.0)
       from (
         select k * ${every} as n, k, ${first} as one from generate_series(0::bigint, ${longTalk - 1}) as k
         union all
         select m + m / ${every - 1} + 1, m / ${pairs}, ${first} + 2 + 2 * (m % ${pairs})
         from generate_series(0::bigint, ${pairs * perPair - 1}) as m
       ) as past order by n`,
    );
    for (const { indexdef } of indexes) await client.query(indexdef);
    await client.query(
      `update identity set last_seq = case when id < ${first} + 2 then ${longTalk} else ${perPair} end
       where app_id = ${Number(appId)}`,
    );
    await client.query('vacuum (analyze) message');
    await client.query('vacuum (analyze) identity');
    await client.query('checkpoint');
  } finally {
    client.release(true);
  }
}

/** Of user 0; the others' follow without a gap. */
async function findFirstId(client: pg.PoolClient, appId: string, users: number): Promise<number> {
  const { rows } = await client.query<{ first: number; last: number; name: string }>(
    `select min(id)::float8 as first, max(id)::float8 as last, (array_agg(name order by id))[1] as name
     from identity where app_id = ${Number(appId)}`,
  );
  const [{ first, last, name }] = rows as [(typeof rows)[number]];
  if (last - first !== users - 1 || name !== nameOf(0)) throw new Error('The users are not in a row');
  return first;
}

/** A UUIDv7 a millisecond. */
const MESSAGE_ID = `(lpad(to_hex(1700000000000 + n), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid`;
/** JSON of a text of 64 bytes. */
const CONTENT = `'"' || lpad(k::text, 64, '-') || '"'`;
