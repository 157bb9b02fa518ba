// The commands, as an operator runs them: a process of their own, against a service that listens.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { aboutApp, createCommands } from './commands.ts';
import { ADMIN_KEY, startService, type Service, type Tenant } from './harness.ts';
import { createTransfers, CSV, parseLines } from './imports.ts';

let service: Service;
before(async () => {
  service = await startService();
});
const { directory, run, inDirectory } = createCommands();
const { exportLines, exportText } = createTransfers(() => service);

const runFor = (app: Tenant, [command, ...args]: string[], options: { stdin?: string | Buffer } = {}) =>
  run([command!, ...aboutApp(service, app), ...args], options);

test('an import says what came of it, and which lines were refused', async () => {
  const app = await service.createApp();
  await app.connect({ uid: 'used' });
  const file = await inDirectory(
    'users.csv',
    'userId,adopt\nbob,\nused,\nalice,nobody\n bad,\n"x"y,\nbob,\n',
  );
  const imported = await runFor(app, ['import', file]);
  assert.equal(imported.code, 1);
  assert.match(imported.stdout, /^6 lines in .*: 1 created, 2 adopted, 1 existing, 2 refused\n$/);
  assert.deepEqual(imported.stderr.split('\n'), [
    'line 5: userId must not begin or end with white space. (invalid_request)',
    'line 6: The line has a quote out of place. (invalid_request)',
    '',
  ]);
  const again = await runFor(app, ['import', file, '--errors', 'refused.ndjson']);
  assert.equal(again.code, 1, again.stderr);
  assert.match(again.stdout, /: 0 created, 0 adopted, 4 existing, 2 refused\n$/);
  assert.equal(again.stderr, '');
  assert.deepEqual(
    parseLines(await readFile(join(directory, 'refused.ndjson'), 'utf8')).map(({ line, error }) => [
      line,
      error.code,
    ]),
    [
      [5, 'invalid_request'],
      [6, 'invalid_request'],
    ],
  );
});

test('a file may be NDJSON, gzipped, or come in by a pipe', async () => {
  const app = await service.createApp();
  const files = [
    await inDirectory('a.ndjson', '{"userId":"a"}\n'),
    await inDirectory('b.jsonl.gz', gzipSync('{"userId":"b"}\n')),
    await inDirectory('c.csv.gz', gzipSync('userId\nc\n')),
  ];
  for (const file of files) {
    const imported = await runFor(app, ['import', file]);
    assert.deepEqual([imported.code, imported.stderr], [0, '']);
  }
  assert.equal((await runFor(app, ['import', '--format', 'csv', '-'], { stdin: 'userId\nd\n' })).code, 0);
  const named = await inDirectory('e.txt', 'userId\ne\n');
  assert.equal((await runFor(app, ['import', '--format', 'csv', named])).code, 0);
  assert.deepEqual(
    (await exportLines(app)).map(({ userId }) => userId),
    ['a', 'b', 'c', 'd', 'e'],
  );
});

test('a dry run says what would come of it, and changes nothing', async () => {
  const app = await service.createApp();
  await app.connect({ uid: 'used' });
  const file = await inDirectory('dry.csv', 'userId,adopt\nbob,\nused,\nalice,g-81\n bad,\n');
  const { code, stdout, stderr } = await runFor(app, ['import', '--dry-run', file]);
  assert.equal(code, 1);
  const [sum, used, alice] = stdout.split('\n');
  assert.equal(
    sum,
    'Nothing was changed. 4 lines would come to: 1 created, 2 adopted, 0 existing, 1 refused',
  );
  assert.match(used!, /^ {2}line 3, "used", adopts the uid: 0 messages, since 20/);
  assert.equal(alice, '  line 4, "alice", adopts "g-81": 0 messages, unused');
  assert.match(stderr, /^line 5: userId must not begin or end with white space/);
  assert.equal(await exportText(app), '');
});

test('what is exported imports unchanged into another app', async () => {
  const [from, to] = [await service.createApp(), await service.createApp()];
  const names = ['bob', '=cmd', 'a,b', 'say "hi"', '漢字', '😀'];
  await inDirectory('names.ndjson', names.map((userId) => `${JSON.stringify({ userId })}\n`).join(''));
  await runFor(from, ['import', 'names.ndjson']);
  for (const file of ['out.csv', 'out.ndjson', 'out.csv.gz', 'out.ndjson.gz']) {
    const exported = await runFor(from, ['export', file]);
    assert.deepEqual([exported.code, exported.stdout], [0, '']);
    assert.match(exported.stderr, /^6 users in /);
    const imported = await runFor(to, ['import', file]);
    assert.equal(imported.code, 0, imported.stderr);
  }
  assert.equal(await exportText(to, CSV), await exportText(from, CSV));
  assert.equal(await readFile(join(directory, 'out.csv'), 'utf8'), await exportText(from, CSV));
  assert.equal(
    gunzipSync(await readFile(join(directory, 'out.ndjson.gz'))).toString(),
    await exportText(from),
  );
  assert.equal((await runFor(from, ['export'])).stdout, await exportText(from));
  assert.equal((await runFor(from, ['export', '--format', 'csv', '-'])).stdout, await exportText(from, CSV));
  assert.deepEqual(
    (await readdir(directory)).filter((name) => name.endsWith('.part')),
    [],
  );
});

test('wrong usage exits with 2 and says what is wrong', async () => {
  await inDirectory('fine.csv', 'userId\nbob\n');
  const key = ['--key', 'imk_x'];
  for (const [args, what] of [
    [[], /Usage: imid/],
    [['explode'], /unknown command 'explode'/],
    [['import'], /missing required argument 'file'|--app/],
    [['import', 'fine.csv', ...key], /required option '--app <appId>'/],
    [['import', 'fine.csv', '--app', 'one', ...key], /must be a positive integer/],
    [['import', 'fine.csv', '--app', '1', '--colour', ...key], /unknown option '--colour'/],
    [['import', 'fine.csv', '--app', '1'], /There is no key: give --key/],
    [['import', 'fine.csv', '--app', '1', '--url', 'imid', ...key], /--url must be an http or https URL/],
    [['import', 'fine.txt', '--app', '1', ...key], /fine.txt is of no known kind/],
    [['import', '-', '--app', '1', ...key], /Say with --format what comes in/],
    [['import', 'nothing.csv', '--app', '1', ...key], /nothing.csv can't be opened: ENOENT/],
    [['import', 'fine.csv', '--app', '1', '--format', 'xml', ...key], /Allowed choices are ndjson, csv/],
    [['export', 'no/where.csv', '--app', '1', ...key], /where.csv.part can't be opened: ENOENT/],
  ] as const) {
    const { code, stdout, stderr } = await run([...args]);
    assert.deepEqual([code, stdout], [2, ''], args.join(' '));
    assert.match(stderr, what);
  }
  const help = await run(['import', '--help']);
  assert.equal(help.code, 0);
  assert.match(help.stdout, /Exit codes:/);
});

test('the key comes from the environment, or from where the service keeps its own', async () => {
  const app = await service.createApp();
  const file = await inDirectory('one.csv', 'userId\none\n');
  const args = ['import', '--app', app.appId, file];
  await inDirectory('admin.key', `${ADMIN_KEY}\n`);
  for (const env of [
    { IMID_PUBLIC_URL: service.url, IMID_API_KEY: app.apiKey, IMID_ADMIN_KEY: 'wrong' },
    { IMID_PUBLIC_URL: service.url, IMID_ADMIN_KEY: ADMIN_KEY, IMID_DATA_DIR: 'nowhere' },
    { PORT: new URL(service.url).port, IMID_DATA_DIR: directory },
  ])
    assert.equal((await run(args, { env })).code, 0);
  await rm(join(directory, 'admin.key'));
});

test('a service that refuses or is not there exits with 3, and leaves no file', async () => {
  const app = await service.createApp();
  const file = await inDirectory('some.csv', 'user\nbob\n');
  const header = await runFor(app, ['import', file]);
  assert.equal(header.code, 3);
  assert.match(header.stderr, /refused: header must be a line that names the columns userId/);
  const stranger = await run(['export', '--url', service.url, '--key', 'imk_x', '--app', '1', 'some.ndjson']);
  assert.deepEqual([stranger.code, stranger.stdout], [3, '']);
  assert.match(stranger.stderr, /refused: .* \(unauthorized\)/);
  const nobody = await run(['import', '--url', 'http://127.0.0.1:1', '--key', 'x', '--app', '1', file]);
  assert.equal(nobody.code, 3);
  assert.match(nobody.stderr, /can't be reached: .*ECONNREFUSED/);
  assert.deepEqual(
    (await readdir(directory)).filter((name) => name.startsWith('some.')),
    ['some.csv'],
  );
});

test('a service that goes away in the middle exits with 3, and says what to do', async () => {
  const line = `${JSON.stringify({ line: 1, userId: 'a', imId: 'im_x', status: 'created' })}\n`;
  const leaving = createServer((request, response) => {
    if (request.url!.endsWith('/schemes')) response.end('{"registered":{"users":2}}');
    else response.write(line, () => request.socket.destroy());
  });
  leaving.listen(0, '127.0.0.1');
  await once(leaving, 'listening');
  const url = `http://127.0.0.1:${(leaving.address() as AddressInfo).port}`;
  const args = ['--url', url, '--key', 'x', '--app', '1'];
  try {
    const imported = await run(['import', '--format', 'csv', '-', ...args], { stdin: 'userId\na\nb\n' });
    assert.deepEqual([imported.code, imported.stdout], [3, '']);
    assert.match(
      imported.stderr,
      /^imid: The service went away: .*\n1 lines are done. Run it again: what is done/,
    );
    await inDirectory('kept.ndjson', 'as it was');
    const exported = await run(['export', 'kept.ndjson', ...args]);
    assert.equal(exported.code, 3);
    assert.match(exported.stderr, /^imid: The export ended early: .* Run it again\.\n$/);
    assert.equal(await readFile(join(directory, 'kept.ndjson'), 'utf8'), 'as it was');
    assert.deepEqual(
      (await readdir(directory)).filter((name) => name.startsWith('kept')),
      ['kept.ndjson'],
    );
  } finally {
    leaving.close();
  }
});
