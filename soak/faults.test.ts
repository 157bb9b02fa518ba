// Everything that can fail under load, again and again: what clients were told holds, and everything recovers by itself.
// IMID_SOAK_SEED plays the same acts again, IMID_SOAK_ROUNDS makes it longer. kill -9 says nothing about a power loss: what
// a process had handed to the system is still written.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ADMIN_KEY } from '../test/harness.ts';
import type { Load } from '../test/load.ts';
import { FLOW, underLoad } from '../test/ordeal.ts';
import { makeDirectory, Process } from '../test/process.ts';
import { createRandom, rounds, seed } from '../test/random.ts';
import { killPostmaster, startVictims, type Victims } from '../test/victims.ts';

const SERVICES = 2;
const TIMEOUT_MS = 1_800_000;
/** How long it goes well at most between two faults. */
const CALM_MS = 500;
/** A service that is told to end under load doesn't wait for who goes on sending, until its patience of 10 seconds is over. */
const END_MAX_MS = 8_000;
const random = createRandom(seed);
const below = (count: number): number => Math.floor(random() * count);

let victims: Victims;
before(async () => {
  console.log(`faults: seed ${seed}, ${rounds} rounds`);
  victims = await startVictims(SERVICES);
});
after(() => victims.close());

/** Under one load that goes on all the time, so often; traffic must flow again each time. */
const faults = (what: string, count: number, act: (load: Load, round: number) => Promise<unknown>): void =>
  void test(`${what}, ${count} times`, { timeout: TIMEOUT_MS }, async () => {
    const messages = await underLoad({ urls: victims.urls, seed }, async (load) => {
      for (let round = 0; round < count; round++) {
        await sleep(random() * CALM_MS);
        await act(load, round);
        await load.flows();
      }
    });
    console.log(`faults: ${what}, ${count} times: ${messages} messages, all good`);
  });

faults('a service is killed', 2 * rounds, () => victims.killService(below(SERVICES)));

faults('both services are killed', Math.ceil(rounds / 4), () =>
  Promise.all([victims.killService(0), victims.killService(1)]),
);

// By turns, since everybody is on the other one then.
faults('a service is told to end', Math.ceil(rounds / 2), async ({ talkers }, round) => {
  const open = talkers
    .map(({ connections }) => connections.at(-1)!)
    .filter(({ frames, closed }) => frames.length > 0 && closed === undefined);
  const tookMs = await victims.restartService(round % SERVICES);
  assert.ok(tookMs < END_MAX_MS, `it took ${tookMs} ms to end`);
  const codes = open.map(({ closed }) => closed).filter((code) => code !== undefined);
  if (round > 0) assert.ok(codes.length > 0);
  assert.ok(
    codes.every((code) => code === 1001),
    codes.join(),
  );
});

faults('Postgres is killed', Math.ceil(rounds / 2), () => victims.killPostgres());

faults('Postgres stands still, and is killed in the end', Math.ceil(rounds / 2), () =>
  victims.stopPostgres(random() * 1_000, 'SIGKILL'),
);

faults('Postgres stands still for 5 seconds, and goes on', 2, () => victims.stopPostgres(5_000, 'SIGCONT'));

faults('one process of Postgres is killed', Math.ceil(rounds / 2), () => victims.crashBackend());

faults('a connection to Postgres is ended', 3 * rounds, () => victims.endBackend());

faults('a client is cut off in the middle of a frame', 5 * rounds, async ({ talkers }) => {
  talkers[below(talkers.length)]!.cut();
});

faults('nothing can be stored for seconds, as on a full disk', 2, async ({ fail }) => {
  const lift = await victims.failInserts('53100');
  await fail();
  await sleep(3_000);
  await lift();
});

faults(
  'one message can’t be stored, and stops nobody but its sender',
  3,
  async ({ talkers, fail, flows }) => {
    const talker = talkers[below(talkers.length)]!;
    const lift = await victims.failInserts('XX000', 'poison');
    talker.make({ text: 'poison' });
    await Promise.all([
      fail([talker]),
      flows(
        5 * FLOW,
        talkers.filter((each) => each !== talker),
      ),
    ]);
    await lift();
  },
);

faults('a service and Postgres are killed at once', Math.ceil(rounds / 4), () =>
  Promise.all([victims.killService(below(SERVICES)), victims.killPostgres()]),
);

test('a service with a Postgres of its own', { timeout: TIMEOUT_MS }, async () => {
  const directory = await makeDirectory();
  const env = { IMID_DATA_DIR: directory, IMID_ADMIN_KEY: ADMIN_KEY, LOG_LEVEL: 'silent' };
  let service = new Process(env);
  let url = await service.url();
  const messages = await underLoad({ urls: () => [url], seed }, async (load) => {
    for (let round = 0; round < rounds; round++) {
      await sleep(random() * CALM_MS);
      if (round % 2 === 0) await killPostmaster(directory);
      else {
        await service.end('SIGKILL');
        service = new Process(env);
        url = await service.url();
      }
      await load.flows();
    }
  });
  assert.equal(await service.end('SIGTERM'), 0);
  console.log(`faults: either of them killed, ${rounds} times: ${messages} messages, all good`);
});
