// What the client library costs a page: all of it in one file, minified and gzipped.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { rolldown } from 'rolldown';

const BUDGET_BYTES = 8 * 1024;

test('the client library has at most 8 KiB, and needs nothing else', async (t) => {
  const input = fileURLToPath(new URL('../src/client/index.ts', import.meta.url));
  const bundle = await rolldown({ input, platform: 'browser' });
  const { output } = await bundle.generate({ format: 'es', minify: true });
  await bundle.close();
  const [{ code, imports, dynamicImports }] = output;
  assert.deepEqual([output.length, imports, dynamicImports], [1, [], []]);
  const { length } = gzipSync(code);
  t.diagnostic(`${length} bytes`);
  assert.ok(length <= BUDGET_BYTES, `${length} bytes`);
});
