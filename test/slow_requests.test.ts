// Requests that come too slowly, or never end: each is answered, and its connection closed; what is slow for a reason goes on.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectTo, type Socket } from 'node:net';
import { before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startService, type Service, type Tenant } from './harness.ts';

const timeouts = { headersMs: 300, bodyMs: 400, idleMs: 300, keepAliveMs: 300 };

let service: Service;
let app: Tenant;
before(async () => {
  service = await startService({ app: { timeouts } });
  app = await service.createApp();
});

/** Says one piece after the other, and gives back all that comes until the other side closes, and when it does. */
async function say(pieces: readonly string[], paceMs = 0): Promise<{ answer: string; tookMs: number }> {
  const { hostname, port } = new URL(service.url);
  const socket: Socket = connectTo(Number(port), hostname);
  let answer = '';
  socket.on('data', (data) => (answer += data.toString()));
  socket.on('error', () => {});
  // Not by `once`, which fails where it ends with a reset.
  const closed = new Promise((resolve) => socket.once('close', resolve));
  await once(socket, 'connect');
  const startedAt = performance.now();
  for (const piece of pieces) {
    if (socket.destroyed) break;
    socket.write(piece);
    await sleep(paceMs);
  }
  await closed;
  return { answer, tookMs: performance.now() - startedAt };
}

const head = (path: string, ...headers: string[]): string =>
  [`POST ${app.path}${path} HTTP/1.1`, 'Host: imid', ...headers, '', ''].join('\r\n');
const authorization = (): string => `Authorization: Bearer ${app.apiKey}`;
const LONG = 'Content-Length: 1000';
const JSON_TYPE = 'Content-Type: Application/JSON';
const trickle = Array.from({ length: 100 }, () => ' ');

function assertTimeout(answer: string): void {
  assert.match(answer, /^HTTP\/1\.1 408 Request Timeout\r\n/);
  assert.match(answer, /content-type: application\/problem\+json/i);
  assert.match(answer, /x-content-type-options: nosniff/i);
  assert.match(answer, /"code":"request_timeout"/);
  assert.match(answer, /connection: close/i);
}

test('headers that come too slowly, or not at all, are answered with 408', async () => {
  for (const pieces of [[], [`POST ${app.path}/tokens HTTP/1.1\r\nHost: imid\r\nX-Slow: `, ...trickle]]) {
    const { answer, tookMs } = await say(pieces, 20);
    assertTimeout(answer);
    assert.ok(tookMs < 1_900, `${tookMs} ms`);
  }
});

test('a JSON body that comes too slowly is answered with 408, and does nothing', async () => {
  const { answer, tookMs } = await say(
    [head('/identities', authorization(), JSON_TYPE, LONG), '{"userId":"slow"', ...trickle],
    20,
  );
  assertTimeout(answer);
  assert.ok(tookMs >= 300 && tookMs < 1_900, `${tookMs} ms`);
  assert.deepEqual((await app.call('GET', '/identities?userId=slow')).body.items, []);
});

test('who goes on sending what is not read any more is disconnected', async () => {
  const tooLong = 'Content-Length: 3000000';
  const get = `GET /healthz HTTP/1.1\r\nHost: imid\r\n${JSON_TYPE}\r\n${LONG}\r\n\r\n`;
  for (const [begin, status] of [
    [head('/identities', JSON_TYPE, LONG), 401],
    [head('/identities', JSON_TYPE, tooLong, authorization()), 413],
    [get, 200],
  ] as const) {
    const { answer, tookMs } = await say([begin, ...trickle], 20);
    assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `));
    assert.ok(tookMs < 1_900, `${tookMs} ms`);
  }
});

test('an import may take long, as long as something comes; what came before it fell silent is done', async () => {
  const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;
  const begin = head(
    '/identities/import',
    authorization(),
    'Content-Type: application/x-ndjson',
    'Transfer-Encoding: chunked',
    'Connection: close',
  );
  const lines = Array.from({ length: 12 }, (_, n) => chunk(`{"userId":"u${n}"}\n`));
  const whole = await say([begin, ...lines, '0\r\n\r\n'], 60);
  assert.ok(whole.tookMs > timeouts.bodyMs + timeouts.idleMs);
  assert.equal(whole.answer.match(/"status":"created"/g)?.length, 12);

  const silent = await say([begin]);
  assertTimeout(silent.answer);

  // A line that has no result is not done.
  const broken = await say([begin, chunk('{"userId":"kept"}\n')]);
  assert.match(broken.answer, /^HTTP\/1\.1 (200|408)/);
  assert.match(broken.answer, /request_timeout/);
  const { body } = await app.call('GET', '/identities?userId=kept');
  assert.equal(body.items.length, broken.answer.includes('"status":"created"') ? 1 : 0);
});

test('a connection on which no request comes any more is closed', async () => {
  const { answer, tookMs } = await say(['GET /healthz HTTP/1.1\r\nHost: imid\r\n\r\n']);
  assert.match(answer, /^HTTP\/1\.1 200 OK/);
  assert.match(answer, /Keep-Alive: timeout=/i);
  assert.ok(tookMs < 4_000, `${tookMs} ms`);
});

test('JSON within JSON is taken 100 levels deep, in bodies and in frames', async () => {
  const nested = (levels: number): unknown => JSON.parse('['.repeat(levels) + ']'.repeat(levels));
  const send = (content: unknown) =>
    app.call('POST', '/messages', { from: { uid: 'alice' }, to: { uid: 'bob' }, content });
  assert.equal((await send(nested(99))).status, 201);
  assert.equal((await send(['"}]\\'.repeat(60), '['.repeat(200)])).status, 201);
  const refused = await send(nested(100));
  assert.deepEqual([refused.status, refused.body.code], [400, 'invalid_request']);
  assert.match(refused.body.detail, /more than 100 arrays and objects within one another/);
  const veryDeep = await service.call('POST', `${app.path}/messages`, {
    body: '[{"x":'.repeat(200_000) + '1' + '}]'.repeat(200_000),
  });
  assert.match(veryDeep.body.detail, /more than 100 arrays/);
  const client = await app.connect({ uid: 'alice' });
  assert.equal((await client.say({ uid: 'bob' }, nested(99))).type, 'sent');
  const error = await client.say({ uid: 'bob' }, nested(100), 'deep');
  assert.deepEqual([error.type, error.code, error.id], ['error', 'invalid_request', 'deep']);
  assert.equal((await client.say({ uid: 'bob' }, 'still here')).type, 'sent');
  await client.close();
});

test('who does not read what it is answered is disconnected', async () => {
  const { hostname, port } = new URL(service.url);
  const socket = connectTo({ port: Number(port), host: hostname });
  socket.on('error', () => {});
  await once(socket, 'connect');
  socket.pause();
  const asked = 100; // more than fits into the buffers between
  socket.write('GET /openapi.yaml HTTP/1.1\r\nHost: imid\r\n\r\n'.repeat(asked));
  await sleep(8 * timeouts.idleMs);
  let answer = '';
  const closed = new Promise((resolve) => socket.once('close', resolve)); // as above
  socket.on('data', (data) => (answer += data.toString('latin1'))).resume();
  await closed;
  const answers = answer.split('HTTP/1.1 200 OK').length - 1;
  assert.ok(answers > 0 && answers < asked, `${answers} answers`);
});
