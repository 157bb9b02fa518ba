// Whether the Postgres keeps what it has committed. Only looks, at the start: who turns it off later isn't noticed.

import type pg from 'pg';

/** What must not be off, and what is lost when it is. */
const NEEDED = {
  fsync:
    'a power loss, or a crash of the system, can lose messages that were acknowledged, and the whole database',
  full_page_writes:
    'a power loss, or a crash of the system, can leave pages half written, and the database broken',
  synchronous_commit: 'a crash of Postgres alone loses the messages that were acknowledged just before',
};

/** Of a session as the service has it: a role, a database or the URL may set another value than the server's. */
const LOOK = `select name, current_setting(name) as value from unnest($1::text[]) with ordinality as t (name, place)
  order by place`;

/** Throws, naming each setting, unless `isAllowed`: then it is logged. */
export async function refuseUnsafePostgres(
  pool: pg.Pool,
  isAllowed: boolean,
  log: (message: string) => void,
): Promise<void> {
  const { rows } = await pool.query<{ name: keyof typeof NEEDED; value: string }>(LOOK, [
    Object.keys(NEEDED),
  ]);
  const losses = rows
    .filter(({ value }) => value === 'off')
    .map(({ name }) => `${name} is off, so that ${NEEDED[name]}`);
  if (losses.length === 0) return;
  const what = `this Postgres is not safe: ${losses.join('; ')}.`;
  if (!isAllowed)
    throw new Error(`${what} Turn it on, or set IMID_ALLOW_UNSAFE_POSTGRES=true where that may be lost`);
  log(`warning: ${what} IMID_ALLOW_UNSAFE_POSTGRES allows it`);
}
