// Commands about the database itself: that of DATABASE_URL, else the embedded one. Refuses to make one where there is none.

import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { readDatabaseConfig } from '../config.ts';
import { openDatabase, type Database } from '../store/database.ts';
import { startCluster } from '../store/embedded.ts';
import { Failure } from './failure.ts';
import { reasonOf } from './service.ts';

const log = (message: string): void => console.error(message);

/** Brings the schema up to date, as the service does when it starts, and acts. The embedded one must not be in use. */
export async function onDatabase(act: (database: Database) => Promise<void>): Promise<void> {
  const { databaseUrl, allowUnsafePostgres, directory } = readDatabaseConfig();
  await (databaseUrl === undefined
    ? onEmbedded(directory, act)
    : onUrl(databaseUrl, allowUnsafePostgres, act));
}

async function onUrl(
  databaseUrl: string,
  allowUnsafe: boolean,
  act: (database: Database) => Promise<void>,
): Promise<void> {
  const database = await openDatabase({
    connection: { connectionString: databaseUrl },
    allowUnsafe,
    log,
    onlyExisting: true,
  }).catch((error: unknown) => {
    throw new Failure('service', `The database of DATABASE_URL can't be used: ${reasonOf(error)}.`);
  });
  await actOn(database, act);
}

async function onEmbedded(directory: string, act: (database: Database) => Promise<void>): Promise<void> {
  if (!(await stat(join(directory, 'postgres')).catch(() => undefined)))
    throw new Failure(
      'usage',
      `There is no database in ${resolve(directory)} (IMID_DATA_DIR), and DATABASE_URL is not set.`,
    );
  const cluster = await startCluster({ directory, log }).catch((error: unknown) => {
    throw new Failure('service', `${reasonOf(error)}. Nothing was changed; stop what runs on it first.`);
  });
  try {
    const connection = { ...cluster.connection, ssl: false };
    await actOn(await openDatabase({ connection, log, onlyExisting: true }), act);
  } finally {
    await cluster.stop();
  }
}

async function actOn(database: Database, act: (database: Database) => Promise<void>): Promise<void> {
  try {
    await act(database);
  } catch (error) {
    throw error instanceof Failure ? error : new Failure('service', reasonOf(error));
  } finally {
    await database.close();
  }
}
