// A service that was gone is there again, and everybody comes back at once. `npm run soak` has more of them.

import { test } from 'node:test';
import { startStorm } from './storm.ts';

const CLIENTS = 300;

test(`${CLIENTS} clients that come back at once are all served`, { timeout: 60_000 }, async () => {
  const storm = await startStorm(CLIENTS);
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    await storm.comeBack(signal);
    await storm.tellAll();
  }
  await storm.close();
});
