// Writes openapi.yaml from the route schemas, or, with --check, fails when the committed file is not what they say.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createApp } from '../src/app.ts';
import { openDatabase } from '../src/store/database.ts';
import { startCluster } from '../src/store/embedded.ts';

const file = new URL('../openapi.yaml', import.meta.url);
const directory = await mkdtemp(join(tmpdir(), 'imid-openapi-'));
const cluster = await startCluster({ directory, log: () => {} });
try {
  const text = await describeRoutes();
  if (!process.argv.includes('--check')) {
    await writeFile(file, text);
    console.log('openapi.yaml is written');
  } else if ((await readFile(file, 'utf8').catch(() => '')) !== text) {
    console.error('openapi.yaml is not what the routes say: run `npm run openapi` and commit it');
    process.exitCode = 1;
  }
} finally {
  await cluster.stop();
  await rm(directory, { recursive: true, force: true });
}

async function describeRoutes(): Promise<string> {
  const database = await openDatabase({ connection: cluster.connection, log: console.error });
  const app = await createApp({
    database,
    adminKey: 'only-to-describe-the-routes',
    secret: 'only-to-describe-the-routes',
    publicUrl: 'http://localhost:8080',
    logLevel: 'silent',
  });
  try {
    await app.ready();
    return app.swagger({ yaml: true });
  } finally {
    await app.close();
    await database.close();
  }
}
