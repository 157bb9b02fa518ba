// Services that push are killed, again and again: nothing is lost, and what a killed one had taken is late by no more than
// its lease. IMID_SOAK_SEED plays the same acts again, IMID_SOAK_ROUNDS makes it longer.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { call, type Json } from '../test/harness.ts';
import { createRandom, rounds, seed } from '../test/random.ts';
import { startVictims } from '../test/victims.ts';

const USERS = 200;
const SERVICES = 2;
/** The lease of a worker that was killed, and what comes on top. */
const LATE_MAX_MS = 30_000;
const random = createRandom(seed);
const below = (count: number): number => Math.floor(random() * count);

test(`a service is killed while it pushes, ${rounds} times`, { timeout: 1_800_000 }, async () => {
  console.log(`pushing: seed ${seed}, ${rounds} rounds`);
  /** By push token: what was pushed, and when the newest was. */
  const pushed = new Map<string, { ids: string[]; atMs: number; seq: number }>();
  const sender = createServer((request, response) => {
    void text(request).then(async (body) => {
      const { data } = JSON.parse(body);
      // As long as a provider takes, so that most kills come in the middle of some.
      await sleep(20);
      const { token } = data.device;
      const { ids = [], seq = 0 } = pushed.get(token) ?? {};
      ids.push(data.notification.id);
      pushed.set(token, {
        ids,
        atMs: performance.now(),
        seq: Math.max(seq, Number(data.notification.data.seq)),
      });
      response.writeHead(204).end();
    });
  }).listen(0, '127.0.0.1');
  await once(sender, 'listening');
  after(() => sender.close().closeAllConnections());

  const victims = await startVictims(SERVICES, () => ({ IMID_ALLOW_PRIVATE_URLS: 'true' }));
  after(() => victims.close());
  const ask = async (method: string, path: string, key: string | undefined, body: unknown): Promise<Json> => {
    const answer = await call(victims.urls()[below(SERVICES)]!, method, path, { ...(key && { key }), body });
    if (answer.status >= 500) throw new Error(answer.text);
    assert.ok(answer.status < 300, answer.text);
    return answer.body;
  };
  const { appId, apiKey } = await ask('POST', '/v1/apps', undefined, { name: 'chat', schemes: ['composed'] });
  await ask('PUT', `/v1/apps/${appId}/push/webhook`, apiKey, {
    url: `http://127.0.0.1:${(sender.address() as AddressInfo).port}/`,
    secrets: [`whsec_${Buffer.alloc(32).toString('base64')}`],
  });
  for (let n = 0; n < USERS; n++) {
    const { token } = await ask('POST', `/v1/apps/${appId}/tokens`, apiKey, { uid: `user-${n}` });
    await ask('PUT', '/v1/me/devices/phone', token, {
      platform: 'android',
      provider: 'webhook',
      pushToken: `token-${n}`,
    });
  }

  /** By push token: the newest that was stored. */
  const stored = new Map<string, { seq: number; atMs: number }>();
  let messages = 0;
  const end = new AbortController();
  async function talk(): Promise<void> {
    while (!end.signal.aborted) {
      const n = below(USERS);
      const letter = { from: { uid: 'x' }, to: { uid: `user-${n}` }, content: 1, id: `m-${(messages += 1)}` };
      for (;;)
        try {
          const { seq } = await ask('POST', `/v1/apps/${appId}/messages`, apiKey, letter);
          const before = stored.get(`token-${n}`)?.seq ?? 0;
          if (seq > before) stored.set(`token-${n}`, { seq, atMs: performance.now() });
          break;
        } catch {
          await sleep(50); // it is being killed; the same id stores nothing twice
        }
    }
  }
  const talking = [talk(), talk(), talk(), talk()];
  for (let round = 0; round < rounds; round++) {
    await sleep(500 + random() * 1_000);
    await victims.killService(below(SERVICES));
  }
  end.abort();
  await Promise.all(talking);

  const deadline = performance.now() + LATE_MAX_MS;
  while ([...stored].some(([token, { seq }]) => (pushed.get(token)?.seq ?? 0) < seq)) {
    assert.ok(performance.now() < deadline, 'something was not pushed within 30 seconds');
    await sleep(200);
  }
  const all = [...pushed.values()].flatMap(({ ids }) => ids);
  const twice = all.length - new Set(all).size;
  // Only what was sent and could not be written down before the end came.
  assert.ok(twice <= all.length / 10, `${twice} of ${all.length} came twice`);
  console.log(
    `pushing: seed ${seed}, ${rounds} kills: ${messages} messages, ${all.length} pushes, ${twice} of them twice: all good`,
  );
});
