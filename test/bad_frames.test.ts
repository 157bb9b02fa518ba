// A bad frame costs one error frame or its own socket, never more.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { startService, type Client, type Service, type Tenant } from './harness.ts';

let service: Service;
let app: Tenant;
let bystander: Client;
before(async () => {
  service = await startService();
  app = await service.createApp();
  bystander = await app.connect({ uid: 'bystander' });
});

async function assertUnharmed(): Promise<void> {
  assert.equal((await bystander.say({ uid: 'x' }, 1)).type, 'sent');
}

const errors: [what: string, frame: unknown, detail: RegExp, id?: string][] = [
  ['not JSON', '{"type":', /not JSON/],
  ['empty', '', /not JSON/],
  ['null', 'null', /not a JSON object/],
  ['an array', '[]', /not a JSON object/],
  ['a number', '7', /not a JSON object/],
  ['a text', '"send"', /not a JSON object/],
  ['no type', {}, /type must be one of/],
  ['an unknown type', { type: 'shout' }, /type must be one of/],
  ['a type that is no text', { type: 5 }, /type must be one of/],
  ['a type from Object.prototype', { type: 'constructor' }, /type must be one of/],
  ['no id', { type: 'send', to: { uid: 'x' }, content: 1 }, /^id is missing/],
  ['no to', { type: 'send', id: 'a', content: 1 }, /^to is missing/, 'a'],
  ['no content', { type: 'send', id: 'a', to: { uid: 'x' } }, /^content is missing/, 'a'],
  [
    'an unknown field',
    { type: 'send', id: 'a', to: { uid: 'x' }, content: 1, from: { uid: 'boss' } },
    /^from is not a known field/,
    'a',
  ],
  [
    'two addresses',
    { type: 'send', id: 'a', to: { uid: 'x', userId: 'y' }, content: 1 },
    /^to must have exactly one of/,
    'a',
  ],
  ['no address', { type: 'send', id: 'a', to: {}, content: 1 }, /^to must have exactly one of/, 'a'],
  [
    'an ill-formed uid',
    { type: 'send', id: 'a', to: { uid: ' x' }, content: 1 },
    /^to\.uid must not begin or end with white space/,
    'a',
  ],
  [
    'an ill-formed imId',
    { type: 'send', id: 'a', to: { imId: 'im_1' }, content: 1 },
    /^to\.imId must be/,
    'a',
  ],
  [
    'a list of recipients',
    { type: 'send', id: 'a', to: [{ uid: 'x' }], content: 1 },
    /^to must be object/,
    'a',
  ],
  ['an ack that is no number', { type: 'ack', seq: '1' }, /^seq must be integer/],
  ['a negative ack', { type: 'ack', seq: -1 }, /^seq must be >= 0/],
  [
    'a state that there is not',
    { type: 'state', state: 'asleep' },
    /^state must be one of foreground, background/,
  ],
  ['a token that is no text', { type: 'token', token: 1 }, /^token must be string/],
];

for (const [what, frame, detail, id] of errors)
  test(`a frame with ${what} gets one error that says why`, async () => {
    const client = await app.connect({ uid: 'bob' });
    client.send(frame);
    const error = await client.wait((answer) => answer.type === 'error');
    assert.equal(error.code, 'invalid_request');
    assert.match(error.detail, detail);
    assert.equal(error.id, id);
    assert.equal((await client.say({ uid: 'x' }, 1)).type, 'sent');
    assert.equal(client.frames.filter((answer) => answer.type === 'error').length, 1);
    await assertUnharmed();
  });

test('content beyond 16 KiB is payload_too_large, and just below it is taken', async () => {
  const client = await app.connect({ uid: 'bob' });
  const fits = 'x'.repeat(16 * 1024 - 2);
  assert.equal((await client.say({ uid: 'x' }, fits)).type, 'sent');
  assert.equal((await client.say({ uid: 'x' }, `${fits}y`)).code, 'payload_too_large');
  assert.equal((await client.say({ uid: 'x' }, 'ü'.repeat(8 * 1024))).code, 'payload_too_large');
});

test('what is too much for a push is payload_too_large, and its message is not stored', async () => {
  const client = await app.connect({ uid: 'bob' });
  const data = Object.fromEntries(['a', 'b', 'c', 'd', 'e'].map((key) => [key, 'x'.repeat(500)]));
  client.send({ type: 'send', id: 'much', to: { uid: 'x' }, content: 1, push: { data } });
  const { code, id, detail } = await client.wait((answer) => answer.type === 'error');
  assert.deepEqual([code, id], ['payload_too_large', 'much']);
  assert.match(detail, /^push\.data is 2536 bytes of JSON; at most 2048 are taken/);
});

test('deep, empty and odd content arrives as it was sent', async () => {
  const client = await app.connect({ uid: 'odd' });
  const contents: unknown[] = [
    null,
    false,
    0,
    '',
    [],
    {},
    { __proto__: null, constructor: { prototype: 1 } },
    '\u0000 \ud800',
    -1.5e-7,
    { '': { '"': '\\' } },
  ];
  const texts = [
    ...contents.map((content) => JSON.stringify(content)),
    '{"__proto__":{"x":1}}',
    `${'['.repeat(99)}${']'.repeat(99)}`,
  ];
  for (const [n, text] of texts.entries())
    client.send(`{"type":"send","id":"n${n}","to":{"uid":"reader"},"content":${text}}`);
  await client.wait((frame) => frame.id === `n${texts.length - 1}`);
  const reader = await app.connect({ uid: 'reader' }, { after: 0 });
  await reader.messages(texts.length);
  assert.deepEqual(
    reader.frames.filter((frame) => frame.type === 'message').map((frame) => JSON.stringify(frame.content)),
    texts,
  );
});

for (const [what, data] of [
  ['a binary frame', Buffer.from('{"type":"ack","seq":0}')],
  [
    'a frame of 1 MiB',
    JSON.stringify({ type: 'send', id: 'a', to: { uid: 'x' }, content: 'x'.repeat(1024 * 1024) }),
  ],
] as const)
  test(`${what} closes its own socket with 4509`, async () => {
    const client = await app.connect({ uid: 'bob' });
    client.send(data);
    assert.equal((await client.waitClosed()).code, 4509);
    await assertUnharmed();
  });

test('bytes that are no WebSocket at all end that connection only', async () => {
  const client = await app.connect({ uid: 'bob' });
  const { _socket: raw } = client.socket as unknown as { _socket: { write(data: Buffer): void } };
  raw.write(Buffer.alloc(64, 0xff));
  await client.waitClosed();
  await assertUnharmed();
});

test('a plain GET on the socket’s path is told what to do', async () => {
  const key = await app.token({ uid: 'bob' });
  const answer = await service.call('GET', '/v1/connect', { key });
  assert.deepEqual([answer.status, answer.body.code], [400, 'invalid_request']);
});

test('an ill-formed query is refused at the upgrade, naming the field', async () => {
  const token = await app.token({ uid: 'bob' });
  for (const [query, pointer] of [
    [{ after: -1 }, '#/after'],
    [{ after: 'x' }, '#/after'],
    [{ state: 'asleep' }, '#/state'],
    [{ device: '\u0007' }, '#/device'],
    [{ token: 'x' }, '#/token'],
  ] as [Record<string, string | number>, string][])
    await assert.rejects(service.connect(token, query), (error: any) => {
      assert.deepEqual(
        [error.status, error.body.code, error.body.errors[0].pointer],
        [400, 'invalid_request', pointer],
      );
      return true;
    });
});
