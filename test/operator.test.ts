// What an operator reads when something is wrong: one line that names the setting, and no secret.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import pg from 'pg';
import { createDatabase, eventually } from './harness.ts';
import { PASSWORD } from './logs.ts';
import { makeDirectory, Process } from './process.ts';

/** Starts, and gives back the one line that it ends with. */
async function failToStart(env: Record<string, string>): Promise<string> {
  const service = new Process({ IMID_DATA_DIR: await makeDirectory(), ...env });
  assert.equal(await service.ended(), 1, service.output);
  assert.match(service.output, /^imid can't start: [^\n]+\n$/);
  assert.ok(!service.output.includes(PASSWORD), service.output);
  return service.output;
}

/** A server that is no Postgres, and where it listens. */
async function startServer(t: TestContext, onConnection: (socket: Socket) => void): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    onConnection(socket);
  });
  server.listen(0, '127.0.0.1');
  await eventually(() => server.listening);
  t.after(() => void server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('a setting that is wrong is named, and nothing is started', async () => {
  const settings = [
    ['PORT', 'http'],
    ['LOG_LEVEL', 'loud'],
    ['IMID_ADMIN_KEY', 'short'],
    ['IMID_SECRET', 'short'],
    ['IMID_PUBLIC_URL', 'ftp://x'],
    ['IMID_ALLOW_UNSAFE_POSTGRES', 'yes'],
  ] as const;
  const urls = [
    'nonsense',
    `mysql://imid:${PASSWORD}@127.0.0.1/imid`,
    // A password with something in it that means something in a URL.
    `postgres://imid:12#${PASSWORD}@127.0.0.1/imid`,
    `postgres://imid:12/${PASSWORD}@127.0.0.1/imid`,
    `postgres://imid:12%${PASSWORD}@127.0.0.1/imid`,
  ];
  await Promise.all([
    ...settings.map(async ([variable, value]) =>
      assert.ok((await failToStart({ [variable]: value })).includes(variable)),
    ),
    ...urls.map(async (url) =>
      assert.match(await failToStart({ DATABASE_URL: url }), /DATABASE_URL must be postgres:.*encoded/, url),
    ),
  ]);
});

test('a database that can’t be reached says so under the name of DATABASE_URL', async (t) => {
  const mute = await startServer(t, () => {});
  const other = await startServer(t, (socket) => void socket.end('220 mail.example ESMTP\r\n'));
  const hosts = [
    ['127.0.0.1:1', /ECONNREFUSED/],
    ['localhost:1', /ECONNREFUSED/],
    [mute, /timeout/],
    [other, /terminated/],
  ] as const;
  await Promise.all(
    hosts.map(async ([host, reason]) => {
      const line = await failToStart({ DATABASE_URL: `postgres://imid:${PASSWORD}@${host}/imid` });
      assert.match(line, /DATABASE_URL/);
      assert.match(line, reason);
    }),
  );
});

test('a wrong password, a database that isn’t there and one that may not be written to are told apart', async (t) => {
  const { name, connection } = await createDatabase();
  const client = new pg.Client(connection);
  await client.connect();
  t.after(() => client.end());
  const role = `${name}_user`;
  await client.query(`create role ${role} login password 'right'`);
  // All others go on without a password.
  const file: string = (await client.query('show hba_file')).rows[0].hba_file;
  await writeFile(file, `local all ${role} scram-sha-256\n${await readFile(file, 'utf8')}`);
  await client.query('select pg_reload_conf()');
  const start = (password: string, database: string) =>
    failToStart({
      DATABASE_URL: `postgres://${role}:${password}@localhost:${connection.port}/${database}?host=${connection.host}`,
    });
  assert.match(await start(PASSWORD, name), /DATABASE_URL.*password authentication failed/);
  assert.match(await start('right', 'elsewhere'), /DATABASE_URL.*"elsewhere" does not exist/);
  assert.match(await start('right', name), /DATABASE_URL.*permission denied/);
});

test('a port that is in use is named, with the host', async (t) => {
  const [, port] = (await startServer(t, () => {})).split(':');
  const { name, connection } = await createDatabase();
  const line = await failToStart({
    PORT: port!,
    DATABASE_URL: `postgres://${connection.user}@localhost:${connection.port}/${name}?host=${connection.host}`,
  });
  assert.match(line, new RegExp(`HOST 127\\.0\\.0\\.1, PORT ${port}: .*in use`));
});

test('a data directory that can’t be made or written is named', async () => {
  const file = `${await makeDirectory()}-file`;
  await writeFile(file, '');
  const { name, connection } = await createDatabase();
  const url = `postgres://${connection.user}@localhost:${connection.port}/${name}?host=${connection.host}`;
  await Promise.all(
    ['/proc', '/proc/x', '/proc/x/y', file, join(file, 'x')].map(async (directory) => {
      assert.match(await failToStart({ IMID_DATA_DIR: directory }), /IMID_DATA_DIR/);
      // Where it holds but the keys.
      assert.match(await failToStart({ IMID_DATA_DIR: directory, DATABASE_URL: url }), /IMID_DATA_DIR/);
    }),
  );
});

for (const host of ['0.0.0.0', '::'])
  test(`listening at ${host}, it shows an address of the docs that can be opened, and leads there from /`, async (t) => {
    if (!(await isListenable(host))) return t.skip(`this machine has no ${host}`);
    const service = new Process({ IMID_DATA_DIR: await makeDirectory(), HOST: host });
    const url = await service.url();
    const { status, headers } = await fetch(url, { redirect: 'manual' });
    assert.deepEqual([status, headers.get('location')], [302, '/docs']);
    assert.equal((await fetch(`${url}/docs`)).status, 200);
    assert.equal(await service.end('SIGTERM'), 0);
  });

async function isListenable(host: string): Promise<boolean> {
  const server = createServer().listen(0, host);
  const isGood = await once(server, 'listening').then(
    () => true,
    () => false,
  );
  server.close();
  return isGood;
}
