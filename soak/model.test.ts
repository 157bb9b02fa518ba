// Hundreds of runs of the model of who is who. IMID_SOAK_SEED plays a run again, IMID_SOAK_RUNS makes it longer.

import { test } from 'node:test';
import fc from 'fast-check';
import { startService } from '../test/harness.ts';
import { commands, play } from '../test/model_commands.ts';
import { seed } from '../test/random.ts';

const runs = Number(process.env['IMID_SOAK_RUNS'] ?? 300);

test('names, imIds, tokens and inboxes are what the model says', { timeout: 3_600_000 }, async () => {
  console.log(`model: seed ${seed}, ${runs} runs`);
  const first = await startService();
  const processes = [first, await startService({ on: first })];
  await fc.assert(
    fc.asyncProperty(commands, (all) => play(processes, all)),
    { numRuns: runs, seed },
  );
  console.log(`model: seed ${seed}, ${runs} runs, all good`);
});
