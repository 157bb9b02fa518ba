// Faults under load, each once: what clients were told holds, and everything recovers by itself. `npm run soak` does more.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Load } from './load.ts';
import { FLOW, underLoad } from './ordeal.ts';
import { seed } from './random.ts';
import { startVictims, type Victims } from './victims.ts';

let victims: Victims;
before(async () => {
  console.log(`faults: seed ${seed}`);
  victims = await startVictims(2);
});
after(() => victims.close());

const fault = (what: string, act: (load: Load) => Promise<unknown>): void =>
  void test(what, async () => void (await underLoad({ urls: victims.urls, seed }, act)));

fault('a service is killed', () => victims.killService(0));

fault('Postgres is killed', () => victims.killPostgres());

fault('Postgres stands still, and is killed in the end', () => victims.stopPostgres(200, 'SIGKILL'));

fault('Postgres stands still for a while, and goes on', () => victims.stopPostgres(1_500, 'SIGCONT'));

fault('clients are cut off in the middle of a frame', async ({ talkers, flows }) => {
  for (const talker of talkers) assert.ok(talker.cut());
  await flows();
});

fault('nothing can be stored for a while, as on a full disk', async ({ fail, flows }) => {
  const lift = await victims.failInserts('53100');
  await fail();
  await lift();
  await flows();
});

fault('one message can’t be stored, and stops nobody but its sender', async ({ talkers, fail, flows }) => {
  const [talker, ...others] = talkers;
  const lift = await victims.failInserts('XX000', 'poison');
  const id = talker!.make({ text: 'poison' });
  await Promise.all([fail([talker!]), flows(FLOW, others)]);
  await lift();
  for (const { connections } of talkers)
    for (const frame of connections.flatMap(({ frames }) => frames))
      if ('in' in frame && frame.in.type === 'error') assert.equal(frame.in.id, id);
});
