// The log: one id from request to store, and nothing of what users say or prove themselves with.

import assert from 'node:assert/strict';
import { connect as connectTo } from 'node:net';
import { after, before, beforeEach, test } from 'node:test';
import { startGate, type Gate } from './gate.ts';
import { createDatabase, eventually, startService, type Json, type Service, type Tenant } from './harness.ts';
import { ADMIN_KEY, PLANTED } from './logs.ts';

let gate: Gate;
let service: Service;
let app: Tenant;
let text = '';
before(async () => {
  const { name, connection } = await createDatabase();
  gate = await startGate(connection);
  service = await startService({
    at: { name, connection: gate.connection },
    app: { logLevel: 'trace', logTo: { write: (line) => void (text += line) } },
  });
  app = await service.createApp();
});
after(() => gate.close());
beforeEach(() => void (text = ''));

const lines = (): Json[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
/** What is said of an origin, in order. */
const saidOf = (origin: string): Json[] => lines().filter((line) => line.origin === origin);

test('every answer carries the id of its request, the caller’s own where it is one', async () => {
  const idOf = async (path: string, own?: string) => {
    const answer = await service.call(
      'GET',
      path,
      own === undefined ? {} : { headers: { 'x-request-id': own } },
    );
    return answer.headers.get('x-request-id')!;
  };
  for (const path of ['/healthz', '/nowhere', '/v1/me', '/%ff', '/metrics', '/v1/apps?x=%ff']) {
    assert.match(await idOf(path), /^[\w-]{8}-[\da-z]+$/, path);
    assert.equal(await idOf(path, 'order-81/{"x"}'), 'order-81/{"x"}', path);
  }
  assert.notEqual(await idOf('/healthz'), await idOf('/healthz'));
  for (const bad of ['x'.repeat(65), 'two words', 'ünïcode'])
    assert.notEqual(await idOf('/healthz', bad), bad);
  const { hostname, port } = new URL(service.url);
  const socket = connectTo(Number(port), hostname);
  socket.end('nonsense\r\n\r\n');
  const answer = Buffer.concat(await socket.toArray()).toString();
  const [, id = ''] = /^x-request-id: (\S+)\r$/im.exec(answer) ?? [];
  assert.equal(saidOf(id).length, 1);
  await assert.rejects(
    service.connect('bad'),
    (refused: Json) => refused.headers['x-request-id'] !== undefined,
  );
});

test('a send on the socket is received, stored and delivered under one id', async () => {
  const alice = await app.connect({ uid: 'alice' });
  const bob = await app.connect({ uid: 'bob' });
  await alice.say({ uid: 'bob' }, 1, 'one "quoted"');
  const [message] = await bob.messages(1);
  const said = saidOf(`${alice.welcome.connectionId}/one "quoted"`);
  assert.deepEqual(
    said.map(({ msg, messageId, seq, connectionId }) => [msg, messageId, seq, connectionId]),
    [
      ['a send was received', undefined, undefined, undefined],
      ['a message was stored', message.messageId, 1, undefined],
      ['a message was delivered', message.messageId, 1, bob.welcome.connectionId],
      ['a send was answered', undefined, undefined, undefined],
    ],
  );
});

test('a request that sends is received, stored, delivered and answered under one id', async () => {
  const bob = await app.connect({ uid: 'bob-2' });
  await service.call('POST', `${app.path}/messages`, {
    body: { from: { uid: 'alice-2' }, to: { uid: 'bob-2' }, content: 1 },
    headers: { 'x-request-id': 'order-81' },
  });
  await bob.messages(1);
  const said = await eventually(() => {
    const all = saidOf('order-81').map((line) => line.msg);
    return all.includes('request completed') && all;
  });
  assert.deepEqual(said, [
    'incoming request',
    'a send was received',
    'a message was stored',
    'a message was delivered',
    'a send was answered',
    'request completed',
  ]);
});

test('what can’t be stored is logged with the ids of all that it was', async () => {
  const alice = await app.connect({ uid: 'alice-3' });
  await alice.say({ uid: 'bob-3' }, 1);
  gate.shut();
  const failed = await alice.say({ uid: 'bob-3' }, 'lost', 'lost');
  assert.equal(failed.code, 'unavailable');
  const answer = await service.call('POST', `${app.path}/messages`, {
    body: { from: { uid: 'alice-3' }, to: { uid: 'bob-3' }, content: 1 },
    headers: { 'x-request-id': 'lost-2' },
  });
  assert.equal(answer.status, 503);
  gate.open();
  await eventually(async () => (await service.call('GET', '/readyz')).status === 200);
  const origin = `${alice.welcome.connectionId}/lost`;
  const failures = lines().filter((line) => line.msg === 'messages could not be stored');
  assert.ok(failures.some((line) => line.origins.includes(origin) && line.err.stack));
  assert.ok(saidOf(origin).some((line) => line.level === 50));
  assert.ok(saidOf('lost-2').some((line) => line.level === 50 && line.err));
  assert.equal(saidOf(origin).find((line) => line.msg === 'a send was answered')!.code, 'unavailable');
});

test('neither contents nor credentials are ever logged, whatever fails', async () => {
  const marker = PLANTED;
  const token = await app.token({ uid: 'alice-4' });
  const alice = await service.connect(token);
  const bob = await app.connect({ uid: 'bob-4' });
  await alice.say({ uid: 'bob-4' }, marker);
  await bob.messages(1);
  alice.send({ type: 'token', token });
  alice.send(`{"type":"send","content":"${marker}"`);
  const send = { from: { uid: 'alice-4' }, to: { uid: 'bob-4' }, content: marker, push: { title: marker } };
  await app.call('POST', '/messages', send);
  await app.call('POST', '/messages', { ...send, unknown: marker });
  await app.call('POST', '/messages', `{"content": "${marker}`);
  await app.call('PUT', `/contacts/${app.appId}:alice-4`, { items: [{ uid: 'bob-4', data: { marker } }] });
  const forged = `${token.slice(0, token.lastIndexOf('.'))}.${Buffer.from(marker).toString('base64url')}`;
  await service.call('GET', '/v1/me', { key: forged });
  await assert.rejects(service.connect(forged));
  const { hostname, port } = new URL(service.url);
  const socket = connectTo(Number(port), hostname);
  socket.end(`GET / HTTP/1.1\r\nAuthorization: Bearer ${token}\r\n${marker}\r\n\r\n`);
  await socket.toArray();
  // A row that Postgres refuses, and quotes.
  const { pool } = service.database;
  await pool.query('alter table message add constraint refused check (client_id not like $$refused%$$)');
  assert.equal((await alice.say({ uid: 'bob-4' }, marker, 'refused')).code, 'unavailable');
  assert.equal((await app.call('POST', '/messages', { ...send, id: 'refused-2' })).status, 503);
  await pool.query('alter table message drop constraint refused');
  gate.shut();
  await alice.say({ uid: 'bob-4' }, marker);
  await app.call('POST', '/messages', send);
  gate.open();
  await eventually(async () => (await service.call('GET', '/readyz')).status === 200);
  assert.ok(saidOf(`${alice.welcome.connectionId}/refused`).length > 2);
  assert.match(text, /"constraint":"refused"/);
  for (const secret of [marker, Buffer.from(marker).toString('base64url'), app.apiKey, ADMIN_KEY])
    assert.ok(!text.includes(secret), secret);
  for (const part of token.split('.')) assert.ok(!text.includes(part));
});

test('a credential is not logged either where none belongs: in a query, a path, a header', async () => {
  const token = await app.token({ uid: 'alice-6' });
  const marker = PLANTED;
  const { hostname, port } = new URL(service.url);
  for (const target of [
    `/v1/me?access_token=${token}`,
    `/v1/connect?token=${token}`,
    `/oauth/token?subject_token=${token}`,
    `/v1/nowhere/${token}`,
    `/v1/%zz/${app.apiKey}`,
    `${app.path}/keys/${app.apiKey}?x=${marker}`,
    `http://user:${marker}@imid/v1/me`,
  ]) {
    const socket = connectTo(Number(port), hostname);
    const headers = ['Host', 'Accept-Version', 'X-Request-Id'].map((name) => `${name}: ${app.apiKey}`);
    socket.end(['GET ' + target + ' HTTP/1.1', ...headers, 'Connection: close', '', ''].join('\r\n'));
    assert.match(Buffer.concat(await socket.toArray()).toString(), /^HTTP\/1.1 4/);
  }
  assert.ok(lines().some((line) => line.req?.path === `${app.path}/keys/…`));
  for (const secret of [marker, app.apiKey, ...token.split('.')]) assert.ok(!text.includes(secret), secret);
});

test('below debug, the steps of a send are not logged', async () => {
  let quiet = '';
  const other = await startService({
    on: service,
    app: { logLevel: 'info', logTo: { write: (line) => void (quiet += line) } },
  });
  const alice = await other.connect(await app.token({ uid: 'alice-5' }));
  await alice.say({ uid: 'bob-5' }, 1);
  assert.match(quiet, /incoming request/);
  assert.doesNotMatch(quiet, /a send was|a message was/);
  await other.close();
});
