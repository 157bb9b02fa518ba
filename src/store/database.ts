// Opens the database: the pool, Kysely on it, the schema at its head, and the database's clock.
// Both kinds, embedded and DATABASE_URL, are reached through the same driver and the same dialect.

import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import { startClock, type Clock } from './clock.ts';
import { migrateToHead } from './migrations.ts';
import type { Tables } from './tables.ts';

export type Executor = Kysely<Tables>;

export interface Database {
  readonly kysely: Executor;
  /** For the few statements that are prepared by name. */
  readonly pool: pg.Pool;
  readonly clock: Clock;
  close(): Promise<void>;
}

export interface DatabaseOptions {
  connection: pg.PoolConfig;
  /** Told of connections that break while nobody uses them. */
  log: (message: string, error?: Error) => void;
}

const POOL_SIZE = 10;
const CONNECT_TIMEOUT_MS = 3_000;
const STATEMENT_TIMEOUT_MS = 30_000;
const INT8 = 20;

/** Every bigint of ours stays below 2^53 (parseAppId sees to it), so that it is a number here. */
const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    oid === INT8 ? Number : pg.types.getTypeParser(oid, format as 'text')) as pg.CustomTypesConfig['getTypeParser'],
};

export async function openDatabase({ connection, log }: DatabaseOptions): Promise<Database> {
  const pool = new pg.Pool({
    max: POOL_SIZE,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    query_timeout: STATEMENT_TIMEOUT_MS + 1_000,
    application_name: 'imid',
    keepAlive: true,
    ...connection,
    types,
  });
  pool.on('error', (error) => log('an idle database connection broke', error));
  const kysely = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
  try {
    await migrateToHead(kysely);
    const clock = await startClock(pool, log);
    return {
      kysely,
      pool,
      clock,
      async close() {
        clock.stop();
        await kysely.destroy();
      },
    };
  } catch (error) {
    await kysely.destroy();
    throw error;
  }
}
