// Who is who, held against a model of it: whatever is done, in whatever order, on two processes.

import { before, test } from 'node:test';
import fc from 'fast-check';
import { startService, type Service } from './harness.ts';
import { commands, play } from './model_commands.ts';

let processes: Service[];
before(async () => {
  const first = await startService();
  processes = [first, await startService({ on: first })];
});

test('names, imIds, tokens and inboxes are what the model says', async () => {
  await fc.assert(
    fc.asyncProperty(commands, (all) => play(processes, all)),
    { numRuns: 6 },
  );
});
