// SECURITY.md says what is so: the tests that it quotes exist, and it leaves no point out.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

const read = (path: string): Promise<string> => readFile(new URL(`../${path}`, import.meta.url), 'utf8');

test('every test that SECURITY.md quotes exists, under the name that it quotes', async () => {
  const text = (await read('SECURITY.md')).replace(/\s+/g, ' ');
  const files = text.match(/`test\/[^`]+`/g) ?? [];
  const quotes = [...text.matchAll(/`(test\/\w+\.test\.ts)`: ("[^"]+"(?:, "[^"]+")*)/g)];
  assert.ok(quotes.length > 20);
  assert.equal(quotes.length, files.length, 'each file is quoted with the name of a test');
  for (const [, path = '', names = ''] of quotes) {
    const source = await read(path);
    for (const [, name = ''] of names.matchAll(/"([^"]+)"/g))
      assert.ok(source.includes(`'${name}'`), `${path}: ${name}`);
  }
});

test('SECURITY.md goes through RFC 8725 and the OWASP API Security Top 10 without a gap', async () => {
  const text = await read('SECURITY.md');
  const points = [...text.matchAll(/^\| (3\.\d+) /gm)].map(([, point]) => point);
  assert.deepEqual(
    points,
    Array.from({ length: 12 }, (_, i) => `3.${i + 1}`),
  );
  const risks = [...text.matchAll(/^\| (API\d+) /gm)].map(([, risk]) => risk);
  assert.deepEqual(
    risks,
    Array.from({ length: 10 }, (_, i) => `API${i + 1}`),
  );
});
