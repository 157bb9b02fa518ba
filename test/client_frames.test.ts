// The client library against a service that plays a script: each frame and each close code, gaps, and refusals.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import type { ClientOptions } from '../src/client/index.ts';
import { watch, type Watched } from './clients.ts';
import { eventually } from './harness.ts';
import { startScripted, WELCOME, type Scene, type Scripted } from './scripted.ts';

let service: Scripted;
before(async () => {
  service = await startScripted();
});

const [ALICE, BOB] = [{ uid: 'alice' }, { uid: 'bob' }];
const AT = '2026-11-25T10:00:00.000Z';
const watchScripted = (options: Partial<ClientOptions> = {}): Watched =>
  watch({ url: service.url, getToken: () => Promise.resolve('token'), ...options });
const message = (seq: number, more: object = {}) => ({
  type: 'message',
  seq,
  messageId: `m-${seq}`,
  from: BOB,
  to: ALICE,
  content: seq,
  at: AT,
  ...more,
});

/** A client that is connected, with the service's side of it. */
async function meet(
  options: Partial<ClientOptions> = {},
  welcome: object = {},
): Promise<Watched & { scene: Scene }> {
  const watched = watchScripted(options);
  const place = service.scenes.length;
  const connecting = watched.client.connect();
  const scene = await service.scene(place);
  scene.welcome(welcome);
  await connecting;
  return { ...watched, scene };
}

/** The connection after those that there were, welcomed. */
async function meetAgain(place: number, welcome: object): Promise<Scene> {
  const scene = await service.scene(place);
  scene.welcome(welcome);
  return scene;
}

test('what is read, recalled, typed and who is online is handed over, in the order in which it comes', async () => {
  const { client, scene, seen } = await meet();
  const order: string[] = [];
  for (const name of ['message', 'recalled', 'read', 'typing', 'presence'] as const)
    client.on(name, () => Promise.resolve().then(() => order.push(name)));
  scene.say(message(1));
  scene.say({ type: 'typing', from: BOB });
  scene.say({ type: 'read', with: BOB, from: BOB, messageId: 'm-0', at: AT });
  scene.say({ type: 'skip', seq: 4 });
  scene.say({ type: 'of a later version', seq: 99 });
  scene.say({ type: 'recalled', seq: 5, messageId: 'm-1', from: BOB, to: ALICE, at: AT });
  scene.say({ type: 'presence', user: BOB, online: false, lastSeenAt: AT });
  scene.say(message(6));
  assert.equal((await scene.heard('ack')).seq, 6);
  assert.deepEqual(order, ['message', 'typing', 'read', 'recalled', 'presence', 'message']);
  assert.deepEqual(seen.recalled, [{ seq: 5, messageId: 'm-1', from: BOB, to: ALICE, at: AT }]);
  assert.deepEqual(seen.read, [{ with: BOB, from: BOB, messageId: 'm-0', at: AT }]);
  assert.deepEqual(
    [seen.typing, seen.presence],
    [[{ from: BOB }], [{ user: BOB, online: false, lastSeenAt: AT }]],
  );
  assert.deepEqual([client.acked, seen.error, seen.state.at(-1)!.state], [6, [], 'open']);
  assert.equal(scene.frames.filter(({ type }) => type === 'ack').length, 1);
});

test('what is said without an answer goes out when it can: reads and watches wait, typing does not', async () => {
  const watched = watchScripted();
  const { client } = watched;
  client.watch([BOB]);
  client.typing(BOB);
  client.markRead(BOB, 'm-1');
  client.markRead(BOB, 'm-2');
  client.setForeground(false);
  const place = service.scenes.length;
  void client.connect();
  const scene = await meetAgain(place, {});
  await scene.heard('watch');
  assert.equal(scene.query['state'], 'background');
  for (let n = 0; n < 3; n++) client.typing(BOB);
  client.typing(ALICE);
  client.setForeground(true);
  await scene.heard('ping'); // it may have been gone for long
  assert.deepEqual(scene.frames, [
    { type: 'read', with: BOB, messageId: 'm-2' },
    { type: 'watch', users: [BOB] },
    { type: 'typing', to: BOB },
    { type: 'typing', to: ALICE },
    { type: 'state', state: 'foreground' },
    { type: 'ping' },
  ]);
  scene.close(1001);
  assert.deepEqual((await (await meetAgain(place + 1, {})).heard('watch')).users, [BOB]);
});

test('what was read just before a connection was lost is said again, and what surely arrived isn’t', async (t) => {
  let now = performance.now();
  t.mock.method(performance, 'now', () => now);
  const place = service.scenes.length + 1;
  const { client, scene, seen } = await meet({ timeoutMs: 1_000 });
  client.watch([BOB]);
  client.markRead(BOB, 'm-1');
  now += 1_001;
  scene.say({ type: 'typing', from: BOB });
  await eventually(() => seen.typing.length === 1);
  client.markRead(ALICE, 'm-2'); // on a connection that may be gone already
  now += 60_000;
  scene.close(1001);
  const next = await meetAgain(place, { resumed: true });
  await next.heard('watch');
  assert.deepEqual(
    next.frames.filter(({ type }) => type === 'read'),
    [{ type: 'read', with: ALICE, messageId: 'm-2' }],
  );
});

test('a connection on which nothing is said is asked whether it lives, and kept while it does', async () => {
  const { scene, seen } = await meet({ silenceMs: 20, timeoutMs: 400 });
  for (let count = 1; count <= 3; count++) {
    await eventually(() => scene.frames.length === count);
    scene.say({ type: 'pong' });
  }
  await eventually(() => scene.frames.length === 4);
  assert.deepEqual(scene.frames[3], { type: 'ping' });
  assert.equal(seen.state.at(-1)!.state, 'open');
});

test('a client that is closed waits for no token', async () => {
  const asked = Promise.withResolvers<AbortSignal>();
  const { client } = watchScripted({
    getToken({ signal }) {
      asked.resolve(signal);
      return new Promise(() => {});
    },
  });
  const connecting = client.connect();
  const signal = await asked.promise;
  await client.close();
  await assert.rejects(connecting, { code: 'cancelled' });
  assert.equal(signal.aborted, true);
});

test('an app that goes to the background while it connects is in the background', async () => {
  const { client } = watchScripted();
  const place = service.scenes.length;
  void client.connect();
  const scene = await service.scene(place);
  assert.equal(scene.query['state'], 'foreground');
  client.setForeground(false);
  scene.welcome();
  assert.equal((await scene.heard('state')).state, 'background');
});

test('what comes while nobody is looking is acked once somebody is', async () => {
  const kept = new Map<string, string>();
  const { client, scene } = await meet({ store: kept });
  client.on('message', () => {});
  scene.say(message(1));
  await scene.heard('ack');
  client.setForeground(false);
  scene.say(message(2));
  // Written down along with the ack that would have been sent.
  await eventually(() => [...kept.values()].some((value) => value.includes('"seq":2')), 'the place');
  client.setForeground(true);
  await eventually(() => scene.frames.filter(({ type }) => type === 'ack').length === 2, 'the second ack');
  assert.deepEqual(
    scene.frames.filter(({ type }) => type !== 'ping').map(({ type, seq }) => [type, seq]),
    [
      ['ack', 1],
      ['state', undefined],
      ['state', undefined],
      ['ack', 2],
    ],
  );
});

test('what could not be sent is told at a logout, also to an app that is busy', async () => {
  const { client, scene, seen, wait } = await meet();
  const busy = Promise.withResolvers<void>();
  client.on('message', () => busy.promise);
  for (const seq of [1, 2]) scene.say(message(seq));
  await wait('message');
  for (const id of ['l-1', 'l-2']) client.send(BOB, 'x', { id }).catch(() => {});
  await client.logout();
  busy.resolve();
  await wait('failed', ({ outgoing }) => outgoing.id === 'l-2');
  assert.deepEqual([seen.failed.length, seen.message.length, client.acked], [2, 1, 0]);
});

test('a recall is sent until it is answered, and takes a place in the inbox', async () => {
  const place = service.scenes.length + 1;
  const { client, scene, seen } = await meet({}, { seq: 7, acked: 7 });
  const recalling = client.recall('m-5');
  const { id } = await scene.heard('recall');
  scene.close(1001);
  const next = await meetAgain(place, { seq: 8, resumed: true });
  assert.deepEqual(await next.heard('recall'), { type: 'recall', id, messageId: 'm-5' });
  next.say({ type: 'sent', id, messageId: 'm-5', seq: 8, at: AT });
  assert.deepEqual(await recalling, { id, messageId: 'm-5', seq: 8, at: AT });
  assert.deepEqual([client.acked, seen.sent.length], [8, 1]);
});

test('where a seq is missing, a client asks again behind the last that it has', async () => {
  const place = service.scenes.length + 1;
  const { scene, seen, client } = await meet({ deviceId: 'phone' }, { seq: 3, acked: 3 });
  assert.deepEqual(scene.query, { state: 'foreground', device: 'phone' });
  scene.say(message(4));
  scene.say(message(6));
  const next = await meetAgain(place, { seq: 6, resumed: true });
  assert.deepEqual(next.query, { state: 'foreground', device: 'phone', after: '4', epoch: 'e-1' });
  for (const seq of [5, 6]) next.say(message(seq));
  await eventually(() => client.acked === 6);
  assert.deepEqual([seen.message.map(({ seq }) => seq), seen.reset], [[4, 5, 6], []]);
});

test('a client whose listeners are slow takes in no more until they are done', async () => {
  const place = service.scenes.length + 1;
  const { scene, seen, client, wait } = await meet();
  const slow = Promise.withResolvers<void>();
  client.on('message', ({ seq }) => (seq === 1 ? slow.promise : undefined));
  for (let seq = 1; seq <= 5_100; seq++) scene.say(message(seq));
  const { error } = await wait('state', ({ state }) => state === 'waiting');
  assert.match(error!.message, /more comes than the app takes in/);
  await eventually(() => client.state === 'connecting');
  assert.equal(service.scenes.length, place);
  slow.resolve();
  const next = await meetAgain(place, { seq: 5_100, resumed: true });
  assert.equal(next.query['after'], '5002');
  for (let seq = 5_003; seq <= 5_100; seq++) next.say(message(seq));
  await eventually(() => client.acked === 5_100);
  assert.equal(seen.message.length, 5_100);
});

test('an inbox that isn’t the one from before is begun anew', async () => {
  const place = service.scenes.length + 1;
  const { scene, seen, client } = await meet({}, { seq: 1, acked: 0 });
  scene.say(message(1));
  await eventually(() => client.acked === 1);
  scene.close(4011);
  const next = await meetAgain(place, { epoch: 'e-2', seq: 1, acked: 1 });
  next.say(message(1, { content: 'another' }));
  await eventually(() => seen.message.length === 2);
  assert.deepEqual([seen.reset, client.acked], [[{ epoch: 'e-2', me: WELCOME.me }], 1]);
});

test('what a reset is for is done before anything is handed over, or acked, that comes behind it', async () => {
  const place = service.scenes.length + 1;
  const store = new Map<string, string>();
  const { scene, seen, client } = await meet({ store }, { seq: 5, acked: 5 });
  await eventually(() => store.get('place')?.includes('e-1'));
  const dropped = Promise.withResolvers<void>();
  client.on('reset', () => dropped.promise);
  scene.close(1001);
  const next = await meetAgain(place, { epoch: 'e-2', seq: 1 });
  next.say(message(1));
  next.say({ type: 'error', code: 'unavailable', detail: 'waits for nobody' });
  await eventually(() => seen.error.length === 1);
  client.setForeground(false); // would ack what is handled
  await next.heard('state');
  assert.deepEqual([seen.message, seen.reset.length, client.acked], [[], 1, 5]);
  assert.deepEqual([next.frames.length, JSON.parse(store.get('place')!).epoch], [1, 'e-1']);
  client.setForeground(true);
  dropped.resolve();
  assert.equal((await next.heard('ack')).seq, 1);
  await eventually(() => store.get('place')!.includes('"seq":1,"epoch":"e-2"'));
});

test('an own message that is shown again by the next connection was answered already, and isn’t handed over', async () => {
  const place = service.scenes.length + 1;
  const { scene, seen, client } = await meet();
  const gate = Promise.withResolvers<void>();
  client.on('message', () => gate.promise);
  scene.say(message(1));
  const sending = client.send(BOB, 'mine', { id: 'own' });
  await scene.heard('send');
  scene.say({ type: 'sent', id: 'own', messageId: 'm-2', seq: 2, at: AT });
  await sending;
  scene.close(1001);
  const next = await meetAgain(place, { seq: 3, resumed: true });
  assert.equal(next.query['after'], '0');
  for (const seq of [1, 2, 3]) next.say(message(seq));
  gate.resolve();
  await eventually(() => client.acked === 3);
  assert.deepEqual(
    seen.message.map(({ seq }) => seq),
    [1, 3],
  );
  assert.deepEqual(
    seen.sent.map(({ id }) => id),
    ['own'],
  );
});

test('a send that can’t be stored right now is sent again, and what came behind it stays behind', async () => {
  const { scene, client } = await meet();
  const sending = [1, 2].map((n) => client.send(BOB, n, { id: `s-${n}` }));
  await eventually(() => scene.frames.length === 2);
  for (const id of ['s-1', 's-2']) scene.say({ type: 'error', id, code: 'unavailable', detail: 'no' });
  await eventually(() => scene.frames.length === 4);
  assert.deepEqual(
    scene.frames.map(({ id }) => id),
    ['s-1', 's-2', 's-1', 's-2'],
  );
  for (const seq of [1, 2]) scene.say({ type: 'sent', id: `s-${seq}`, messageId: `m-${seq}`, seq, at: AT });
  assert.deepEqual(
    (await Promise.all(sending)).map(({ seq }) => seq),
    [1, 2],
  );
});

test('an outbox says no more in a second than it may, or the service would end the connection', async (t) => {
  let now = Math.ceil(performance.now());
  t.mock.method(performance, 'now', () => now);
  const { scene, client } = await meet({ sendsPerSecond: 10 });
  for (let n = 0; n < 12; n++) void client.send(BOB, n);
  client.typing(BOB);
  await scene.heard('typing');
  assert.equal(scene.frames.length, 11);
  now += 250; // of which 200 make two
  await eventually(() => scene.frames.length === 13);
});

test('no more than 64 sends wait for an answer; the rest waits here, and can be taken back', async () => {
  const { scene, client } = await meet();
  const sending = Array.from({ length: 70 }, (_, n) => client.send(BOB, n, { id: `w-${n}` }));
  await eventually(() => scene.frames.length === 64);
  assert.equal(await client.cancel('w-68'), true);
  await assert.rejects(sending[68]!, { code: 'cancelled' });
  assert.equal(await client.cancel('w-68'), false);
  for (let seq = 1; seq <= 64; seq++)
    scene.say({ type: 'sent', id: `w-${seq - 1}`, messageId: `m-${seq}`, seq, at: AT });
  await eventually(() => scene.frames.filter(({ type }) => type === 'send').length === 69);
  assert.deepEqual(
    client.outbox.map(({ id }) => id),
    ['w-64', 'w-65', 'w-66', 'w-67', 'w-69'],
  );
});

for (const [code, comesBack] of [
  [1000, true],
  [1001, true],
  [1011, true],
  [4001, true],
  [4008, true],
  [4010, true],
  [4011, true],
  [4499, true],
  [1002, false],
  [1009, false],
  [4500, false],
  [4502, false],
  [4503, false],
  [4509, false],
  [4999, false],
] as const)
  test(`closed with ${code}, a client ${comesBack ? 'comes back' : 'stays away until the app says so'}`, async () => {
    const place = service.scenes.length + 1;
    const { scene, client, wait, seen, reasons } = await meet();
    scene.close(code, 'a reason');
    const { state, error } = await wait('state', (each) => each.error !== undefined);
    assert.deepEqual(
      [state, error!.closeCode, error!.message],
      [comesBack ? 'waiting' : 'closed', code, 'a reason'],
    );
    if (!comesBack) void client.connect();
    await meetAgain(place, { resumed: true });
    await wait('state', (each) => each.state === 'open', seen.state.indexOf(seen.state.at(-1)!));
    const refusals: Record<number, string[]> = { 4001: ['expired'], 4502: ['refused'] };
    assert.deepEqual(reasons, ['first', ...(refusals[code] ?? [])]);
  });

for (const [status, code, isFinal] of [
  [401, 'token_expired', false],
  [403, 'forbidden', true],
  [409, 'scheme_disabled', true],
  [429, 'rate_limited', false],
  [503, 'unavailable', false],
] as const)
  test(`refused with ${status} ${code}, a client ${isFinal ? 'gives up' : 'tries again later'}`, async () => {
    service.isOpen = false;
    service.answer = (_request, response) =>
      response.writeHead(status, { 'retry-after': '1' }).end(JSON.stringify({ code, detail: 'a detail' }));
    const { client, wait, seen } = watchScripted();
    const connecting = client.connect();
    const { state, error, retryInMs } = await wait('state', (each) => each.error !== undefined);
    assert.deepEqual(
      [state, error!.code, error!.message],
      [isFinal ? 'closed' : 'waiting', code, 'a detail'],
    );
    if (isFinal) await assert.rejects(connecting, { code });
    else {
      assert.ok(retryInMs! > 1_000, 'all of those who are told to wait would come back at once');
      const place = service.scenes.length;
      service.isOpen = true;
      void client.connect();
      await meetAgain(place, {});
      await wait('state', (each) => each.state === 'open');
    }
    assert.equal(seen.error.length, 0);
    service.isOpen = true;
    service.answer = (_request, response) => response.end('{}');
  });

test('the waits between tries double up to the longest, each a random share of that', async (t) => {
  t.mock.method(Math, 'random', () => 0.5);
  service.isOpen = false;
  const { client, seen } = watchScripted({ backoff: { baseMs: 8, maxMs: 50 } });
  void client.connect();
  const waits = await eventually(() => {
    const all = seen.state.filter(({ state }) => state === 'waiting').map(({ retryInMs }) => retryInMs);
    return all.length >= 5 && all.slice(0, 5);
  });
  service.isOpen = true;
  await client.close();
  assert.deepEqual(waits, [4, 8, 16, 25, 25]);
});

test('what is asked by HTTP has its path, and an error its code', async () => {
  const { client } = watchScripted();
  const from = service.requests.length;
  await client.conversations({ limit: 5, cursor: 'c 1' });
  await client.contacts();
  await client.history({ after: 7 });
  await client.blocked();
  await client.block([BOB]);
  await client.profile();
  await client.sharePresence(false);
  assert.deepEqual(
    service.requests.slice(from).map(({ method, url, body }) => [method, url, body]),
    [
      ['GET', '/v1/me/conversations?limit=5&cursor=c+1', undefined],
      ['GET', '/v1/me/contacts', undefined],
      ['GET', '/v1/me/messages?after=7', undefined],
      ['GET', '/v1/me/blocked', undefined],
      ['PUT', '/v1/me/blocked', { items: [BOB] }],
      ['GET', '/v1/me', undefined],
      ['PATCH', '/v1/me', { presence: false }],
    ],
  );
  service.answer = (_request, response) => response.writeHead(502).end('<html>');
  await assert.rejects(client.profile(), { name: 'ImidError', code: 'unavailable' });
  service.answer = (_request, response) => response.end('<html>of a hotel');
  await assert.rejects(client.contacts(), { code: 'unavailable' });
  service.answer = (_request, response) => {
    response.writeHead(200, { 'content-length': 100 }).write('{"items":[', () => response.destroy());
  };
  await assert.rejects(client.contacts(), { code: 'no_network' });
  service.answer = (_request, response) => response.end('{}');
});
