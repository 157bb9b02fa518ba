// Opens the database: the pool, Kysely on it, the schema at its head, and the database's clock.
// Both kinds, embedded and DATABASE_URL, are reached through the same driver and the same dialect.

import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import { startClock, type Clock } from './clock.ts';
import { refuseUnsafePostgres } from './durability.ts';
import { migrateToHead } from './migrations.ts';
import { createPipeline, type Pipeline } from './pipeline.ts';
import { keepStatistics } from './statistics.ts';
import type { Tables } from './tables.ts';

export type Executor = Kysely<Tables>;
/** One connection of its own, on which temporary tables live. */
export type Connection = pg.Client;

export interface Database {
  readonly kysely: Executor;
  /** For the few statements that are prepared by name. */
  readonly pool: pg.Pool;
  /** For what many statements a second are spent on. */
  readonly pipeline: Pipeline;
  /** A connection beside the pool's, for statements that may take long; to be ended by who asked for it. */
  openLongConnection(): Promise<Connection>;
  /** Another pipeline, for what looks up many rows by their keys; to be closed by who asked for it. */
  openPipeline(): Pipeline;
  readonly clock: Clock;
  close(): Promise<void>;
}

export interface DatabaseOptions {
  connection: pg.PoolConfig;
  /** A Postgres that may lose what it has committed is warned of, instead of refused. */
  allowUnsafe?: boolean;
  /** Told of connections that break while nobody uses them, and of a Postgres that is unsafe. */
  log: (message: string, error?: Error) => void;
  /** Refuses a database in which there is no imid, rather than making one there. */
  onlyExisting?: boolean;
}

const POOL_SIZE = 10;
const CONNECT_TIMEOUT_MS = 3_000;
const STATEMENT_TIMEOUT_MS = 30_000;
/** What waits there makes everything behind it wait. */
const PIPELINE_LOCK_TIMEOUT_MS = 500;
const LONG_STATEMENT_TIMEOUT_MS = 3_600_000;
/**
 * Plans don't depend on which app is asked about: of one that has grown since the tables were analyzed Postgres takes every
 * row for the only one, and looks through all of them.
 */
const PLANS = '-c plan_cache_mode=force_generic_plan';
/** Rows are looked up by their keys, which is right for any number of them, also where a plan was made when there were few. */
const BY_KEYS = `${PLANS} -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off`;

/** Every bigint of ours stays below 2^53 (parseAppId sees to it), so that it is a number here. */
const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: Parameters<typeof pg.types.getTypeParser>[0], format?: 'text') =>
    oid === pg.types.builtins.INT8
      ? Number
      : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser,
};

export async function openDatabase({
  connection,
  allowUnsafe = false,
  log,
  onlyExisting = false,
}: DatabaseOptions): Promise<Database> {
  const config: pg.PoolConfig = {
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    ...limitStatements(STATEMENT_TIMEOUT_MS),
    application_name: 'imid',
    keepAlive: true,
    ...withSettings(connection, PLANS),
    types,
  };
  const pool = new pg.Pool({ max: POOL_SIZE, ...config });
  pool.on('error', (error) => log('an idle database connection broke', error));
  // One that breaks in use tells its user; it may break again while it is given back, and nobody listens then.
  pool.on('connect', (client) => client.on('error', () => {}));
  const openPipeline = (more: pg.ClientConfig = {}): Pipeline =>
    createPipeline({ ...config, ...withSettings(connection, BY_KEYS), ...more });
  const pipeline = openPipeline({ lock_timeout: PIPELINE_LOCK_TIMEOUT_MS });
  const kysely = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
  try {
    await refuseOldPostgres(pool);
    await refuseUnsafePostgres(pool, allowUnsafe, log);
    if (onlyExisting) await refuseEmpty(pool);
    await migrateToHead(kysely);
    const clock = await startClock(pool, log);
    const statistics = keepStatistics(pool, log);
    return {
      kysely,
      pool,
      pipeline,
      clock,
      async openLongConnection() {
        const client = new pg.Client({ ...config, ...limitStatements(LONG_STATEMENT_TIMEOUT_MS) });
        client.on('error', () => {}); // its user is told by the statement that fails
        await client.connect();
        return client;
      },
      openPipeline: () => openPipeline(),
      async close() {
        clock.stop();
        await statistics.stop();
        await pipeline.close();
        await kysely.destroy();
      },
    };
  } catch (error) {
    await kysely.destroy();
    if (!pool.ending) await pool.end(); // Kysely leaves it alone where it was never asked anything
    throw error;
  }
}

/** Whoever connects may set others, and the same ones otherwise. */
function withSettings(connection: pg.PoolConfig, settings: string): pg.PoolConfig {
  const { connectionString, options } = connection;
  if (connectionString === undefined) return { ...connection, options: `${settings} ${options ?? ''}` };
  // What a URL says of options would take the place of what is given beside it.
  const url = new URL(connectionString);
  const { searchParams } = url;
  searchParams.set('options', `${settings} ${searchParams.get('options') ?? ''}`);
  return { ...connection, connectionString: url.href };
}

function limitStatements(ms: number): pg.ClientConfig {
  return { statement_timeout: ms, query_timeout: ms + 1_000 };
}

async function refuseEmpty(pool: pg.Pool): Promise<void> {
  const { rows } = await pool.query<{ found: boolean }>("select to_regclass('service') is not null as found");
  if (!rows[0]!.found) throw new Error('there is no imid in it');
}

const OLDEST_POSTGRES = 15;

async function refuseOldPostgres(pool: pg.Pool): Promise<void> {
  const { rows } = await pool.query<{ version: string }>(
    "select current_setting('server_version_num') as version",
  );
  const major = Math.floor(Number(rows[0]?.version) / 10_000);
  if (major < OLDEST_POSTGRES)
    throw new Error(`imid needs Postgres ${OLDEST_POSTGRES} or newer; this is ${major}.`);
}
