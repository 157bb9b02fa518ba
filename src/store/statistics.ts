// Has Postgres learn of tables that have grown. By itself it looks once a minute, and plans until then as for the few rows that
// there were, as in the first minute of a load, or of an import.

import pg from 'pg';

const EVERY_MS = 10_000;
/** Of fewer rows no plan goes wrong by much. */
const FEW_ROWS = 300;
/** So many times as many as there were. */
const GROWN = 4;

export function keepStatistics(pool: pg.Pool, log: (message: string, error: Error) => void) {
  let looking: Promise<unknown> | undefined;
  const timer = setInterval(() => {
    looking ??= analyzeGrown(pool)
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

/** Plans that were made before are made anew, on every connection. */
export async function analyzeGrown(pool: pg.Pool): Promise<void> {
  const { rows } = await pool.query<{ name: string }>({
    text: `select c.relname as name from pg_class c join pg_stat_user_tables s on s.relid = c.oid
      where s.schemaname = current_schema() and s.n_live_tup > $1 and s.n_live_tup > $2 * greatest(c.reltuples, 0)`,
    values: [FEW_ROWS, GROWN],
  });
  for (const { name } of rows) await pool.query(`analyze (skip_locked) ${pg.escapeIdentifier(name)}`);
}
