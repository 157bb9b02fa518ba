// Before all tests: one Postgres for the whole run, with a migrated template database to copy, and a place for what is
// logged. After all, the run fails if there is a secret in it.

import { access, chmod, constants, mkdir, mkdtemp, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { openDatabase } from '../src/store/database.ts';
import { startCluster, type Cluster } from '../src/store/embedded.ts';
import { findLeaks, LOGS } from './logs.ts';

/** Memory as a file system, where making and syncing the files of a cluster costs next to nothing. */
const MEMORY = '/dev/shm';
const MEMORY_MIN_BYTES = 4 * 1024 ** 3;

let cluster: Cluster | undefined;
let directory: string | undefined;

export async function globalSetup(): Promise<void> {
  directory = await mkdtemp(join((await isRoomy(MEMORY)) ? MEMORY : tmpdir(), 'imid-test-'));
  await chmod(directory, 0o1777);
  process.env['TMPDIR'] = directory; // of all processes of the run, so that what they leave goes with it
  const logs = join(directory, 'logs');
  await mkdir(logs);
  process.env[LOGS] = logs;
  // A run starts hundreds of processes, which are the same code over and over.
  process.env['NODE_COMPILE_CACHE'] = join(directory, 'compiled');
  cluster = await startCluster({ directory: join(directory, 'shared'), log: () => {} });
  const admin = new pg.Client({ ...cluster.connection, database: 'postgres' });
  await admin.connect();
  await admin.query('create database imid_template');
  await admin.end();
  const database = await openDatabase({
    connection: { ...cluster.connection, database: 'imid_template' },
    log: () => {},
  });
  await database.close();
  process.env['IMID_TEST_CONNECTION'] = JSON.stringify(cluster.connection);
}

export async function globalTeardown(): Promise<void> {
  await cluster?.stop();
  const logs = process.env[LOGS];
  const leaks = logs === undefined ? [] : await findLeaks(logs);
  if (directory) await rm(directory, { recursive: true, force: true });
  if (leaks.length === 0) return;
  // Not thrown: Node would say nothing of it, and come back here without end.
  console.error(`\nIn the logs of the run there is\n${leaks.join('\n')}`);
  process.exitCode = 1;
}

/** Whether a run fits there, and its programs may be started from there; in a container often neither. */
async function isRoomy(path: string): Promise<boolean> {
  const probe = join(path, `imid-test-${process.pid}`);
  try {
    await writeFile(probe, '', { mode: 0o700 });
    await access(probe, constants.X_OK);
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize >= MEMORY_MIN_BYTES;
  } catch {
    return false;
  } finally {
    await rm(probe, { force: true });
  }
}
