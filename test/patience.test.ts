// Clients that don't read or don't answer, and more messages than can be stored: what is bounded, and what comes of it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { Client, connect, eventually, startService, type Json, type Tenant } from './harness.ts';

const MESSAGES = 1_000;
const CONTENT = 'x'.repeat(16_000);

/** Sends bob far more than a network takes that nobody reads from. */
async function flood(app: Tenant): Promise<void> {
  const sender = await app.connect({ uid: 'sender' });
  for (let n = 1; n <= MESSAGES; n++)
    sender.send({ type: 'send', id: `n${n}`, to: { uid: 'bob' }, content: CONTENT });
  await sender.wait((frame) => frame.id === `n${MESSAGES}`);
  await sender.close();
}

const seqsOf = (messages: readonly Json[]): number[] => messages.map((message) => message.seq);
const upTo = (last: number, first = 1): number[] =>
  Array.from({ length: last - first + 1 }, (_, n) => first + n);

test('who doesn’t read for a while costs no memory, and gets everything, in order, once it reads again', async () => {
  const service = await startService({ app: { drainTimeoutMs: 60_000 } });
  const app = await service.createApp();
  const bob = await app.connect({ uid: 'bob' });
  bob.socket.pause();
  await flood(app);
  assert.ok(service.buffered() < 2_000_000, `${service.buffered()} bytes wait for bob`);
  bob.socket.resume();
  assert.deepEqual(seqsOf(await bob.messages(MESSAGES)), upTo(MESSAGES));
  await service.close();
});

test('who doesn’t read for too long is closed with 4008, and loses nothing', async () => {
  const service = await startService({ app: { drainTimeoutMs: 100 } });
  const app = await service.createApp();
  const bob = await app.connect({ uid: 'bob' });
  bob.socket.pause();
  await flood(app);
  await eventually(async () => {
    const { body } = await app.call('GET', `/presence?imId=${app.appId}:bob`);
    return !body.items[0].online;
  });
  bob.socket.resume();
  assert.equal((await bob.waitClosed()).code, 4008);
  const seen = seqsOf(await bob.messages(1));
  assert.deepEqual(seen, upTo(seen.length));
  assert.ok(seen.length < MESSAGES);
  const again = await app.connect({ uid: 'bob' }, { after: seen.length });
  assert.deepEqual(seqsOf(await again.messages(MESSAGES - seen.length)), upTo(MESSAGES, seen.length + 1));
  await service.close();
});

test('who answers no ping is dropped, and who does is kept', async () => {
  const service = await startService({ app: { pingMs: 500 } });
  const app = await service.createApp();
  const token = await app.token({ uid: 'dead' });
  const socket = new WebSocket(`${service.url.replace('http', 'ws')}/v1/connect`, 'imid.v1', {
    headers: { authorization: `Bearer ${token}` },
    autoPong: false,
  });
  const dead = new Client(socket);
  const alive = await connect(service.url, await app.token({ uid: 'alive' }));
  let pings = 0;
  alive.socket.on('ping', () => (pings += 1));
  await dead.wait((frame) => frame.type === 'welcome');
  assert.equal((await dead.waitClosed()).code, 1006);
  await eventually(() => pings >= 3, 'three pings');
  assert.equal((await alive.say({ uid: 'dead' }, 'still here')).type, 'sent');
  await service.close();
});

test('who has answered while the service stood still is kept', async () => {
  const pingMs = 500;
  const service = await startService({ app: { pingMs } });
  const app = await service.createApp();
  const client = await app.connect({ uid: 'bob' });
  let pings = 0;
  client.socket.on('ping', () => {
    pings += 1;
    // The answer is on its way, and nobody here reads it.
    if (pings === 1) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2 * pingMs);
  });
  await eventually(() => pings >= 3 || client.closed, 'three pings');
  assert.equal((await client.say({ uid: 'bob' }, 'still here')).type, 'sent');
  await service.close();
});

test('more messages than may wait to be stored are unavailable, and those that wait are stored', async () => {
  const service = await startService({ app: { maxQueuedMessages: 2 } });
  const app = await service.createApp();
  const send = (content: string) =>
    app.call('POST', '/messages', { from: { uid: 'a' }, to: { uid: 'b' }, content });
  await send('known to one another');
  const lock = await service.database.pool.connect();
  await lock.query('begin');
  await lock.query('lock table identity in access exclusive mode');
  const first = send('being stored');
  await eventually(
    async () => (await lock.query('select 1 from pg_locks where not granted')).rowCount! > 0,
    'the flush to wait',
  );
  const rest = ['one', 'two', 'three'].map(send);
  const refused = await Promise.race(rest);
  assert.deepEqual([refused.status, refused.body.code], [503, 'unavailable']);
  assert.ok(Number(refused.headers.get('retry-after')) > 0);
  await lock.query('rollback');
  lock.release();
  const answers = await Promise.all([first, ...rest]);
  assert.equal(answers.filter(({ status }) => status === 201).length, 3);
  assert.deepEqual(seqsOf(await app.inbox(`${app.appId}:b`)), [1, 2, 3, 4]);
  await service.close();
});
