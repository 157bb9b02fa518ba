// What an app asks the client library for wrongly: told at once, by the name of what is wrong.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClient } from '../src/client/index.ts';

const create = (options: object) =>
  createClient({ url: 'https://imid.example', getToken: () => Promise.resolve(null), ...options });

test('an option that makes no sense is named', () => {
  for (const [name, ...values] of [
    [
      'url',
      undefined,
      '',
      'localhost:8080',
      'imid.example',
      'wss://imid.example',
      'https://imid.example/?a=b',
    ],
    ['getToken', undefined, 'ey.to.ken'],
    ['deviceId', '', 5, 'x'.repeat(129)],
    ['from', 'the beginning'],
    ['sendsPerSecond', 0, 0.5, NaN, '5'],
    ['timeoutMs', -1, 0, Infinity, 2 ** 31],
    ['silenceMs', 0],
  ] as const)
    for (const value of values)
      assert.throws(
        () => create({ [name]: value }),
        { name: 'ImidError', code: 'invalid_request', message: new RegExp(`^${name} `) },
        `${name}: ${String(value)}`,
      );
  assert.throws(() => create({ backoff: { baseMs: 0 } }), { message: /^backoff.baseMs / });
  assert.throws(() => create({ backoff: { maxMs: NaN } }), { message: /^backoff.maxMs / });
  assert.equal(create({ url: 'http://localhost:8080/' }).state, 'closed');
});

test('an id that the service would not know again is refused before it waits in the outbox', async () => {
  const client = create({});
  for (const id of ['', 'x'.repeat(129), 81 as never])
    await assert.rejects(client.send({ uid: 'bob' }, 'x', { id }), {
      code: 'invalid_request',
      message: /^id /,
    });
  assert.deepEqual(client.outbox, []);
});
