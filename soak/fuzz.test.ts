// The fuzz tests for longer. IMID_FUZZ_SEED plays a run again, IMID_SOAK_ROUNDS makes it longer.

import { test } from 'node:test';
import { fuzzBytes } from '../test/fuzz/bytes.ts';
import { fuzzFrames } from '../test/fuzz/frames.ts';
import { assertDeclared, fuzzRest } from '../test/fuzz/rest.ts';
import { startService } from '../test/harness.ts';
import { fuzzSeed, rounds } from '../test/random.ts';

const timeout = 3_600_000;

test('whatever is asked, the answer is one that the OpenAPI document declares', { timeout }, async () => {
  for (let round = 0; round < rounds; round += 1) {
    const seed = fuzzSeed + round;
    console.log(`fuzz: seed ${seed}, round ${round + 1} of ${rounds}`);
    // A fresh one, whose signing keys can be rotated.
    const service = await startService({ app: { allowPrivateUrls: true } });
    assertDeclared(await fuzzRest(service, seed, 25), seed);
    await service.close();
  }
});

test(
  'bytes that are nearly HTTP get a problem document or the end of their connection',
  { timeout },
  async () => {
    console.log(`fuzz: seed ${fuzzSeed}`);
    await fuzzBytes(await startService(), fuzzSeed, 100 * rounds);
  },
);

test(
  'whatever comes on a socket, each frame has its answer, and nobody else notices',
  { timeout },
  async () => {
    console.log(`fuzz: seed ${fuzzSeed}`);
    // On a quick machine it connects more often than a user may.
    const app = await (await startService({ app: { quotas: { user: 'off' } } })).createApp();
    await fuzzFrames(app, fuzzSeed, 25 * rounds);
  },
);
