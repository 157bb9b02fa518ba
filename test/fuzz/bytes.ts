// Bytes that are nearly HTTP: each connection is answered with something declared by the protocol, or simply ended.

import assert from 'node:assert/strict';
import fc, { type Arbitrary } from 'fast-check';
import { ADMIN_KEY, type Service } from '../harness.ts';
import { createWire } from './wire.ts';

const LINES = [
  'Content-Length: 5',
  'Content-Length: -1',
  'Content-Length: 99999999999999999999',
  'Content-Length: x',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding: chunked, x',
  'Content-Type: application/json',
  'Content-Type: \0',
  'Host:',
  'Host: a b',
  'Expect: nonsense',
  'Upgrade: websocket',
  'Connection: upgrade',
  'Sec-WebSocket-Key: x',
  'X: \x01',
  'X\0: y',
  ' folded: yes',
  ': empty',
  'X-\u00ff: y',
  `X: ${'x'.repeat(17_000)}`,
  ...Array.from({ length: 3 }, (_, n) => `Authorization: Bearer ${n}`),
];
const STARTS = [
  'GET /v1/apps',
  'POST /v1/apps',
  'GET /v1/connect',
  'GET http://elsewhere/v1/apps',
  'OPTIONS *',
  'CONNECT x:1',
];
const VERSIONS = ['HTTP/1.1', 'HTTP/1.0', 'HTTP/2.0', 'HTTP/9.9', 'HTTP', ''];
const BODIES = ['', '{}', '{"name":"a","schemes":["composed"]}', '5\r\n{"a":\r\n0\r\n\r\n', 'zz\r\n', '\0'];

const bytes: Arbitrary<Buffer> = fc
  .record({
    start: fc.constantFrom(...STARTS),
    version: fc.oneof({ weight: 5, arbitrary: fc.constant('HTTP/1.1') }, fc.constantFrom(...VERSIONS)),
    lines: fc.array(fc.constantFrom(...LINES), { maxLength: 4 }),
    body: fc.constantFrom(...BODIES),
    cut: fc.option(fc.nat(200)),
    spoilt: fc.array(fc.tuple(fc.nat(300), fc.nat(255)), { maxLength: 2 }),
  })
  .map(({ start, version, lines, body, cut, spoilt }) => {
    const head = [
      `${start} ${version}`,
      'Host: imid',
      'Connection: close',
      `Authorization: Bearer ${ADMIN_KEY}`,
    ];
    const made = Buffer.from(`${[...head, ...lines].join('\r\n')}\r\n\r\n${body}`, 'latin1');
    for (const [at, byte] of spoilt) made[at % made.length] = byte;
    return made.subarray(0, cut ?? made.length);
  });

/** How many connections got an answer. */
export async function fuzzBytes(service: Service, seed: number, numRuns: number): Promise<number> {
  const wire = createWire(service.url);
  let answered = 0;
  await fc.assert(
    fc.asyncProperty(bytes, async (sent) => {
      const answer = await wire.exchange(sent);
      if (answer === '') return;
      answered += 1;
      assert.match(answer, /^HTTP\/1\.1 [1-4]\d\d /);
      if (!/^HTTP\/1\.1 [1-3]/.test(answer)) assert.match(answer, /application\/problem\+json/i);
    }),
    { seed, numRuns, endOnFailure: true },
  );
  wire.close();
  assert.equal((await service.call('GET', '/readyz')).status, 200);
  return answered;
}
