// `imid restored`: to be run when a backup has been put back. Works on the database itself, and gives it a new epoch, so
// that nobody takes a seq of before for one of now. Refuses to make a database where there is none.

import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { readDatabaseConfig } from '../config.ts';
import { openDatabase, type DatabaseOptions } from '../store/database.ts';
import { startCluster } from '../store/embedded.ts';
import { beginEpoch } from '../store/service.ts';
import { EXIT_CODES_HELP, Failure } from './failure.ts';
import { format } from './progress.ts';
import { reasonOf } from './service.ts';

const HELP = `
A backup that is put back turns every inbox back: numbers that clients know are given to other messages. So the database
gets a new epoch. Clients that come with the old one are told to start over, and are shown their inboxes from the start;
what they hadn't been told of as sent, they send again, and it is stored.

It is the database of DATABASE_URL, else the embedded one in IMID_DATA_DIR. Stop the service before the backup is put back,
run this, and start the service again. --url and --key have no meaning here.
${EXIT_CODES_HELP}`;

export function addRestored(program: Command): void {
  program
    .command('restored')
    .summary('give the database a new epoch, once a backup was put back')
    .description('Gives the database a new epoch, once a backup was put back: clients start over.')
    .addHelpText('after', HELP)
    .action(async () => {
      const { databaseUrl, allowUnsafePostgres, directory } = readDatabaseConfig();
      await (databaseUrl === undefined
        ? renewEmbedded(directory)
        : renewAt(databaseUrl, allowUnsafePostgres));
    });
}

const log = (message: string): void => console.error(message);

async function renewAt(databaseUrl: string, allowUnsafe: boolean): Promise<void> {
  await renew({ connectionString: databaseUrl }, allowUnsafe).catch((error: unknown) => {
    throw new Failure('service', `The database of DATABASE_URL can't be used: ${reasonOf(error)}.`);
  });
}

async function renewEmbedded(directory: string): Promise<void> {
  if (!(await stat(join(directory, 'postgres')).catch(() => undefined)))
    throw new Failure(
      'usage',
      `There is no database in ${resolve(directory)} (IMID_DATA_DIR), and DATABASE_URL is not set.`,
    );
  const cluster = await startCluster({ directory, log }).catch((error: unknown) => {
    throw new Failure('service', `${reasonOf(error)}. Nothing was changed; stop what runs on it first.`);
  });
  try {
    await renew({ ...cluster.connection, ssl: false });
  } finally {
    await cluster.stop();
  }
}

async function renew(connection: DatabaseOptions['connection'], allowUnsafe = false): Promise<void> {
  const database = await openDatabase({ connection, allowUnsafe, log, onlyExisting: true });
  try {
    const { epoch, processes } = await beginEpoch(database.kysely);
    console.log(`The database has a new epoch, ${epoch}.`);
    if (processes > 0)
      console.log(
        `Processes of the service that run on it: ${format(processes)}. Within about a second they forget what they ` +
          'remember of before, and close all connections with 1001.',
      );
    console.log(
      'Clients that come with the old epoch are told "resumed": false, and are shown their inboxes from the start.',
    );
  } finally {
    await database.close();
  }
}
