// The adapter of customers' own senders against one that verifies what it gets.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import { Ajv } from 'ajv';
import { createOutbound, type Outbound } from '../src/outbound.ts';
import { createWebhook, createWebhookSecret, WebhookCredentials } from '../src/push/webhook.ts';
import { notificationOf, testsOfContract } from './push/contract.ts';
import { sign, startWebhook } from './push/webhook_stand_in.ts';

const open = createOutbound({ allowPrivate: true });
const target = { token: 'their-token', environment: 'sandbox' } as const;

async function setUp(
  t: TestContext,
  { outbound = open, known = 0 }: { outbound?: Outbound; known?: number } = {},
) {
  let now = new Date();
  const secrets = [createWebhookSecret(), createWebhookSecret()];
  const webhook = await startWebhook(
    t,
    () => secrets[known]!,
    () => now,
  );
  const provider = createWebhook(
    { url: webhook.hook, secrets },
    { now: () => now, outbound, timeoutMs: 500 },
  );
  t.after(() => provider.close());
  return {
    webhook,
    provider,
    target,
    pass: (seconds: number) => void (now = new Date(now.getTime() + seconds * 1_000)),
    conduct: webhook.conduct,
    taken: () => webhook.events.map(String),
  };
}

testsOfContract('The webhook', setUp, { readsAnswers: false });

test('an answer that goes on without end counts by its status', async (t) => {
  const { provider, conduct } = await setUp(t);
  conduct('endless');
  assert.deepEqual(await provider.send(notificationOf(), target), { kind: 'sent' });
});

test('why a sender is out of reach is said as the system and TLS say it', async (t) => {
  const { webhook } = await setUp(t);
  const { port } = new URL(webhook.url);
  for (const [url, code] of [
    ['http://127.0.0.1:1/', 'ECONNREFUSED'],
    [`https://127.0.0.1:${port}/`, 'ERR_SSL_(WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG)|EPROTO'],
  ] as const) {
    const provider = createWebhook(
      { url, secrets: [createWebhookSecret()] },
      { now: () => new Date(), outbound: open },
    );
    assert.match((await provider.check())!, new RegExp(`^unreachable: .* is out of reach \\((${code})\\)$`));
  }
  const { webhook: silent, provider } = await setUp(t);
  silent.conduct('silent');
  assert.match((await provider.check())!, /has not answered within 500 ms$/);
});

test('the stand-in signs the example of Standard Webhooks as it says', () => {
  const body = Buffer.from('{"test": 2432232314}');
  assert.equal(
    sign('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'msg_p5jXN8AQM9LWM0D4loKWxJek', '1614265330', body),
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
  );
});

test('a sender gets the notification and the device, whichever of the two secrets it knows', async (t) => {
  for (const known of [0, 1]) {
    const { webhook, provider } = await setUp(t, { known });
    const notification = notificationOf({ badge: 1, collapseId: 'c_1' });
    assert.deepEqual(await provider.send(notification, target), { kind: 'sent' });
    assert.deepEqual(webhook.events[0].data, { notification, device: target });
  }
});

test('the id is the same at each try, and another one for another device or purpose', async (t) => {
  const { webhook, provider, pass } = await setUp(t);
  await provider.send(notificationOf(), target);
  pass(86_400);
  await provider.send(notificationOf({ ttlSeconds: 60 }), target);
  await provider.send(notificationOf(), { ...target, token: 'another' });
  await provider.send(notificationOf({ isSilent: true }), target);
  await provider.send(notificationOf({ id: 'another' }), target);
  const ids = webhook.asked.map(({ headers }) => headers['webhook-id']);
  assert.equal(ids[0], ids[1]);
  assert.equal(new Set(ids).size, 4);
  assert.equal(webhook.events.length, 5);
});

test('each answer of a sender comes to what the guide says of it', async (t) => {
  const { webhook, provider } = await setUp(t);
  const cases: [number, Record<string, string>, object][] = [
    [200, {}, { kind: 'sent' }],
    [202, {}, { kind: 'sent' }],
    [301, { location: webhook.hook }, { kind: 'failed', isCredential: false }],
    [400, {}, { kind: 'failed', isCredential: false }],
    [403, {}, { kind: 'failed', isCredential: true }],
    [404, {}, { kind: 'failed', isCredential: false }],
    [413, {}, { kind: 'failed', isCredential: false }],
    [500, {}, { kind: 'retry', afterMs: undefined }],
    [503, { 'retry-after': '120' }, { kind: 'retry', afterMs: 120_000 }],
  ];
  for (const [status, headers, expected] of cases) {
    webhook.conduct({ status, headers });
    assert.partialDeepStrictEqual(await provider.send(notificationOf(), target), expected, String(status));
  }
  assert.equal(webhook.asked.length, cases.length);
  webhook.conduct({ status: 410 });
  assert.match((await provider.check())!, /^refused: .*410/);
});

test('a URL at a private address is never asked', async (t) => {
  const { webhook, provider } = await setUp(t, { outbound: createOutbound({ allowPrivate: false }) });
  assert.partialDeepStrictEqual(await provider.send(notificationOf(), target), {
    kind: 'failed',
    isCredential: true,
  });
  assert.match((await provider.check())!, /^credential: the URL must begin with https/);
  assert.equal(webhook.connections(), 0);
});

test('a secret is 24 to 64 bytes, and those made here are', () => {
  const isGood = new Ajv({ strict: false }).compile(WebhookCredentials);
  const isSecret = (secret: string) => isGood({ url: 'https://a.example/', secrets: [secret] });
  const ofBytes = (bytes: number) => `whsec_${randomBytes(bytes).toString('base64')}`;
  for (let bytes = 20; bytes < 70; bytes++)
    assert.equal(isSecret(ofBytes(bytes)), bytes >= 24 && bytes <= 64, String(bytes));
  assert.ok(isSecret(createWebhookSecret()));
  for (const bad of ['', 'whsec_', `whpk_${'A'.repeat(44)}`, `${ofBytes(32)}=`, `${ofBytes(32)}\n`])
    assert.ok(!isSecret(bad), bad);
});
