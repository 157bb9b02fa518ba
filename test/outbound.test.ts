// The guard of requests to customers' URLs: by the address that is connected to, whatever it was called.

import assert from 'node:assert/strict';
import { pbkdf2 } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTcpServer, type AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import {
  createOutbound,
  createResolve,
  isPublicAddress,
  OutboundError,
  type Resolve,
} from '../src/outbound.ts';
import { eventually } from './harness.ts';

const LIMITS = { timeoutMs: 5_000, maxBytes: 1_000 };
let asked = 0;
const server = createServer((request, response) => {
  asked += 1;
  if (request.url === '/redirect') response.writeHead(302, { location: '/' }).end();
  else if (request.url === '/large') response.end('x'.repeat(1_001));
  else if (request.url === '/slow') response.write('a part');
  else response.end('x'.repeat(1_000));
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
after(() => {
  server.closeAllConnections();
  server.close();
});
const { port } = server.address() as AddressInfo;

const resolveTo =
  (...answers: string[][]): Resolve =>
  (_hostname, done) => {
    const addresses = answers.length > 1 ? answers.shift()! : answers[0]!;
    done(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    );
  };
const guarded = createOutbound({ allowPrivate: false });
const open = createOutbound({ allowPrivate: true });
const url = (path: string): string => `http://127.0.0.1:${port}${path}`;

test('addresses that are not of the public internet are refused, in whatever family they come', () => {
  const closed = [
    '0.0.0.0',
    '10.1.2.3',
    '100.64.0.1',
    '100.127.255.255',
    '127.0.0.1',
    '127.255.255.254',
    '169.254.169.254',
    '172.16.0.1',
    '172.31.255.255',
    '192.0.0.8',
    '192.0.2.1',
    '192.88.99.1',
    '192.168.0.1',
    '198.18.0.1',
    '198.19.255.255',
    '198.51.100.1',
    '203.0.113.1',
    '224.0.0.1',
    '240.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '::127.0.0.1',
    '::8.8.8.8',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '::ffff:8.8.8.8',
    '64:ff9b::7f00:1',
    '64:ff9b::10.0.0.1',
    '64:ff9b:1::1',
    '2002:7f00:1::',
    '2002:a00:1::1',
    '2001::1',
    '2001:0:4136:e378:8000:63bf:3fff:fdd2',
    '2001:db8::1',
    '3fff::1',
    'fc00::1',
    'fd12::1',
    'fe80::1',
    'fe80::1%eth0',
    'fec0::1',
    'ff02::1',
    '100::1',
    '5f00::1',
    '4000::1',
    'example.com',
    '',
  ];
  for (const address of closed) assert.equal(isPublicAddress(address), false, address);
  const publicOnes = ['8.8.8.8', '1.1.1.1', '100.63.255.255', '172.32.0.1', '192.0.1.1', '223.255.255.255'];
  for (const address of [...publicOnes, '2606:4700::1111', '2a00:1450::1', '2001:4860:4860::8888'])
    assert.equal(isPublicAddress(address), true, address);
});

test('a URL that could never be asked is refused before it is', async () => {
  const hosts = [
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f.1',
    '0x7f000001',
    '0177.0.0.1',
    '017700000001',
    '１２７.0.0.1',

    '127。0。0。1',
    '127.0.0.1.',
    '0',
    '[::1]',
    '[::]',
    '[0:0:0:0:0:0:0:1]',
    '[::ffff:127.0.0.1]',
    '[::127.0.0.1]',

    '[64:ff9b::169.254.169.254]',
    '[2002:7f00:1::]',
    '[fd00::1]',
    '169.254.169.254',
    'localhost',
    'LOCALHOST',
    'localhost.',
    'a.localhost',
  ];
  for (const host of hosts) {
    assert.equal(guarded.faultOf(`https://${host}/jwks`), 'is at a private or reserved address', host);
    await assert.rejects(guarded.fetch(`https://${host}/jwks`, LIMITS), { message: /private or reserved/ });
  }
  const others = {
    'must begin with https://': ['http://a.example', 'ftp://a.example', 'file:///etc/passwd', 'data:,1'],
    'must not hold a user name or a password': ['https://a@b.example', 'https://:p@b.example'],
    'must not hold a fragment': ['https://a.example/#', 'https://a.example/#x'],
    'must be an absolute URL': [
      '',
      '/jwks',
      'https://',
      'https://[::1',
      `https://a.example/${'a'.repeat(2_000)}`,
    ],
    'must have the port 443 or one from 1024 on': ['https://a.example:22', 'https://a.example:0'],
  };
  for (const [fault, urls] of Object.entries(others))
    for (const each of urls) assert.equal(guarded.faultOf(each), fault, each);
  for (const each of [
    'https://a.example',
    'https://a.example:8443/jwks?a=b',
    'https://8.8.8.8',
    'https://[2606:4700::1]/',
  ])
    assert.equal(guarded.faultOf(each), undefined);
  assert.equal(open.faultOf('http://127.0.0.1:22/'), undefined);
  assert.equal(open.faultOf('file:///etc/passwd'), 'must begin with https://');
});

test('a name that leads to a private address, among others or the second time, is not connected to', async () => {
  const before = asked;
  const ask = (resolve: Resolve) =>
    createOutbound({ allowPrivate: false, resolve }).fetch(`https://rebound.example:${port}/`, LIMITS);
  for (const addresses of [
    ['127.0.0.1'],
    ['8.8.8.8', '127.0.0.1'],
    ['::1'],
    ['2002:7f00:1::'],
    ['64:ff9b::7f00:1'],
  ])
    await assert.rejects(ask(resolveTo(addresses)), { name: 'OutboundError', message: /private/ });
  await assert.rejects(ask(resolveTo([])), { message: 'has no address' });

  // What was checked is what is connected to: nothing is looked up again for that.
  let lookups = 0;
  const rebinding: Resolve = (_hostname, done) => {
    lookups += 1;
    done(null, [{ address: lookups === 1 ? '2001:4860::1' : '127.0.0.1', family: lookups === 1 ? 6 : 4 }]);
  };
  await assert.rejects(
    createOutbound({ allowPrivate: false, resolve: rebinding }).fetch(`https://rebound.example:${port}/`, {
      ...LIMITS,
      timeoutMs: 200,
    }),
    OutboundError,
  );
  assert.equal(lookups, 1);
  await assert.rejects(ask(rebinding), { message: /private/ });
  assert.equal(asked, before);
});

test('a name is looked up by DNS, and one that takes long holds up no signature', async () => {
  const queries: (() => void)[] = [];
  const names = createSocket('udp4', (query, { port: from, address }) => {
    const end = query.indexOf(0, 12) + 5;
    const isV4 = query.readUInt16BE(end - 4) === 1;
    const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 127, 0, 0, 9]);
    const head = Buffer.from([...query.subarray(0, 2), 0x81, 0x80, 0, 1, 0, isV4 ? 1 : 0, 0, 0, 0, 0]);
    queries.push(() =>
      names.send(Buffer.concat([head, query.subarray(12, end), ...(isV4 ? [answer] : [])]), from, address),
    );
  });
  await once(names.bind(0, '127.0.0.1'), 'listening');
  const slow = createResolve([`127.0.0.1:${names.address().port}`]);
  const found: unknown[] = [];
  for (let n = 0; n < 8; n++) slow(`n${n}.example`, (error, addresses) => found.push(error ?? addresses));
  await promisify(pbkdf2)('a', 'b', 1, 32, 'sha256');
  assert.deepEqual(found, []);
  await eventually(() => queries.length >= 16, 'the questions');
  for (const answer of queries) answer();
  await eventually(() => found.length === 8, 'the answers');
  for (const each of found) assert.deepEqual(each, [{ address: '127.0.0.9', family: 4 }]);
  names.close();
});

test('where private addresses are allowed, an answer is whole, not too large, in time, and no redirect', async () => {
  const whole = await open.fetch(url('/'), LIMITS);
  assert.deepEqual([whole.status, whole.body.length], [200, 1_000]);
  const named = createOutbound({ allowPrivate: true, resolve: resolveTo(['127.0.0.1']) });
  assert.equal((await named.fetch(`http://idp.example:${port}/`, LIMITS)).status, 200);
  const before = asked;
  assert.equal((await open.fetch(url('/redirect'), LIMITS)).status, 302);
  assert.equal(asked, before + 1);
  await assert.rejects(open.fetch(url('/large'), LIMITS), { message: 'answers more than 1000 bytes' });
  await assert.rejects(open.fetch(url('/slow'), { ...LIMITS, timeoutMs: 100 }), {
    message: 'has not answered within 100 ms',
  });
  await assert.rejects(open.fetch('http://127.0.0.1:1/', LIMITS), { message: 'is out of reach' });
  const never = createOutbound({ allowPrivate: true, resolve: () => {} });
  await assert.rejects(never.fetch('http://idp.example/', { ...LIMITS, timeoutMs: 100 }), {
    message: 'has not answered within 100 ms',
  });
});

test('an answer that switches to another protocol is none', async () => {
  const switching = createTcpServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.write('HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'));
  });
  await once(switching.listen(0, '127.0.0.1'), 'listening');
  const at = (switching.address() as AddressInfo).port;
  const outbound = createOutbound({ allowPrivate: true });
  await assert.rejects(
    outbound.fetch(`http://127.0.0.1:${at}/`, { timeoutMs: 1_000, maxBytes: 1_000 }),
    /ends without an answer/,
  );
  switching.close();
});

test('a connection is kept for the next request where that is wished for, and until it is closed', async () => {
  const connections = new Set<unknown>();
  const onConnection = (socket: unknown): void => void connections.add(socket);
  server.on('connection', onConnection);
  const keeping = createOutbound({ allowPrivate: true, keepAliveMs: 5_000 });
  for (let n = 0; n < 3; n++) await keeping.fetch(url('/'), LIMITS);
  assert.equal(connections.size, 1);
  keeping.close();
  await keeping.fetch(url('/'), LIMITS);
  assert.equal(connections.size, 2);
  keeping.close();
  for (let n = 0; n < 2; n++) await open.fetch(url('/'), LIMITS);
  assert.equal(connections.size, 4);
  server.off('connection', onConnection);
});

test('an answer that nobody waits for any longer is given up', async () => {
  const leaving = new AbortController();
  const answer = open.fetch(url('/slow'), { ...LIMITS, signal: leaving.signal });
  leaving.abort();
  await assert.rejects(answer, { name: 'OutboundError', message: 'is not waited for any longer' });
  await assert.rejects(open.fetch(url('/'), { ...LIMITS, signal: leaving.signal }), OutboundError);
});
