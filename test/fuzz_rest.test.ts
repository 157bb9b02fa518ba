// Every operation of the OpenAPI document, with requests of all sorts: whatever comes in, what goes out is declared.
// IMID_FUZZ_SEED plays a run again.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzzRest } from './fuzz/rest.ts';
import { startService } from './harness.ts';
import { fuzzSeed } from './random.ts';

const PER_OPERATION = Number(process.env['PER'] ?? 25);

test('whatever is asked, the answer is one that the OpenAPI document declares', async (t) => {
  t.diagnostic(`IMID_FUZZ_SEED=${fuzzSeed}`);
  const outcome = await fuzzRest(await startService(), fuzzSeed, PER_OPERATION);
  t.diagnostic(`${outcome.requests} requests, ${outcome.succeeded.size} of ${outcome.operations} succeeded`);
  assert.equal(outcome.faults.length, 0, `IMID_FUZZ_SEED=${fuzzSeed}\n${outcome.faults.join('\n')}`);
  assert.ok(outcome.succeeded.size * 2 > outcome.operations, [...outcome.succeeded].join());
});
