// HTTP that is odd, and upgrades that are not for us: always an answer, and never a socket without a token.

import assert from 'node:assert/strict';
import { connect as connectTo } from 'node:net';
import { before, test } from 'node:test';
import { parse } from 'yaml';
import { eventually, startService, type Service, type Tenant } from './harness.ts';

let service: Service;
let app: Tenant;
let token: string;
before(async () => {
  service = await startService();
  app = await service.createApp();
  token = await app.token({ uid: 'bob' });
});

/** Sends bytes and gives back all that comes until the other side closes. */
async function exchange(text: string): Promise<string> {
  const { hostname, port } = new URL(service.url);
  const socket = connectTo(Number(port), hostname);
  let answer = '';
  socket.on('data', (data) => (answer += data.toString()));
  socket.on('error', () => {});
  // Not by `once`, which fails where it ends with a reset.
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.write(text);
  await closed;
  return answer;
}

const request = (line: string, ...headers: string[]) =>
  [`${line} HTTP/1.1`, 'Host: imid', 'Connection: close', ...headers, '', ''].join('\r\n');
const UPGRADE = [
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
];

test('a client that offers HTTP/2 is served in HTTP/1.1', async () => {
  const offer = ['Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__'];
  assert.match(await exchange(request('GET /healthz', ...offer)), /^HTTP\/1\.1 200 OK/);
  const body = JSON.stringify({ userId: 'by h2c' });
  const post = request(
    `POST ${app.path}/identities`,
    ...offer,
    `Authorization: Bearer ${app.apiKey}`,
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
  );
  assert.match(await exchange(post + body), /^HTTP\/1\.1 201 Created/);
});

test('no path but the socket’s is ever upgraded', async () => {
  for (const path of ['/healthz', '/v1/me', '/docs/', '/nothing'])
    assert.match(
      await exchange(request(`GET ${path}`, ...UPGRADE, `Authorization: Bearer ${token}`)),
      /^HTTP\/1\.1 (200|404)/,
      path,
    );
  assert.match(await exchange(request('GET /v1/connect', ...UPGRADE)), /^HTTP\/1\.1 401/);
});

test('a handshake that is not of RFC 6455 is refused with a problem document', async () => {
  const authorization = `Authorization: Bearer ${token}`;
  for (const headers of [
    ['Upgrade: websocket', 'Sec-WebSocket-Version: 12', UPGRADE[2]!],
    ['Upgrade: websocket', UPGRADE[1]!],
    ['Upgrade: websocket', UPGRADE[1]!, 'Sec-WebSocket-Key: short'],
    [...UPGRADE, 'Sec-WebSocket-Protocol: imid.v1, imid.v1'],
    [...UPGRADE, 'Sec-WebSocket-Protocol: imid.v1,,'],
  ]) {
    const answer = await exchange(request('GET /v1/connect', ...headers, authorization));
    assert.match(answer, /^HTTP\/1\.1 400/, headers.join());
    assert.match(answer, /application\/problem\+json/);
    assert.match(answer, /"code":"invalid_request"/);
  }
});

test('what is no HTTP, or too much of it, gets a problem document', async () => {
  for (const [text, status] of [
    ['nonsense\r\n\r\n', 400],
    [request('BREW /coffee'), 400],
    [request('GET /healthz', `X-Long: ${'x'.repeat(20_000)}`), 413],
    [request(`GET /${'x'.repeat(20_000)}`), 413],
  ] as const) {
    const answer = await exchange(text);
    assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status}`), text.slice(0, 40));
    assert.match(answer, /application\/problem\+json/);
  }
});

test('a request without a Host gets a problem document, unless it is of HTTP/1.0', async () => {
  for (const headers of [[], UPGRADE]) {
    const answer = await exchange(request('GET /v1/connect', ...headers).replace('Host: imid\r\n', ''));
    assert.match(answer, /^HTTP\/1\.1 400 Bad Request\r\n/);
    assert.match(answer, /content-type: application\/problem\+json/i);
    assert.match(answer, /x-content-type-options: nosniff/i);
    assert.match(answer, /x-request-id: /i);
    assert.match(answer, /"code":"invalid_request"/);
  }
  assert.match(await exchange('GET /healthz HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 OK/);
});

test('an expectation that nobody knows is passed over', async () => {
  assert.match(await exchange(request('GET /healthz', 'Expect: wonders')), /^HTTP\/1\.1 200 OK/);
});

test('a bad escape is refused as the document says, also where no query is asked for', async () => {
  const { paths } = parse((await service.call('GET', '/openapi.yaml')).text);
  for (const path of ['/healthz', '/readyz', '/metrics', '/.well-known/jwks.json']) {
    const answer = await service.call('GET', `${path}?%`);
    assert.deepEqual([answer.status, answer.body.code], [400, 'invalid_request'], path);
    assert.ok(paths[path].get.responses['400'], path);
  }
});

test('an escape behind a second question mark is checked as well', async () => {
  const answer = await app.call('GET', `/identities?userId=x?%ff`);
  assert.deepEqual([answer.status, answer.body.code], [400, 'invalid_request']);
});

test('a client whose messages can’t be stored right now is not read any further', async () => {
  const client = await app.connect({ uid: 'flood' });
  const lock = await service.database.pool.connect();
  try {
    await lock.query('begin');
    await lock.query('lock table identity in access exclusive mode');
    for (let n = 0; n < 2_000; n++)
      client.send({ type: 'send', id: `n${n}`, to: { uid: 'sink' }, content: 'x'.repeat(16_000) });
    let amount = -1;
    let same = 0;
    await eventually(() => {
      const { bufferedAmount } = client.socket;
      same = bufferedAmount === amount ? same + 1 : 0;
      amount = bufferedAmount;
      return same === 30;
    });
    assert.ok(amount > 20_000_000, `${amount} bytes of 32,000,000 are left with the client`);
  } finally {
    await lock.query('rollback');
    lock.release();
  }
  await client.wait((frame) => frame.id === 'n1999');
  assert.equal(client.frames.filter((frame) => frame.type === 'sent').length, 2_000);
});
