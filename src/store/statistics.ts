// Has Postgres learn of tables that have grown. By itself it looks once a minute, and plans until then as for the few rows that
// there were, as in the first minute of a load, or of an import.

import pg from 'pg';

const EVERY_MS = 10_000;
/** Of fewer rows no plan goes wrong by much. */
const FEW_ROWS = 300;
/** So many times as many as there were. */
const GROWN = 4;

export function keepStatistics(pool: pg.Pool, log: (message: string, error: Error) => void) {
  /** How many times in a row each table was found. */
  let found = new Map<string, number>();
  let looking: Promise<void> | undefined;

  async function look(): Promise<void> {
    const names = await findGrown(pool);
    found = new Map(names.map((name) => [name, (found.get(name) ?? 0) + 1]));
    // One that can't be analyzed, as in time, or by this user, is tried ever more rarely: at the first time, the second, the fourth.
    for (const [name, times] of found) if (Number.isInteger(Math.log2(times))) await analyze(pool, name);
  }

  const timer = setInterval(() => {
    looking ??= look()
      .catch((error: Error) => log('tables that have grown could not be analyzed', error))
      .finally(() => (looking = undefined));
  }, EVERY_MS).unref();
  return {
    async stop(): Promise<void> {
      clearInterval(timer);
      await looking;
    },
  };
}

/** Tables with many more rows than Postgres plans for. */
export async function findGrown(pool: pg.Pool): Promise<string[]> {
  const { rows } = await pool.query<{ name: string }>(
    `select c.relname as name from pg_class c join pg_stat_user_tables s on s.relid = c.oid
     where s.schemaname = current_schema() and s.n_live_tup > $1 and s.n_live_tup > $2 * greatest(c.reltuples, 0)`,
    [FEW_ROWS, GROWN],
  );
  return rows.map(({ name }) => name);
}

/** Plans that were made before are made anew, on every connection. */
export async function analyze(pool: pg.Pool, table: string): Promise<void> {
  await pool.query(`analyze (skip_locked) ${pg.escapeIdentifier(table)}`);
}
