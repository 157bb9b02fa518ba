// Postgres gone in the middle: `unavailable`, no `sent` for what isn't on disk, recovery by itself.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createDatabase, eventually, startService, type Service, type Tenant } from './harness.ts';
import { startGate, type Gate } from './gate.ts';

let gate: Gate;
let service: Service;
let app: Tenant;
before(async () => {
  const { name, connection } = await createDatabase();
  gate = await startGate(connection);
  service = await startService({ at: { name, connection: gate.connection } });
  app = await service.createApp();
});
after(() => gate.close());

const isBack = () =>
  eventually(async () => (await service.call('GET', '/readyz')).status === 200, 'the database');

test('REST answers 503 with Retry-After while the database is gone, and serves again when it is back', async () => {
  gate.shut();
  for (const [method, path, body] of [
    ['GET', '/identities', undefined],
    ['POST', '/identities', { userId: 'x' }],
    ['POST', '/messages', { from: { uid: 'a' }, to: { uid: 'b' }, content: 1 }],
  ] as const) {
    const answer = await service.call(method, app.path + path, { body });
    assert.deepEqual([answer.status, answer.body.code], [503, 'unavailable']);
    assert.match(answer.headers.get('retry-after')!, /^\d+$/);
    assert.doesNotMatch(JSON.stringify(answer.body), /ECONN|postgres|127\.0\.0\.1/i);
  }
  assert.equal((await service.call('GET', '/healthz')).status, 200);
  assert.equal((await service.call('GET', '/readyz')).status, 503);
  gate.open();
  await isBack();
  assert.equal((await app.call('POST', '/identities', { userId: 'x' })).status, 201);
});

test('a socket lives through it: an error for what is not stored, a sent for what is', async () => {
  const alice = await app.connect({ uid: 'alice' });
  const bob = await app.connect({ uid: 'bob' }, { device: 'phone' });
  assert.equal((await alice.say({ uid: 'bob' }, 'before', 'm0')).type, 'sent');
  gate.shut();
  const failed = await alice.say({ uid: 'bob' }, 'meanwhile', 'm1');
  assert.deepEqual([failed.type, failed.code], ['error', 'unavailable']);
  gate.open();
  await isBack();
  const sent = await eventually(async () => {
    const answer = await alice.say({ uid: 'bob' }, 'meanwhile', 'm1');
    return answer.type === 'sent' ? answer : undefined;
  });
  assert.equal(sent.seq, 2);
  assert.deepEqual(
    (await bob.messages(2)).map((message) => [message.seq, message.content]),
    [
      [1, 'before'],
      [2, 'meanwhile'],
    ],
  );
  assert.deepEqual([alice.closed, bob.closed], [undefined, undefined]);
});

test('cut after the commit and before its answer, the message is stored once and reaches its recipient', async () => {
  const alice = await app.connect({ uid: 'alice-2' });
  const bob = await app.connect({ uid: 'bob-2' });
  await alice.say({ uid: 'bob-2' }, 'before');
  const imId = `${app.appId}:bob-2`;
  gate.mute();
  alice.send({ type: 'send', id: 'unsure', to: { uid: 'bob-2' }, content: 'unsure' });
  const direct = await startService({ on: service });
  await eventually(
    async () => (await direct.call('GET', `${app.path}/messages?imId=${imId}`)).body.items.length === 2,
  );
  gate.shut();
  const error = await alice.wait((frame) => frame.id === 'unsure');
  assert.deepEqual([error.type, error.code], ['error', 'unavailable']);
  gate.open();
  await isBack();
  assert.equal((await bob.messages(2))[1].content, 'unsure');
  const sent = await alice.say({ uid: 'bob-2' }, 'unsure', 'unsure');
  assert.equal(sent.type, 'sent');
  assert.equal((await app.inbox(imId)).length, 2);
});

test('under load, each sent stands for exactly one message in both inboxes, in order', async () => {
  const alice = await app.connect({ uid: 'alice-3' });
  const total = 600;
  const over = new AbortController();
  const cutting = (async () => {
    while (!over.signal.aborted) {
      await eventually(() => alice.frames.length % 7 === 0 || over.signal.aborted);
      gate.shut();
      gate.open();
      await isBack();
    }
  })();
  for (let n = 0; n < total; n++)
    await eventually(
      async () => (await alice.say({ uid: 'bob-3' }, n, `n${n}`)).type === 'sent',
      `message ${n}`,
    );
  over.abort();
  await cutting;
  for (const name of ['alice-3', 'bob-3'])
    assert.deepEqual(
      (await app.inbox(`${app.appId}:${name}`)).map((message) => [message.seq, message.content]),
      Array.from({ length: total }, (_, n) => [n + 1, n]),
      name,
    );
  assert.ok(alice.frames.some((frame) => frame.code === 'unavailable'));
});
