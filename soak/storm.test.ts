// Reconnect storms: 5,000 clients come back at once to a service that was gone, over and over, and each is served without
// an error. IMID_SOAK_ROUNDS makes it longer. Two processes with a file each for every client: `ulimit -n` must be above.

import { after, before, test } from 'node:test';
import { rounds } from '../test/random.ts';
import { startStorm, type Storm } from '../test/storm.ts';

const CLIENTS = 5_000;
const TIMEOUT_MS = 600_000;

let storm: Storm;
before(async () => void (storm = await startStorm(CLIENTS)), { timeout: TIMEOUT_MS });
after(() => storm.close());

const storms = (what: string, signal: 'SIGTERM' | 'SIGKILL', count: number): void =>
  void test(`${what}, ${count} times`, { timeout: TIMEOUT_MS }, async () => {
    const tookMs: number[] = [];
    for (let round = 0; round < count; round++) {
      const { welcomeMs } = await storm.comeBack(signal);
      tookMs.push(Math.round(welcomeMs));
      await storm.tellAll();
    }
    console.log(
      `storm: ${CLIENTS} clients back after ${what}, ${count} times, in ${tookMs.join(', ')} ms: all good`,
    );
  });

storms('the service was told to end', 'SIGTERM', Math.ceil(rounds / 3));

storms('the service was killed', 'SIGKILL', Math.ceil(rounds / 3));
