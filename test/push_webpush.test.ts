// The adapter of Web Push against a push service that verifies and decrypts by the RFCs.

import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { createOutbound, type Outbound } from '../src/outbound.ts';
import { parseSubscription } from '../src/push/subscription.ts';
import { createWebPushKeys } from '../src/push/vapid.ts';
import { createWebPush, type WebPushOptions } from '../src/push/webpush.ts';
import { notificationOf, testsOfContract } from './push/contract.ts';
import { createBrowser, startPushService } from './push/webpush_stand_in.ts';

const credentials = { ...createWebPushKeys(), subject: 'mailto:push@customer.example' };
const open = createOutbound({ allowPrivate: true });

async function setUp(t: TestContext, options: Partial<WebPushOptions> & { outbound?: Outbound } = {}) {
  let now = new Date();
  const service = await startPushService(t, credentials.publicKey, () => now);
  const provider = createWebPush(credentials, {
    now: () => now,
    outbound: open,
    timeoutMs: 500,
    pushServices: ['127.0.0.1'],
    ...options,
  });
  t.after(() => provider.close());
  const token = JSON.stringify(service.browser.subscription);
  return {
    service,
    provider,
    target: { token, environment: 'production' } as const,
    pass: (hours: number) => void (now = new Date(now.getTime() + hours * 3_600_000)),
    conduct: service.conduct,
    taken: () => service.payloads,
  };
}

testsOfContract('Web Push', setUp);

test('the stand-in decrypts the example of RFC 8291', () => {
  const bytes = (text: string) => Buffer.from(text, 'base64url');
  const browser = createBrowser('', {
    auth: bytes('BTBZMqHH6r4Tts7J_aSIgg'),
    privateKey: bytes('q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94'),
  });
  const body = bytes(
    'DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A' +
      '_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN',
  );
  assert.equal(browser.decrypt(body), 'When I grow up, I want to be a watermelon');
});

test('the service worker gets the notification, and the push service learns no more than it needs', async (t) => {
  const { service, provider, target } = await setUp(t);
  const notification = notificationOf({ badge: 2, collapseId: 'c_1-A', ttlSeconds: 9_999_999 });
  assert.deepEqual(await provider.send(notification, target), { kind: 'sent' });
  const { ttlSeconds: _ttl, priority: _priority, ...expected } = notification;
  assert.deepEqual(JSON.parse(service.payloads[0]!), expected);
  const { headers } = service.asked[0]!;
  assert.deepEqual([headers.ttl, headers['urgency']], ['2592000', 'high']);
  assert.match(headers['topic'] as string, /^[\w-]{32}$/);
  await provider.send(notificationOf({ collapseId: 'c_2', priority: 'normal', ttlSeconds: 0 }), target);
  const second = service.asked[1]!.headers;
  assert.deepEqual([second.ttl, second['urgency']], ['0', 'normal']);
  assert.notEqual(second['topic'], headers['topic']);
  await provider.send(notificationOf(), target);
  assert.equal(service.asked[2]!.headers['topic'], undefined);
});

test('a push service is shown the same signature for an hour', async (t) => {
  const { service, provider, target, pass } = await setUp(t);
  for (const hours of [0, 0.9, 0.2, 1.1]) {
    pass(hours);
    assert.equal((await provider.send(notificationOf(), target)).kind, 'sent');
  }
  assert.equal(new Set(service.asked.map(({ headers }) => headers.authorization)).size, 3);
});

test('an endpoint at a private address is never asked, whatever its name resolves to', async (t) => {
  const guarded = createOutbound({
    allowPrivate: false,
    resolve: (_hostname, done) => done(null, [{ address: '127.0.0.1', family: 4 }]),
  });
  const { service, provider, target } = await setUp(t, { outbound: guarded });
  const { port } = new URL(service.url);
  const sendTo = (endpoint: string) =>
    provider.send(notificationOf(), {
      ...target,
      token: JSON.stringify({ ...service.browser.subscription, endpoint }),
    });
  for (const endpoint of [
    `https://127.0.0.1:${port}/`,
    'https://169.254.169.254/',
    'https://[::1]/',
    service.url,
    'x',
  ])
    assert.partialDeepStrictEqual(await sendTo(endpoint), { kind: 'failed', isCredential: false }, endpoint);
  const rebound = await sendTo(`https://push.example:${port}/push/abc`);
  assert.ok('reason' in rebound && rebound.reason.includes('private or reserved address'));
  assert.equal(service.connections(), 0);
});

test('a subscription that is none is refused, in words that tell nothing of what it holds', async (t) => {
  const { service, provider } = await setUp(t);
  const { endpoint, keys } = service.browser.subscription;
  const good = { endpoint, keys };
  assert.deepEqual(parseSubscription(JSON.stringify(good)), good);
  assert.deepEqual(parseSubscription(JSON.stringify({ ...good, expirationTime: null, other: 1 })), good);
  const offCurve = Buffer.from(keys.p256dh, 'base64url').fill(7, 1).toString('base64url');
  const bad: [unknown, RegExp][] = [
    ['abc', /as JSON/],
    [null, /as JSON/],
    [[], /as JSON/],
    [{ keys }, /as JSON/],
    [{ endpoint, keys: null }, /as JSON/],
    [{ endpoint, keys: { ...keys, auth: 'short' } }, /keys\.auth/],
    [{ endpoint, keys: { auth: keys.auth } }, /keys\.p256dh/],
    [{ endpoint, keys: { ...keys, p256dh: keys.p256dh.slice(0, 40) } }, /keys\.p256dh/],
    [{ endpoint, keys: { ...keys, p256dh: offCurve } }, /keys\.p256dh/],
    [{ endpoint: `${endpoint}${'x'.repeat(5_000)}`, keys }, /4096 characters/],
  ];
  for (const [value, fault] of bad) {
    const token = typeof value === 'string' ? value : JSON.stringify(value);
    const outcome = await provider.send(notificationOf(), { token, environment: 'production' });
    assert.ok(outcome.kind === 'failed' && !outcome.isCredential);
    assert.match(outcome.reason, fault);
  }
  assert.equal(service.asked.length, 0);
});

test('only a push service itself, and only of all it is sent, is believed that the keys are bad', async (t) => {
  const { service, provider, target } = await setUp(t, { pushServices: ['push.example', '27.0.0.1'] });
  service.conduct('credential refused');
  assert.partialDeepStrictEqual(await provider.send(notificationOf(), target), {
    kind: 'failed',
    isCredential: false,
  });
  const believing = await setUp(t);
  for (const body of ['', { reason: 'VapidPkHashMismatch' }, 'the key in the JWT does not correspond'])
    for (const status of [401, 403]) {
      believing.conduct({ status, body });
      assert.partialDeepStrictEqual(await believing.provider.send(notificationOf(), believing.target), {
        kind: 'failed',
        isCredential: false,
      });
    }
});

test('each answer of a push service comes to what RFC 8030 says of it', async (t) => {
  const { service, provider, target } = await setUp(t);
  const later = new Date(Date.now() + 90_000).toUTCString();
  const cases: [number, Record<string, string>, object][] = [
    [200, {}, { kind: 'sent' }],
    [202, {}, { kind: 'sent' }],
    [404, {}, { kind: 'gone' }],
    [400, {}, { kind: 'failed', isCredential: false }],
    [413, {}, { kind: 'failed', reason: 'too_large: the provider takes nothing of this size' }],
    [307, { location: `${service.url}/elsewhere` }, { kind: 'failed', isCredential: false }],
    [500, { 'retry-after': '99999999' }, { kind: 'retry', afterMs: 86_400_000 }],
    [503, { 'retry-after': 'soon' }, { kind: 'retry', afterMs: undefined }],
  ];
  for (const [status, headers, expected] of cases) {
    service.conduct({ status, headers });
    assert.partialDeepStrictEqual(await provider.send(notificationOf(), target), expected, String(status));
  }
  assert.equal(service.asked.length, cases.length);
  service.conduct({ status: 429, headers: { 'retry-after': later } });
  const outcome = await provider.send(notificationOf(), target);
  assert.ok(outcome.kind === 'retry' && outcome.afterMs! > 60_000 && outcome.afterMs! <= 90_000);
});

test('keys that are no pair are the fault of the credentials', async () => {
  const options = { now: () => new Date(), outbound: open };
  const token = JSON.stringify(createBrowser('http://127.0.0.1:1/').subscription);
  for (const [changes, fault] of [
    [{ publicKey: createWebPushKeys().publicKey }, 'publicKey must be that of privateKey'],
    [{ privateKey: 'A'.repeat(43) }, 'privateKey must be a private key of P-256 in base64url'],
  ] as const) {
    const provider = createWebPush({ ...credentials, ...changes }, options);
    assert.equal(await provider.check(), fault);
    assert.deepEqual(await provider.send(notificationOf(), { token, environment: 'production' }), {
      kind: 'failed',
      reason: `credential: ${fault}`,
      isCredential: true,
    });
  }
});
