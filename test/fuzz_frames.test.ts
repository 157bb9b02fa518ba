// Frames of all sorts: an error or the end of their own connection, never more, and nothing undocumented comes back.
// IMID_FUZZ_SEED plays a run again.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzzFrames } from './fuzz/frames.ts';
import { startService } from './harness.ts';
import { fuzzSeed } from './random.ts';

const RUNS = 25;

test('whatever comes on a socket, each frame has its answer, and nobody else notices', async (t) => {
  t.diagnostic(`IMID_FUZZ_SEED=${fuzzSeed}`);
  const app = await (await startService()).createApp();
  const counts = await fuzzFrames(app, fuzzSeed, RUNS);
  t.diagnostic(JSON.stringify(counts));
  assert.ok(Object.values(counts).every((count) => count > 0));
});
