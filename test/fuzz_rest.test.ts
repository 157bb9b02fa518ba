// Every operation of the OpenAPI document, with requests of all sorts: whatever comes in, what goes out is declared.
// IMID_FUZZ_SEED plays a run again.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { fuzzBytes } from './fuzz/bytes.ts';
import { assertDeclared, fuzzRest } from './fuzz/rest.ts';
import { startService, type Service } from './harness.ts';
import { fuzzSeed } from './random.ts';

const PER_OPERATION = 15;
const CONNECTIONS = 100;

let service: Service;
before(async () => {
  service = await startService({ app: { allowPrivateUrls: true } });
});

test('whatever is asked, the answer is one that the OpenAPI document declares', async (t) => {
  const outcome = await fuzzRest(service, fuzzSeed, PER_OPERATION);
  t.diagnostic(`IMID_FUZZ_SEED=${fuzzSeed}: ${outcome.requests} requests`);
  assertDeclared(outcome, fuzzSeed);
});

test('bytes that are nearly HTTP get a problem document or the end of their connection', async (t) => {
  t.diagnostic(`IMID_FUZZ_SEED=${fuzzSeed}`);
  assert.ok((await fuzzBytes(service, fuzzSeed, CONNECTIONS)) > 0);
});
