// The process: reads the configuration, starts the database, listens, and drains when it is told to stop.

import { once } from 'node:events';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readConfig, type Config } from './config.ts';
import { startCluster } from './store/embedded.ts';
import { keepKeyFile } from './store/key_files.ts';

/** How long each part may take to close: connections, the pool, Postgres. */
const CLOSE_TIMEOUT_MS = 10_000;
/** How many clients may wait to be accepted, where net.core.somaxconn allows it; others try again a second later. */
const BACKLOG = 8_192;

async function run(config: Config): Promise<void> {
  const stop = new AbortController();
  // Before anything is started, so that nothing is left behind; and for good, since a terminal and npm both pass one on.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => stop.abort());
  const open: (() => Promise<unknown>)[] = [];
  try {
    await start(config, open);
    if (!stop.signal.aborted) await once(stop.signal, 'abort');
  } finally {
    for (const close of open.toReversed()) await Promise.race([close(), sleep(CLOSE_TIMEOUT_MS)]);
  }
}

/** Starts everything; how to close what is open is put on `open` step by step. */
async function start(config: Config, open: (() => Promise<unknown>)[]): Promise<void> {
  const log = (message: string, error?: Error): void =>
    void process.stderr.write(`${message}${error ? `: ${error.message}` : ''}\n`);
  const cluster =
    config.databaseUrl === undefined ? await startCluster({ directory: config.directory, log }) : undefined;
  if (cluster) open.push(() => cluster.stop());
  const admin =
    config.adminKey === undefined
      ? await keepKeyFile(join(config.directory, 'admin.key'), 'ima_')
      : undefined;
  const { key: secret, former: otherSecret } =
    config.secret === undefined
      ? await keepKeyFile(join(config.directory, 'secret.key'), 'ims_')
      : { key: config.secret, former: config.otherSecret };
  // What there is most of to load comes as late as it can: a wrong setting or database is told of without it.
  const { openDatabase } = await import('./store/database.ts');
  const database = await openDatabase({
    connection: cluster ? { ...cluster.connection, ssl: false } : { connectionString: config.databaseUrl },
    allowUnsafe: config.allowUnsafePostgres,
    log,
  }).catch((cause: unknown) => {
    if (cluster) throw cause;
    throw new Error(`the database of DATABASE_URL can't be used: ${reasonOf(cause)}`, { cause });
  });
  open.push(() => database.close());
  const traces =
    config.traces && (await import('./routing/tracing_opentelemetry.ts')).startTracing(config.traces);
  if (traces) open.push(() => traces.stop());
  const { createApp } = await import('./app.ts');
  const app = await createApp({
    database,
    adminKey: config.adminKey ?? admin!.key,
    secret,
    otherSecret,
    signingAlg: config.signingAlg,
    signingKeyMaxAgeMs: config.signingKeyMaxAgeMs,
    maxBlindMs: config.maxBlindMs,
    publicUrl: config.publicUrl,
    logLevel: config.logLevel,
    traces,
    natsUrl: config.natsUrl,
    limits: config.limits,
    quotas: config.quotas,
    trustedProxies: config.trustedProxies,
    maxQueuedMessages: config.maxQueuedMessages,
    allowPrivateUrls: config.allowPrivateUrls,
    playground: config.playground,
    pingMs: config.pingMs,
    drainTimeoutMs: config.drainTimeoutMs,
    idempotencyMs: config.idempotencyMs,
    pushTiming: config.pushTiming,
  });
  open.push(() => app.close());
  const { host, port } = config;
  const address = await app.listen({ port, host, backlog: BACKLOG }).catch((cause: unknown) => {
    throw new Error(`it can't listen at HOST ${host}, PORT ${port}: ${reasonOf(cause)}`, { cause });
  });
  printBanner(config, address, admin);
}

/** What went wrong, in one line. Where several addresses of a host were tried, each has its own reason. */
function reasonOf(thrown: unknown): string {
  if (thrown instanceof AggregateError) return thrown.errors.map(reasonOf).join('; ');
  return thrown instanceof Error ? thrown.message : String(thrown);
}

function printBanner(
  config: Config,
  address: string,
  admin: { key: string; isNew: boolean } | undefined,
): void {
  // Where it listens on every address, this one can be opened from here.
  const url = address.replace(/127\.0\.0\.1|\[::1?\]/, 'localhost');
  const where =
    config.databaseUrl === undefined ? `embedded, in ${resolve(config.directory)}` : 'DATABASE_URL';
  const file = join(resolve(config.directory), 'admin.key');
  const key = !admin
    ? 'IMID_ADMIN_KEY'
    : admin.isNew
      ? `${admin.key} (shown this once; kept in ${file})`
      : `in ${file}`;
  console.log(`
  imid is listening at ${url}

  docs       ${url}/docs
${config.playground ? `  playground ${url}/playground\n` : ''}  openapi    ${url}/openapi.yaml
  database   ${where}
  admin key  ${key}
`);
}

try {
  await run(readConfig());
  process.exit(0);
} catch (error) {
  console.error(`imid can't start: ${reasonOf(error)}`);
  process.exit(1);
}
