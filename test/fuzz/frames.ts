// Frames of all sorts on sockets, and what the service may send back: the documented shapes, and no others.

import assert from 'node:assert/strict';
import { Ajv2020 } from 'ajv/dist/2020.js';
import fc, { type Arbitrary } from 'fast-check';
import { closeCodes, errorCodes } from '../../src/errors.ts';
import type { Client, Json, Tenant } from '../harness.ts';
import { bytesOf, changed, odd, toText } from './changes.ts';
import { valueOf } from './values.ts';

const text = { type: 'string', minLength: 1, maxLength: 128 };
const address = {
  type: 'object',
  properties: { uid: text, userId: text, imId: text },
  maxProperties: 1,
};
const push = { type: 'object', properties: { title: { type: 'string' }, body: { type: 'string' } } };
const frameOf = (type: string, properties: object, required: string[]) => ({
  type: 'object',
  properties: { type: { const: type }, ...properties },
  required: ['type', ...required],
  additionalProperties: false,
});
const messageId = { type: 'string', pattern: '^[\\da-f]{8}(-[\\da-f]{4}){3}-[\\da-f]{12}$' };
/** What a client may send. */
const CLIENT_FRAMES = [
  frameOf('send', { id: text, to: address, content: {}, push }, ['id', 'to', 'content']),
  frameOf('ack', { seq: { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER } }, ['seq']),
  frameOf('state', { state: { enum: ['foreground', 'background'] } }, ['state']),
  frameOf('token', { token: { type: 'string', maxLength: 100 } }, ['token']),
  frameOf(
    'read',
    { with: { ...address, properties: { ...address.properties, system: { const: true } } }, messageId },
    ['with', 'messageId'],
  ),
  frameOf('recall', { id: text, messageId }, ['id', 'messageId']),
  frameOf('typing', { to: address }, ['to']),
  frameOf('watch', { users: { type: 'array', items: address, maxItems: 5 } }, ['users']),
  frameOf('ping', {}, []),
];

const seq = { type: 'integer', minimum: 0 };
const uuid = messageId;
const at = { type: 'string', pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$' };
const party = {
  type: 'object',
  properties: { imId: text, uid: text, userId: text, erased: { const: true }, system: { const: true } },
  minProperties: 1,
  additionalProperties: false,
};
const welcome = {
  connectionId: { type: 'string' },
  me: { type: 'object' },
  device: { type: 'string' },
  epoch: { type: 'string' },
  seq,
  acked: seq,
  resumed: { type: 'boolean' },
};
const recalled = { seq, messageId: uuid, from: party, to: party, at };
const message = { ...recalled, content: {} };
const presence = { user: party, online: { type: 'boolean' }, lastSeenAt: at };
const error = {
  id: { type: 'string' },
  code: { enum: Object.keys(errorCodes) },
  detail: { type: 'string', minLength: 1 },
};
/** What the service may send. */
const SERVICE_FRAMES = [
  frameOf('welcome', welcome, Object.keys(welcome)),
  frameOf('sent', { id: text, messageId: uuid, seq, at }, ['id', 'messageId', 'seq', 'at']),
  frameOf('message', { ...message, recalled: { const: true } }, Object.keys(message)),
  frameOf('recalled', recalled, Object.keys(recalled)),
  frameOf('skip', { seq }, ['seq']),
  frameOf('read', { with: party, from: party, messageId: uuid, at }, ['with', 'from', 'messageId', 'at']),
  frameOf('typing', { from: party }, ['from']),
  frameOf('presence', presence, ['user', 'online']),
  frameOf('error', error, ['code', 'detail']),
  frameOf('pong', {}, []),
];

const isOfService = new Ajv2020({ strict: false }).compile({ oneOf: SERVICE_FRAMES });
/** Of the service's table, and those of the WebSocket itself for what is none (RFC 6455 section 7.4.1). */
const CLOSE_CODES = new Set([...Object.values(closeCodes).map((each) => each.code), 1002, 1007, 1009]);

const valid = fc.oneof(
  ...[CLIENT_FRAMES[0], ...CLIENT_FRAMES].map((schema) =>
    valueOf(schema, (each) => each, {
      uid: ['bob', 'reader'],
      userId: ['bob'],
      imId: ['1:bob'],
      messageId: ['00000000-0000-7000-8000-000000000000'],
    }),
  ),
);

interface Sent {
  data: Buffer;
  isBinary: boolean;
}

/** As they should be, with something wrong in them, or nothing like a frame. */
const frame: Arbitrary<Sent> = fc.oneof(
  { weight: 30, arbitrary: textual(valid.map((value) => Buffer.from(toText(value)))) },
  { weight: 60, arbitrary: textual(bytesOf(changed(valid))) },
  { weight: 15, arbitrary: textual(bytesOf(odd.map(toText))) },
  {
    weight: 2,
    arbitrary: textual(fc.constantFrom(130_000, 1_000_000, 2_100_000).map((size) => Buffer.alloc(size, '['))),
  },
  {
    weight: 3,
    arbitrary: fc.uint8Array({ maxLength: 64 }).map((data) => ({ data: Buffer.from(data), isBinary: true })),
  },
);

function textual(data: Arbitrary<Buffer>): Arbitrary<Sent> {
  return data.map((each) => ({ data: each, isBinary: false }));
}

export interface FrameCounts {
  frames: number;
  errors: number;
  sent: number;
  closes: number;
}

/** Each run is a connection of its own, and one more whenever a frame has closed it. */
export async function fuzzFrames(app: Tenant, seed: number, numRuns: number): Promise<FrameCounts> {
  const counts: FrameCounts = { frames: 0, errors: 0, sent: 0, closes: 0 };
  const bystander = await app.connect({ uid: 'bystander' });
  await fc.assert(
    fc.asyncProperty(fc.array(frame, { minLength: 5, maxLength: 20 }), async (frames) => {
      let client = await app.connect({ uid: 'bob' });
      try {
        for (const [n, each] of frames.entries()) {
          counts.frames += 1;
          if (await exchange(client, each, n, counts)) continue;
          counts.closes += 1;
          client.frames.forEach(assertOfService);
          client = await app.connect({ uid: 'bob' });
        }
      } finally {
        if (!client.closed) await client.close();
      }
      client.frames.forEach(assertOfService);
    }),
    { seed, numRuns, endOnFailure: true },
  );
  assert.equal((await bystander.say({ uid: 'reader' }, 1)).type, 'sent');
  assert.equal(bystander.closed, undefined);
  bystander.frames.forEach(assertOfService);
  return counts;
}

/** Sends a frame, and one behind it whose answer says that this one has been dealt with; whether it is still open. */
async function exchange(client: Client, { data, isBinary }: Sent, n: number, counts: FrameCounts) {
  const from = client.frames.length;
  client.socket.send(data, { binary: isBinary });
  const marker = `marker ${n}`;
  client.send({ type: 'send', id: marker, to: { uid: 'reader' }, content: n });
  try {
    await client.wait((each) => each.id === marker, from);
    // A send to somebody else may be answered later than the one behind it.
    const id = idOf(data);
    if (id !== undefined) await client.wait((each) => each.id === id, from);
  } catch (failure) {
    if (!client.closed) throw failure;
    assert.ok(CLOSE_CODES.has(client.closed.code), `closed with ${client.closed.code}`);
    return false;
  }
  const answers = client.frames
    .slice(from)
    .filter((each) => ['error', 'sent', 'pong'].includes(each.type) && each.id !== marker);
  counts.errors += answers.filter((each) => each.type === 'error').length;
  counts.sent += answers.filter((each) => each.type === 'sent').length;
  assertAnswered(data, answers);
  return true;
}

function assertAnswered(data: Buffer, answers: Json[]): void {
  const value = parse(data);
  const shown = `${data.subarray(0, 500).toString('latin1')} got ${JSON.stringify(answers)}`;
  assert.ok(answers.length <= 1, shown);
  const [answer] = answers;
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  const id: unknown = isObject ? value.id : undefined;
  if (typeof id === 'string' && id.length <= 128 && answer) assert.equal(answer.id, id, shown);
  if (isObject && UNANSWERED.has(value.type) && !answer) return;
  // All else is answered, and what isn't a send with nothing but an error, as no message is ever known here.
  assert.ok(answer, shown);
  const isPing = isObject && value.type === 'ping' && answer.type === 'pong';
  if (!isPing && (!isObject || value.type !== 'send')) assert.equal(answer.type, 'error', shown);
}

/** Where nothing is wrong. */
const UNANSWERED = new Set(['ack', 'state', 'read', 'typing', 'watch']);

/** Of a send that has one by which it can be answered. */
function idOf(data: Buffer): string | undefined {
  const value = parse(data);
  return value?.type === 'send' && typeof value.id === 'string' && value.id.length <= 128
    ? value.id
    : undefined;
}

function parse(data: Buffer): Json {
  try {
    return JSON.parse(data.toString());
  } catch {
    return undefined;
  }
}

function assertOfService(shown: Json): void {
  assert.ok(isOfService(shown), `${JSON.stringify(shown).slice(0, 500)} has no documented shape`);
}
