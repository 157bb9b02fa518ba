// APNs' connection: many requests on one, no more than Apple allows, and another one when it is no more; what Apple has
// not seen is sent again, what it may have seen is not.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  constants,
  createServer as createHttp2,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createChannel } from '../src/push/apns_channel.ts';
import type { Outcome, Provider } from '../src/push/contract.ts';
import { actOf, apnsStage, target } from './push/apns_stage.ts';
import { refuseWith, type Act } from './push/apns_stand_in.ts';
import { notificationOf, reasonOf } from './push/contract.ts';

const { NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_REFUSED_STREAM } = constants;
const hold: Act = () => undefined;
/** More than sockets hold of what nobody reads. */
const MUCH = 2 ** 24;

const send = (provider: Provider, count: number): Promise<Outcome[]> =>
  Promise.all(
    Array.from({ length: count }, (_, index) => provider.send(notificationOf({ id: `m${index}` }), target)),
  );
const kinds = (outcomes: Outcome[]): string[] => [...new Set(outcomes.map(({ kind }) => kind))];

test('one connection carries all, one request until Apple has taken one, then as many as Apple allows', async (t) => {
  const { provider, production } = await apnsStage(t);
  assert.deepEqual(kinds(await send(provider, 500)), ['sent']);
  assert.equal(production.opened(), 1);
  assert.equal(production.taken.length, 500);
  assert.ok(production.most() > 1 && production.most() <= 100, `${production.most()} at once`);
});

test('a connection on which nothing was taken yet carries one request at a time, whatever its settings say', async (t) => {
  const { provider, production } = await apnsStage(t, {}, { streamsAtFirst: 100 });
  production.act(refuseWith(403, 'InvalidProviderToken'));
  assert.deepEqual(kinds(await send(provider, 20)), ['failed']);
  assert.equal(production.most(), 1);
});

test('when Apple says good-bye, what it has not seen goes over another connection, and the rest is waited for', async (t) => {
  const { provider, production } = await apnsStage(t);
  await send(provider, 1);
  const held: [ServerHttp2Stream, ServerHttp2Session][] = [];
  production.act((stream, session) => held.push([stream, session]));
  const sending = send(provider, 4);
  await t.waitFor(() => assert.equal(held.length, 4));
  const [[first, session] = assert.fail()] = held;
  production.act(undefined);
  production.goaway(session, first.id!, 'Shutdown');
  await t.waitFor(() => assert.equal(production.taken.length, 4));
  first.respond({ ':status': 200 }, { endStream: true });
  assert.deepEqual(kinds(await sending), ['sent']);
  assert.equal(production.opened(), 2);
  await t.waitFor(() => assert.equal(production.sessions.size, 1));
});

test('when Apple breaks off, only what it has not seen is sent again, and the reason is what Apple gave', async (t) => {
  const { provider, production } = await apnsStage(t);
  await send(provider, 1);
  const held: [ServerHttp2Stream, ServerHttp2Session][] = [];
  production.act((stream, session) => held.push([stream, session]));
  const sending = send(provider, 3);
  await t.waitFor(() => assert.equal(held.length, 3));
  const [[first, session] = assert.fail()] = held;
  production.act(undefined);
  production.goaway(session, first.id!, 'TooManyBadDeviceTokens', NGHTTP2_ENHANCE_YOUR_CALM);
  const [seen = assert.fail(), ...unseen] = await sending;
  assert.equal(seen.kind, 'retry');
  assert.match(reasonOf(seen, target), /^closed: .*\(TooManyBadDeviceTokens\)$/);
  assert.deepEqual(kinds(unseen), ['sent']);
  assert.equal(production.asked(), 1 + 3 + 2);
});

test('an answer that breaks off is none, and one without end is not read to its end', async (t) => {
  const { provider, production } = await apnsStage(t);
  const breaks: Act[] = [
    (stream) => stream.destroy(new Error('broken')),
    (_stream, session) => production.hangUp(session),
    (_stream, session) => production.cut(session),
  ];
  for (const breakOff of breaks) {
    production.act((stream, ...rest) => {
      stream.respond({ ':status': 410 });
      stream.write('{"reason":"Unregistered"}', () => breakOff(stream, ...rest));
    });
    assert.match(reasonOf(await provider.send(notificationOf(), target), target), /^closed: /);
  }
  production.act(actOf('endless', production));
  assert.match(reasonOf(await provider.send(notificationOf(), target), target), /^malformed: .* 4096 bytes/);
});

test('a request that Apple refuses to look at is made again, three times at most', async (t) => {
  const { provider, production } = await apnsStage(t);
  const refuse: Act = (stream) => stream.close(NGHTTP2_REFUSED_STREAM);
  production.act(refuse, undefined);
  assert.equal((await provider.send(notificationOf(), target)).kind, 'sent');
  production.act(refuse);
  assert.equal((await provider.send(notificationOf(), target)).kind, 'retry');
  assert.equal(production.asked(), 2 + 3);
});

for (const [status, reason] of [
  [403, 'UnrelatedKeyIdInToken'],
  [503, 'Shutdown'],
  [400, 'IdleTimeout'],
] as const)
  test(`${reason} is answered by another connection, once`, async (t) => {
    const { provider, production } = await apnsStage(t);
    production.act(refuseWith(status, reason), undefined);
    assert.equal((await provider.send(notificationOf(), target)).kind, 'sent');
    assert.equal(production.opened(), 2);
  });

test('a request that gets no answer costs its connection, and the next one goes over another', async (t) => {
  const { provider, production } = await apnsStage(t, { timeoutMs: 200 });
  production.act(hold);
  assert.match(reasonOf(await provider.send(notificationOf(), target), target), /^timeout: .* 200 ms$/);
  await t.waitFor(() => assert.equal(production.sessions.size, 0));
  production.act(undefined);
  assert.equal((await provider.send(notificationOf(), target)).kind, 'sent');
  assert.equal(production.opened(), 2);
});

test('who runs out of time just after a new connection was begun takes it from nobody', async (t) => {
  const { open, production } = await apnsStage(t);
  const { origin, sockets } = await relay(t, production.origin, (count) => (count === 1 ? 0 : 100));
  const provider = open({ origins: { production: origin, sandbox: origin }, timeoutMs: 400 });
  const push = (): Promise<Outcome> => provider.send(notificationOf(), target);
  production.act(hold);
  const late = [push(), push()];
  await t.waitFor(() => assert.equal(production.asked(), 1));
  const [[client, server] = assert.fail()] = sockets;
  server.unpipe(client);
  await sleep(50);
  late.push(push());
  await sleep(150);
  production.act(undefined);
  const inTime = push();
  // The first one takes its connection with it, on which the second one's turn has come; the third one has no time for another.
  for (const outcome of await Promise.all(late)) assert.match(reasonOf(outcome, target), /^timeout: /);
  assert.equal((await inTime).kind, 'sent');
  assert.equal(sockets.length, 2);
});

test(
  'a request is given up in time also where the other end takes nothing more',
  { timeout: 10_000 },
  async (t) => {
    const wide = createHttp2({ settings: { initialWindowSize: MUCH } });
    wide.on('session', (session) => session.setLocalWindowSize(MUCH));
    wide.on('stream', (stream: ServerHttp2Stream) =>
      stream.resume().respond({ ':status': 200 }, { endStream: true }),
    );
    wide.listen(0, '127.0.0.1');
    await once(wide, 'listening');
    t.after(() => wide.close());
    const { origin, sockets } = await relay(t, `http://127.0.0.1:${(wide.address() as AddressInfo).port}`);
    const channel = createChannel(origin, { timeoutMs: 200, pingMs: 60_000, idleMs: 60_000 });
    t.after(() => channel.close());
    const headers = (): string[] => [':method', 'POST', ':path', '/'];
    assert.equal((await channel.ask(headers(), Buffer.from('first'))).status, 200);
    const [[client, server] = assert.fail()] = sockets;
    client.unpipe(server);
    client.pause();
    await assert.rejects(channel.ask(headers(), Buffer.alloc(MUCH)), /timeout: .* 200 ms$/);
  },
);

test('a connection whose other end has vanished is found out by a ping, before anything is sent over it', async (t) => {
  const stage = await apnsStage(t);
  const { origin, sockets } = await relay(t, stage.production.origin);
  const provider = stage.open({
    origins: { production: origin, sandbox: origin },
    pingMs: 20,
    timeoutMs: 300,
  });
  await provider.send(notificationOf(), target);
  const [[client, server] = assert.fail()] = sockets;
  client.unpipe(server);
  client.resume();
  await t.waitFor(() => assert.ok(client.closed));
  assert.equal((await provider.send(notificationOf(), target)).kind, 'sent');
  assert.equal(sockets.length, 2);
});

test('a connection that pings keep alive stays, and one that nobody uses is closed', async (t) => {
  const { open, production } = await apnsStage(t);
  const pinging = open({ pingMs: 20, timeoutMs: 500 });
  await pinging.send(notificationOf(), target);
  const idle = open({ idleMs: 50 });
  await idle.send(notificationOf(), target);
  assert.equal(production.opened(), 2);
  await t.waitFor(() => assert.equal(production.sessions.size, 1));
  // By then the first ones would be missed.
  await t.waitFor(() => assert.ok(production.pings() > 30), { timeout: 10_000 });
  await pinging.send(notificationOf(), target);
  assert.equal(production.opened(), 2);
  await idle.send(notificationOf(), target);
  assert.equal(production.opened(), 3);
});

test('a host that cannot be reached asks for another try, for each that waited', async (t) => {
  const { open } = await apnsStage(t);
  const { origin, server } = await relay(t, 'http://127.0.0.1:1');
  server.close();
  await once(server, 'close');
  const outcomes = await send(open({ origins: { production: origin, sandbox: origin } }), 3);
  for (const outcome of outcomes)
    assert.match(reasonOf(outcome, target), /^unreachable: .*\(ECONNREFUSED\)$/);
});

test('a host that accepts connections and says nothing is given up', async (t) => {
  const { open } = await apnsStage(t);
  const server = createServer((socket) => socket.on('error', () => undefined).resume());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const provider = open({ origins: { production: origin, sandbox: origin }, timeoutMs: 200 });
  for (const outcome of await send(provider, 3))
    assert.match(reasonOf(outcome, target), /^(timeout|unreachable): /);
});

/** Hands on what comes, over pairs of sockets that can be parted; answers later, if it is told to. */
async function relay(t: TestContext, to: string, delayMs: (count: number) => number = () => 0) {
  const sockets: [client: Socket, server: Socket][] = [];
  const server = createServer((client) => {
    const other = connect(Number(new URL(to).port), '127.0.0.1');
    for (const socket of [client, other]) socket.on('error', () => undefined);
    sockets.push([client, other]);
    client.pipe(other);
    setTimeout(() => other.pipe(client), delayMs(sockets.length));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets.flat()) socket.destroy();
    server.close();
  });
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sockets, server };
}
