// What looks through the logs of a whole run (setup.ts) would find what it looks for.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ADMIN_KEY, findLeaks, PASSWORD, PLANTED, SECRET } from './logs.ts';

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'imid-logs-'));
});
after(() => rm(directory, { recursive: true, force: true }));

const secret = (prefix: string): string => `${prefix}${'aB3-_'.repeat(9).slice(0, 43)}`;

async function lookThrough(line: string): Promise<string[]> {
  await writeFile(join(directory, '1.log'), `{"msg":"before"}\n${line}\n{"msg":"behind"}\n`);
  return findLeaks(directory);
}

test('whatever nobody may read in a log is found, with its line', async () => {
  for (const [what, leak] of [
    ['the admin key of the tests', ADMIN_KEY],
    ['the secret of the tests', SECRET],
    ['an API key', secret('imk_0123456789abcdef_')],
    ['an admin key', secret('ima_')],
    ['a secret key', secret('ims_')],
    ['a token', `eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.${secret('')}`],
    ['a password', PASSWORD],
    ['a password in a URL', 'postgres://imid:12345@127.0.0.1/imid'],
    ['what was planted', PLANTED],
    ['what was planted', Buffer.from(PLANTED).toString('base64url')],
    ['a field that is nobody’s business', '"content":'],
    ['a field that is nobody’s business', '"authorization":'],
  ] as const) {
    const line = `{"msg":"of 1:alice: ${leak}"}`;
    assert.deepEqual(await lookThrough(line), [`${what}: ${line}`], leak);
  }
});

test('the banner of a first start may show the admin key, and nothing else may', async () => {
  const banner = (key: string) => `  admin key  ${key} (shown this once; kept in /x/admin.key)`;
  assert.deepEqual(await lookThrough(banner(secret('ima_'))), []);
  assert.equal((await lookThrough(`${banner(secret('ima_'))} ${secret('ima_')}`)).length, 1);
  assert.equal((await lookThrough(banner(secret('imk_0123456789abcdef_')))).length, 1);
  assert.deepEqual(await lookThrough('DATABASE_URL must be postgres://user:password@host:port/database'), []);
});
