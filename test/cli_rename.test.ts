// `imid rename`, as an operator runs it.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { aboutApp, createCommands } from './commands.ts';
import { startService, type Service, type Tenant } from './harness.ts';
import { parseLines } from './imports.ts';
import { createRenames, toCsv, type Pair } from './rename_files.ts';

let service: Service;
before(async () => {
  service = await startService();
});
const { directory, run, inDirectory } = createCommands();
const { createUsers, namesOf } = createRenames(() => service);

const rename = (app: Tenant, args: string[], stdin?: string) =>
  run(['rename', ...aboutApp(service, app), ...args], { stdin: stdin ?? '' });

test('a file is renamed, plain, gzipped or by a pipe, and can be tried before', async () => {
  const app = await createUsers(3);
  const ring = toCsv([
    ['u0', 'u1'],
    ['u1', 'u2'],
    ['u2', 'u0'],
  ]);
  const plain = await inDirectory('ring.csv', ring);
  const zipped = await inDirectory('ring.csv.gz', gzipSync(ring));
  assert.deepEqual(await rename(app, ['--dry-run', zipped]), {
    code: 0,
    stdout: 'Nothing was changed. 3 lines would come to: 3 renamed, 0 unchanged, 0 faults\n',
    stderr: '',
  });
  const done = { code: 0, stdout: '3 users renamed\n', stderr: '' };
  assert.deepEqual(await rename(app, [plain]), done);
  assert.deepEqual([...(await namesOf(app)).values()], ['u1', 'u2', 'u0']);
  assert.deepEqual(await rename(app, [zipped]), done);
  assert.deepEqual(await rename(app, ['-'], ring), done);
  assert.deepEqual([...(await namesOf(app)).values()], ['u0', 'u1', 'u2']);
});

test('faults are listed by line, all of them by a dry run, and nothing is done', async () => {
  const app = await createUsers(2);
  const pairs = Array.from({ length: 150 }, (_, i): Pair => [`nobody${i}`, `n${i}`]);
  const file = await inDirectory('faulty.csv', `${toCsv([['u0', 'u1'], ...pairs])}u1\n`);
  const tried = await rename(app, ['--dry-run', file]);
  assert.deepEqual([tried.code, tried.stderr.split('\n').length], [1, 153]);
  assert.equal(
    tried.stdout,
    'Nothing was changed. 152 lines would come to: 0 renamed, 0 unchanged, 152 faults\n',
  );
  assert.match(
    tried.stderr,
    /^line 2, "u0" to "u1": newName is taken. \(conflict\)\nline 3, "nobody0" to "n0": /,
  );
  assert.match(tried.stderr, /\nline 153: The line has 1 cells, .* \(invalid_request\)\n$/);

  const refused = await rename(app, [file]);
  assert.deepEqual([refused.code, refused.stderr.split('\n').length], [1, 101]);
  assert.match(refused.stdout, /^Nothing was changed. There are 152 faults/);
  assert.match(refused.stderr, /^line 2: newName is taken.\nline 3: name is nobody’s.\n/);

  const written = await rename(app, ['--dry-run', '--errors', 'faults.ndjson', file]);
  assert.deepEqual([written.code, written.stderr], [1, '']);
  const faults = parseLines(await readFile(join(directory, 'faults.ndjson'), 'utf8'));
  assert.equal(faults.length, 152);
  assert.deepEqual(faults[0], {
    line: 2,
    name: 'u0',
    newName: 'u1',
    error: { code: 'conflict', detail: 'newName is taken.' },
  });
  assert.deepEqual([...(await namesOf(app)).values()], ['u0', 'u1']);
});

test('another header, another format and another key are told as what they are', async () => {
  const app = await createUsers(1);
  const file = await inDirectory('header.csv', 'old,new\nu0,v0\n');
  for (const [args, code, what] of [
    [[file], 3, /refused: header must be a line that names the columns name, newName/],
    [['--dry-run', file], 3, /refused: header must be/],
    [['--format', 'ndjson', file], 2, /Renames come as CSV only/],
    [['nothing.csv'], 2, /nothing.csv can't be opened/],
    [['--key', 'imk_x', file], 3, /refused: .* \(unauthorized\)/],
  ] as const) {
    const refused = await rename(app, [...args]);
    assert.deepEqual([refused.code, refused.stdout], [code, '']);
    assert.match(refused.stderr, what);
  }
});
