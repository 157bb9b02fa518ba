// Three processes on one database, with either bell between them, and everything of it that can fail under load: messages
// still reach every process in order and once. IMID_SOAK_SEED plays the same acts again, IMID_SOAK_ROUNDS makes it longer.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startGate, type Gate } from '../test/gate.ts';
import { findFreePort, findNatsServer, Nats, STAND_IN } from '../test/nats.ts';
import { underLoad } from '../test/ordeal.ts';
import { createRandom, rounds, seed } from '../test/random.ts';
import { startVictims, type Victims } from '../test/victims.ts';

const SERVICES = 3;
const TIMEOUT_MS = 1_800_000;
/** How long it goes well at most between two faults. */
const CALM_MS = 500;
/** Long enough for the bell to notice that nothing answers. */
const SILENCE_MS = 3_000;
const CUT_EVERY_MS = 20;
const random = createRandom(seed);
console.log(`doorbell: seed ${seed}, ${rounds} rounds`);

/** Under one load that goes on all the time, so often; traffic must flow again each time. */
function createFaults(bell: string, victims: () => Victims) {
  return (what: string, count: number, act: () => Promise<unknown>): void =>
    void test(`${what}, ${count} times`, { timeout: TIMEOUT_MS }, async () => {
      const messages = await underLoad({ urls: () => victims().urls(), seed }, async (load) => {
        for (let round = 0; round < count; round++) {
          await sleep(random() * CALM_MS);
          await act();
          await load.flows();
        }
      });
      console.log(`doorbell: ${bell}: ${what}, ${count} times: ${messages} messages, all good`);
    });
}

describe('through Postgres', { concurrency: 1 }, () => {
  let victims: Victims;
  before(async () => void (victims = await startVictims(SERVICES)));
  after(() => victims.close());
  const faults = createFaults('Postgres', () => victims);

  faults('a process is killed', Math.ceil(rounds / 2), () =>
    victims.killService(Math.floor(random() * SERVICES)),
  );

  faults('Postgres is killed', Math.ceil(rounds / 4), () => victims.killPostgres());

  faults('no process hears the bell', Math.ceil(rounds / 5), async () => {
    const end = performance.now() + SILENCE_MS;
    let cut = 0;
    while (performance.now() < end) {
      const lines = await victims.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
          where application_name = 'imid' and (query ilike '%; listen %' or query ilike '%pg_notify%')`,
      );
      cut += lines.length;
      await sleep(CUT_EVERY_MS);
    }
    assert.ok(cut >= SERVICES, `${cut} lines`); // each, at least
  });
});

describe('through NATS', { concurrency: 1 }, () => {
  let nats: Nats;
  /** Between NATS and the first of the processes. */
  let gate: Gate;
  let victims: Victims;
  before(async () => {
    nats = new Nats(findNatsServer() ?? STAND_IN, await findFreePort());
    await nats.start();
    gate = await startGate({ host: '127.0.0.1', port: nats.port });
    victims = await startVictims(SERVICES, (place) => ({
      NATS_URL: place === 0 ? `nats://127.0.0.1:${gate.connection.port}` : nats.url,
    }));
  });
  after(async () => {
    await victims.close();
    await gate.close();
    await nats.kill();
  });
  const faults = createFaults('NATS', () => victims);

  faults('a process is killed', Math.ceil(rounds / 2), () =>
    victims.killService(Math.floor(random() * SERVICES)),
  );

  faults('NATS is killed, and back after a while', Math.ceil(rounds / 4), async () => {
    await nats.kill();
    await sleep(random() * SILENCE_MS);
    await nats.start();
  });

  faults('NATS stands still for 3 seconds', Math.ceil(rounds / 5), async () => {
    nats.freeze();
    await sleep(SILENCE_MS);
    nats.thaw();
  });

  faults('Postgres is killed', Math.ceil(rounds / 4), () => victims.killPostgres());

  faults('a process is cut off from the bell', Math.ceil(rounds / 5), async () => {
    gate.shut();
    await sleep(SILENCE_MS);
    gate.open();
  });

  faults('a process hears nothing of the bell, and isn’t told', Math.ceil(rounds / 5), async () => {
    gate.mute();
    await sleep(SILENCE_MS);
    gate.shut();
    gate.open();
  });
});
