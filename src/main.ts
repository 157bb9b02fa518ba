// The process: reads the configuration, starts the database, listens, and drains when it is told to stop.

import { join, resolve } from 'node:path';
import { createApp } from './app.ts';
import { readConfig, type Config } from './config.ts';
import { isOutage } from './errors.ts';
import { openDatabase } from './store/database.ts';
import { startCluster, type Cluster } from './store/embedded.ts';
import { keepKeyFile } from './store/key_files.ts';

const DRAIN_TIMEOUT_MS = 15_000;

async function start(config: Config): Promise<void> {
  let cluster: Cluster | undefined;
  const log = (message: string, error?: Error): void =>
    void process.stderr.write(`${message}${error ? `: ${error.message}` : ''}\n`);
  if (config.databaseUrl === undefined) cluster = await startCluster({ directory: config.directory, log });
  const close = async (parts: { close(): Promise<unknown> }[]): Promise<void> => {
    for (const part of parts) await part.close();
    await cluster?.stop();
  };
  try {
    const admin =
      config.adminKey === undefined
        ? await keepKeyFile(join(config.directory, 'admin.key'), 'ima_')
        : undefined;
    const secret = config.secret ?? (await keepKeyFile(join(config.directory, 'secret.key'), 'ims_')).key;
    const database = await openDatabase({
      connection: cluster ? { ...cluster.connection, ssl: false } : { connectionString: config.databaseUrl },
      log,
    }).catch((cause: unknown) => {
      if (cluster || !isOutage(cause)) throw cause;
      throw new Error(`the database of DATABASE_URL is out of reach: ${String(cause)}`, { cause });
    });
    const app = await createApp({
      database,
      adminKey: config.adminKey ?? admin!.key,
      secret,
      publicUrl: config.publicUrl,
      logLevel: config.logLevel,
    });
    const stop = stopOnce(() => close([app, database]));
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
    const address = await app.listen({ port: config.port, host: config.host });
    printBanner(config, address, admin);
  } catch (error) {
    await cluster?.stop();
    throw error;
  }
}

/** Drains at the first signal, gives up at the second or after a while. */
function stopOnce(close: () => Promise<void>): () => void {
  let isStopping = false;
  return () => {
    if (isStopping) process.exit(1);
    isStopping = true;
    setTimeout(() => process.exit(1), DRAIN_TIMEOUT_MS).unref();
    close().then(
      () => process.exit(0),
      (error: unknown) => {
        console.error(error);
        process.exit(1);
      },
    );
  };
}

function printBanner(
  config: Config,
  address: string,
  admin: { key: string; isNew: boolean } | undefined,
): void {
  const url = address.replace('127.0.0.1', 'localhost').replace('[::1]', 'localhost');
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
  openapi    ${url}/openapi.yaml
  database   ${where}
  admin key  ${key}
`);
}

start(readConfig()).catch((error: unknown) => {
  console.error(`imid can't start: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
});
