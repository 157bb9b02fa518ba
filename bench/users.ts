// Users in any number: what their ids look like, and putting them into the table without the service.

import type pg from 'pg';

/** The id of the n-th user: as long as customers' ids are, in no order, and no two alike up to 2^32. */
export function nameOf(n: number): string {
  return `u-${(Math.imul(n, SCATTER) >>> 0).toString(16).padStart(8, '0')}`;
}

const SCATTER = 2_654_435_761;
const NAME = `'u-' || lpad(to_hex((n * ${SCATTER}) & 4294967295), 8, '0')`;
/** A UUIDv7 a millisecond, as if they had come one after another. */
const IM_ID = `(lpad(to_hex(1700000000000 + n), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid`;

/** Puts composed users into the table with all its indexes in place, as using them does. */
export async function insertUsersInTurn(
  pool: pg.Pool,
  { appId, from, to }: { appId: string; from: number; to: number },
): Promise<void> {
  await pool.query(
    `insert into identity (app_id, name) select ${Number(appId)}, ${NAME}
     from generate_series(${from}::bigint, ${to - 1}) as n`,
  );
}

/**
 * Puts users `from` up to but not including `to` into the table, as registering or using them does, but at once: the
 * indexes that find them are built afterwards.
 */
export async function insertUsers(
  pool: pg.Pool,
  users: { appId: string; scheme: 'composed' | 'registered'; from: number; to: number },
): Promise<void> {
  const client = await pool.connect();
  try {
    // No look-up of the app for each row.
    await client.query(`set session_replication_role = replica; set maintenance_work_mem = '512MB'`);
    const { rows } = await client.query<{ name: string; indexdef: string }>(
      `select indexname as name, indexdef from pg_indexes
       where tablename = 'identity' and indexname <> 'identity_pkey'`,
    );
    for (const { name } of rows) await client.query(`drop index ${name}`);
    await client.query(
      `insert into identity (app_id, name, im_id)
       select ${Number(users.appId)}, ${NAME}, ${users.scheme === 'registered' ? IM_ID : 'null'}
       from generate_series(${users.from}::bigint, ${users.to - 1}) as n`,
    );
    for (const { indexdef } of rows) await client.query(indexdef);
    await client.query('reset session_replication_role');
    await client.query('vacuum (analyze) identity');
    await client.query('checkpoint');
  } finally {
    client.release(true);
  }
}
