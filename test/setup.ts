// Before all tests: one Postgres for the whole run, with a migrated template database to copy.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { openDatabase } from '../src/store/database.ts';
import { startCluster, type Cluster } from '../src/store/embedded.ts';

let cluster: Cluster | undefined;
let directory: string | undefined;

export async function globalSetup(): Promise<void> {
  directory = await mkdtemp(join(tmpdir(), 'imid-test-'));
  cluster = await startCluster({ directory, log: () => {} });
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
  if (directory) await rm(directory, { recursive: true, force: true });
}
