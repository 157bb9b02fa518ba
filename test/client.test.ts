// The client library against a real service, through a gate that can be shut: what it promises of sending, receiving and
// coming back.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { ClientOptions } from '../src/client/index.ts';
import { watch, watchUser, type Watched } from './clients.ts';
import { startGate, type Gate } from './gate.ts';
import { eventually, startService, type Service, type Tenant } from './harness.ts';

let service: Service;
let app: Tenant;
let gate: Gate;
before(async () => {
  service = await startService();
  app = await service.createApp();
  const { hostname: host, port } = new URL(service.url);
  gate = await startGate({ host, port: Number(port) });
});
after(() => gate.close());

/** Behind the gate. */
const watchBehind = (address: object, options: Partial<ClientOptions> = {}): Watched =>
  watchUser(service, app, address, { url: `http://127.0.0.1:${gate.connection.port}`, ...options });

const contents = ({ seen }: Watched): unknown[] => seen.message.map(({ content }) => content);
const inboxOf = async (uid: string): Promise<unknown[]> =>
  (await app.inbox(`${app.appId}:${uid}`)).map(({ content }) => content as unknown);

test('a client connects, sends, and hands over what comes, in either scheme', async () => {
  const imId = await app.register('rita');
  const alice = watchUser(service, app, { uid: 'alice' });
  const rita = watchUser(service, app, { imId });
  const welcome = await alice.client.connect();
  assert.deepEqual(welcome.me, { scheme: 'composed', uid: 'alice' });
  await rita.client.connect();
  assert.deepEqual([alice.client.state, rita.client.me], ['open', { scheme: 'registered', imId }]);
  const sent = await alice.client.send({ uid: 'rita' }, { text: 'hello' });
  assert.equal(sent.seq, 1);
  const { from, ...message } = await rita.wait('message');
  assert.deepEqual(message.content, { text: 'hello' });
  assert.equal(message.messageId, sent.messageId);
  assert.equal((await rita.client.send(from, 'and back')).seq, 2);
  assert.equal((await alice.wait('message')).content, 'and back');
  assert.equal(alice.client.acked, 2);
  assert.deepEqual(alice.seen.sent, [sent]);
});

test('what is refused is rejected with the code of the service, and waits in no outbox', async () => {
  const { client, seen, wait } = watchUser(service, app, { uid: 'refused' });
  await client.connect();
  const nobody = { userId: 'nobody' };
  await assert.rejects(client.send(nobody, 'x', { id: 'r-1' }), {
    name: 'ImidError',
    code: 'unknown_recipient',
  });
  await assert.rejects(client.send({ uid: 'bob' }, 'x'.repeat(20_000)), { code: 'payload_too_large' });
  await assert.rejects(client.send({ uid: 'bob' }, 'x'.repeat(200_000)), { code: 'payload_too_large' });
  const { outgoing, error } = await wait('failed');
  assert.deepEqual(outgoing, { type: 'send', id: 'r-1', to: nobody, content: 'x' });
  assert.equal(error.code, 'unknown_recipient');
  assert.deepEqual([client.outbox, client.state, seen.error], [[], 'open', []]);
  assert.equal((await client.send({ uid: 'bob' }, 'it goes on')).seq, 1);
});

test('a message sent while there is no connection is on its way at the next one, once, whoever sends it again', async () => {
  const { client } = watchUser(service, app, { uid: 'early' });
  const sending = [
    client.send({ uid: 'late' }, 1, { id: 'e-1' }),
    client.send({ uid: 'late' }, 1, { id: 'e-1' }),
    client.send({ uid: 'late' }, 2),
  ];
  assert.deepEqual(
    client.outbox.map((each) => each.type === 'send' && each.content),
    [1, 2],
  );
  await client.connect();
  const [first, again] = await Promise.all(sending);
  assert.deepEqual(again, first);
  assert.deepEqual(await client.send({ uid: 'late' }, 1, { id: 'e-1' }), first);
  assert.deepEqual([client.outbox, await inboxOf('late')], [[], [1, 2]]);
});

test('a client that is cut off again and again loses nothing, doubles nothing, and keeps the order', async () => {
  const [from, to] = [watchBehind({ uid: 'chatty' }), watchBehind({ uid: 'patient' })];
  await Promise.all([from.client.connect(), to.client.connect()]);
  const all = Array.from({ length: 400 }, (_, n) => n);
  const sending = all.map((n) => from.client.send({ uid: 'patient' }, n));
  for (const count of [20, 90, 200]) {
    await to.wait('message', ({ content }) => content === count);
    gate.shut();
    await to.wait('state', ({ state }) => state === 'waiting', to.seen.state.length - 1);
    gate.open();
  }
  const sent = await Promise.all(sending);
  assert.equal(new Set(sent.map(({ messageId }) => messageId)).size, all.length);
  await to.wait('message', ({ content }) => content === all.at(-1));
  assert.deepEqual([contents(to), await inboxOf('patient')], [all, all]);
  assert.deepEqual([to.seen.reset, to.client.acked, from.client.acked], [[], all.length, all.length]);
});

test('a connection on which nobody answers any more is noticed, and made anew', async () => {
  const options = { silenceMs: 100, timeoutMs: 300 };
  const { client, wait, seen } = watchBehind({ uid: 'deaf' }, options);
  await client.connect();
  gate.mute();
  const { error } = await wait('state', ({ state }) => state === 'waiting');
  assert.equal(error!.code, 'no_network');
  assert.match(error!.message, /nobody is there any more/);
  gate.open();
  await wait(
    'state',
    ({ state }) => state === 'open',
    seen.state.findIndex(({ state }) => state === 'waiting'),
  );
  await watchUser(service, app, { uid: 'loud' }).client.connect();
  await app.call('POST', '/messages', { from: { uid: 'loud' }, to: { uid: 'deaf' }, content: 'hey' });
  assert.equal((await wait('message')).content, 'hey');
});

test('an app that comes to the foreground, or asks to connect, doesn’t wait for the next try', async () => {
  const { client, wait } = watchBehind({ uid: 'eager' }, { backoff: { baseMs: 1e9, maxMs: 1e9 } });
  await client.connect();
  for (const nudge of [() => void client.connect(), () => client.setForeground(true)]) {
    client.setForeground(false);
    gate.shut();
    await eventually(() => client.state === 'waiting');
    gate.open();
    nudge();
    await eventually(() => client.state === 'open');
  }
  assert.ok((await wait('state', ({ state }) => state === 'waiting')).retryInMs! > 1_000);
});

test('what a listener has not done yet is not acked: it comes again to the next client of the device', async () => {
  const device = { deviceId: 'phone' };
  const slow = watchUser(service, app, { uid: 'slow' }, device);
  const begun: unknown[] = [];
  const done = Promise.withResolvers<void>();
  slow.client.on('message', ({ content }) => {
    begun.push(content);
    return content === 2 ? done.promise : undefined;
  });
  await slow.client.connect();
  for (const n of [1, 2, 3])
    await app.call('POST', '/messages', { from: { uid: 'x' }, to: { uid: 'slow' }, content: n });
  await eventually(() => begun.length === 2);
  await slow.client.close();
  assert.equal(slow.client.acked, 1);
  const next = watchUser(service, app, { uid: 'slow' }, device);
  assert.equal((await next.client.connect()).acked, 1);
  await next.wait('message', ({ content }) => content === 3);
  assert.deepEqual(contents(next), [2, 3]);
  done.resolve();
  // The one before goes on with what it hadn't handed over.
  await next.client.close();
  // Its token is older, so that it has the device only once the later one is known to be gone.
  const isOnline = async () =>
    (await app.call('GET', `/presence?imId=${app.appId}:slow`)).body.items[0].online;
  await eventually(async () => !(await isOnline()));
  await slow.client.connect();
  await eventually(() => slow.client.acked === 3);
  assert.deepEqual(begun, [1, 2, 3]);
});

test('what a listener fails at comes again with the next connection, and so does all behind it', async () => {
  const { client, seen, wait } = watchBehind({ uid: 'clumsy' });
  const tried: unknown[] = [];
  client.on('message', async ({ content }) => {
    tried.push(content);
    if (content === 2 && tried.length === 2) throw new Error('no room');
  });
  await client.connect();
  for (const n of [1, 2, 3])
    await app.call('POST', '/messages', { from: { uid: 'x' }, to: { uid: 'clumsy' }, content: n });
  await eventually(() => tried.length === 3);
  const error = await wait('error');
  assert.deepEqual([error.code, (error.cause as Error).message], ['listener_failed', 'no room']);
  assert.equal(client.acked, 1);
  gate.shut();
  gate.open();
  await eventually(() => client.acked === 3);
  assert.deepEqual([tried, seen.reset], [[1, 2, 3, 2, 3], []]);
});

test('an outbox with a store outlives the client, and so does the place in the inbox', async () => {
  const store = new Map([
    ['out:000:bad', '{'],
    ['of somebody else', ''],
  ]);
  const first = watchBehind({ uid: 'reloaded' }, { store });
  await first.client.connect();
  await app.call('POST', '/messages', { from: { uid: 'x' }, to: { uid: 'reloaded' }, content: 'seen' });
  await first.wait('message');
  await first.client.close();
  void first.client.send({ uid: 'y' }, { n: 1 }, { id: 'left-1' });
  void first.client.send({ uid: 'y' }, { n: 2 }, { id: 'left-2' });
  await eventually(() => store.size === 4);
  await app.call('POST', '/messages', { from: { uid: 'x' }, to: { uid: 'reloaded' }, content: 'missed' });

  const reloaded = watchBehind({ uid: 'reloaded' }, { store });
  assert.equal((await reloaded.client.connect()).resumed, true);
  await reloaded.wait('sent', ({ id }) => id === 'left-2');
  await reloaded.wait('message');
  assert.deepEqual(contents(reloaded), ['missed']);
  assert.deepEqual(await inboxOf('y'), [{ n: 1 }, { n: 2 }]);
  await eventually(() => [...store.keys()].join() === 'of somebody else,place');
});

test('who logs out without a logout leaves nothing that the next user would send', async () => {
  const store = new Map<string, string>();
  const one = watchUser(service, app, { uid: 'one' }, { store });
  await one.client.connect();
  await one.client.close();
  void one.client.send({ uid: 'y-2' }, 'not mine');
  const other = watchUser(service, app, { uid: 'other' }, { store });
  await other.client.connect();
  assert.equal((await other.wait('failed')).error.code, 'other_user');
  await other.wait('reset');
  await other.client.send({ uid: 'y-2' }, 'mine');
  assert.deepEqual(await inboxOf('y-2'), ['mine']);
});

test('of two with the same device the later stays, and the other one doesn’t fight', async () => {
  const device = { deviceId: 'tablet' };
  const [first, second] = [1, 2].map(() => watchUser(service, app, { uid: 'twice' }, device));
  await first!.client.connect();
  await second!.client.connect();
  const { error } = await first!.wait('state', ({ state }) => state === 'closed');
  assert.deepEqual([error!.code, error!.closeCode], ['replaced', 4503]);
  await second!.client.send({ uid: 'twice' }, 'still there');
  assert.deepEqual([first!.client.state, second!.client.state], ['closed', 'open']);
  // Without a device, each is one of its own.
  const tabs = [1, 2].map(() => watchUser(service, app, { uid: 'twice' }));
  for (const { client } of tabs) await client.connect();
  await app.call('POST', '/messages', { from: { uid: 'x' }, to: { uid: 'twice' }, content: 'all' });
  for (const { wait } of tabs) await wait('message', ({ content }) => content === 'all');
});

test('a user who is merged on an open connection starts over', async () => {
  const [guest, member] = [await app.register('guest'), await app.register('member')];
  const { client, wait, seen } = watchUser(service, app, { imId: guest });
  await client.connect();
  for (const to of [{ imId: guest }, { imId: member }])
    await app.call('POST', '/messages', { from: { uid: 'x' }, to, content: to.imId });
  await wait('message');
  const { status } = await app.call('POST', `/identities/${member}/merge`, { from: { imId: guest } });
  assert.equal(status, 200);
  await wait('reset');
  await eventually(() => client.acked === 2);
  assert.deepEqual(
    seen.message.map(({ seq, content }) => [seq, content]),
    [
      [1, guest],
      [1, member],
      [2, guest],
    ],
  );
  assert.deepEqual(client.me, { scheme: 'registered', imId: member });
});

test('a client that is told where nobody listens keeps trying', async () => {
  const { client, wait } = watch({ url: 'http://127.0.0.1:1', getToken: () => app.token({ uid: 'lost' }) });
  const connecting = client.connect();
  const { error, retryInMs } = await wait('state', ({ state }) => state === 'waiting');
  assert.equal(error!.code, 'no_network');
  assert.ok(retryInMs! <= 20);
  await wait('state', ({ state }) => state === 'waiting', 3);
  await client.close();
  await assert.rejects(connecting, { code: 'cancelled' });
});
