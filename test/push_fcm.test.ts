// The adapter of FCM against a stand-in that takes only what FCM does.

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import { createOutbound } from '../src/outbound.ts';
import { createFcm } from '../src/push/fcm.ts';
import { notificationOf, testsOfContract } from './push/contract.ts';
import { account, fcmError, startFcm, TOKEN_SECONDS } from './push/fcm_stand_in.ts';

const target = { token: 'dev1ce:APA91b-token', environment: 'production' } as const;

async function setUp(t: TestContext, changes: Partial<typeof account> = {}) {
  let now = new Date();
  const fcm = await startFcm(t, () => now);
  const outbound = createOutbound({ allowPrivate: true, keepAliveMs: 5_000 });
  const provider = createFcm(
    { ...account, ...changes },
    { now: () => now, outbound, timeoutMs: 500, endpoint: fcm.url, tokenEndpoint: fcm.google.endpoint },
  );
  t.after(() => {
    outbound.close();
    return provider.close();
  });
  const pass = (seconds: number) => void (now = new Date(now.getTime() + seconds * 1_000));
  return { fcm, provider, target, pass, conduct: fcm.conduct, taken: () => fcm.messages.map(String) };
}

testsOfContract('FCM', setUp);

test('what is shown is said to Android, iOS and the web in the words of each', async (t) => {
  const { fcm, provider } = await setUp(t);
  const outcome = await provider.send(
    notificationOf({ collapseId: 'c_1', badge: 2, ttlSeconds: 9_999_999 }),
    target,
  );
  assert.deepEqual(outcome, { kind: 'sent', providerId: 'projects/chat-1f2e/messages/0:0' });
  const { apns, ...message } = fcm.messages[0];
  assert.deepEqual(message, {
    token: target.token,
    data: { conversation: 'alice' },
    notification: { title: 'Alice', body: 'Lunch? 🍜' },
    android: { priority: 'HIGH', ttl: '2419200s', notification: { tag: 'c_1', notification_count: 2 } },
    webpush: { headers: { TTL: '2419200', Urgency: 'high' }, notification: { tag: 'c_1' } },
  });
  const { 'apns-expiration': expiration, ...headers } = apns.headers;
  assert.deepEqual(headers, { 'apns-push-type': 'alert', 'apns-priority': '10', 'apns-collapse-id': 'c_1' });
  assert.ok(Math.abs(Number(expiration) - Date.now() / 1_000 - 2_419_200) < 60);
  assert.deepEqual(apns.payload, { aps: { badge: 2, sound: 'default' } });
});

test('what is silent is data only, wakes nothing, and uses no more collapse keys than FCM keeps', async (t) => {
  const { fcm, provider } = await setUp(t);
  for (let n = 0; n < 20; n++)
    await provider.send(notificationOf({ isSilent: true, collapseId: `conversation-${n}` }), target);
  await provider.send(notificationOf({ isSilent: true, badge: 0 }), target);
  const [{ notification, android, apns }] = fcm.messages;
  assert.deepEqual(fcm.messages[20].apns.payload, { aps: { badge: 0, 'content-available': 1 } });
  assert.equal(notification, undefined);
  assert.equal(android.priority, 'NORMAL');
  assert.deepEqual(apns.payload, { aps: { 'content-available': 1 } });
  assert.equal(new Set(fcm.messages.slice(0, 20).map((each) => each.android.collapse_key)).size, 4);
});

test('one access token serves until shortly before its end, however many ask for it at once', async (t) => {
  const { fcm, provider, pass } = await setUp(t);
  const send = () => provider.send(notificationOf(), target);
  await Promise.all(Array.from({ length: 20 }, send));
  pass(TOKEN_SECONDS - 61);
  await send();
  assert.equal(fcm.google.asked.length, 1);
  pass(2);
  await Promise.all([send(), send()]);
  assert.equal(fcm.google.asked.length, 2);
  assert.equal(fcm.messages.length, 23);
  assert.ok(fcm.connections() <= 21, 'connections are used again');
});

test('an access token that is refused is replaced once, and a second refusal is the credential', async (t) => {
  const { fcm, provider } = await setUp(t);
  await provider.send(notificationOf(), target);
  fcm.forgetTokens();
  const outcomes = await Promise.all([1, 2, 3].map(() => provider.send(notificationOf(), target)));
  assert.ok(outcomes.every(({ kind }) => kind === 'sent'));
  assert.equal(fcm.google.asked.length, 2);
  const before = fcm.asked.length;
  fcm.conduct(fcmError(401, 'UNAUTHENTICATED'));
  assert.partialDeepStrictEqual(await provider.send(notificationOf(), target), {
    kind: 'failed',
    isCredential: true,
  });
  assert.equal(fcm.asked.length, before + 2);
});

test('the token endpoint may refuse, throttle, break down and answer nonsense', async (t) => {
  const { fcm, provider } = await setUp(t);
  const send = () => provider.send(notificationOf(), target);
  fcm.google.conduct({
    status: 400,
    body: { error: 'invalid_grant', error_description: 'Invalid JWT Signature.' },
  });
  assert.match(
    (await provider.check())!,
    /^credential: Google refuses the service account \(invalid_grant\)/,
  );
  assert.partialDeepStrictEqual(await send(), { kind: 'failed', isCredential: true });
  fcm.google.conduct({ status: 429, headers: { 'retry-after': '5' } });
  assert.partialDeepStrictEqual(await send(), { kind: 'retry', afterMs: 5_000 });
  fcm.google.conduct({ status: 503 });
  assert.partialDeepStrictEqual(await send(), { kind: 'retry' });
  for (const body of [
    '<html>',
    {},
    { access_token: 'a\nb', expires_in: 60 },
    { access_token: 'a', expires_in: 'x' },
  ]) {
    fcm.google.conduct({ status: 200, body });
    const outcome = await send();
    assert.ok(outcome.kind === 'retry' && outcome.reason.startsWith('malformed: '));
  }
  fcm.google.conduct('accept');
  assert.equal((await send()).kind, 'sent');
});

test('a key that signs nothing is the credential, and nothing is asked', async (t) => {
  const short = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
  for (const key of [short.export({ type: 'pkcs8', format: 'pem' }), '-----BEGIN PRIVATE KEY-----\nx']) {
    const { fcm, provider } = await setUp(t, { private_key: key });
    assert.match((await provider.check())!, /^credential: private_key must be an RSA key/);
    assert.equal(fcm.google.asked.length + fcm.asked.length, 0);
  }
});

test('where tokens come from is not said by the credentials', async (t) => {
  const { provider } = await setUp(t, { token_uri: 'http://127.0.0.1:1/' } as object);
  assert.equal(await provider.check(), undefined);
});

test('an error that makes no sense is refused or tried again, and nothing is thrown', async (t) => {
  const { fcm, provider } = await setUp(t);
  const violations = { '@type': 'type.googleapis.com/google.rpc.BadRequest', fieldViolations: [null, 1, {}] };
  const bodies: (object | string)[] = ['null', '[]', '"a"', { error: null }, { error: 'a' }, { error: [] }];
  for (const details of [null, 'a', {}, [null, 1, 'a', []], [violations]])
    for (const status of ['INVALID_ARGUMENT', 'constructor', null, {}])
      bodies.push({ error: { status, details, message: {} } });
  for (const status of [200, 400, 404, 500])
    for (const body of bodies) {
      fcm.conduct({ status, body });
      const outcome = await provider.send(notificationOf(), target);
      assert.ok(outcome.kind === 'retry' || (outcome.kind === 'failed' && !outcome.isCredential));
    }
});

test('tokens of another project are dropped only where the service account is known to be of the right one', async (t) => {
  const { fcm, provider } = await setUp(t);
  const send = async () => (await provider.send(notificationOf(), target)).kind;
  assert.equal(await provider.check(), undefined);
  fcm.conduct(fcmError(403, 'PERMISSION_DENIED', { fcm: 'SENDER_ID_MISMATCH' }));
  assert.equal(await send(), 'failed');
  fcm.conduct('accept');
  assert.equal(await send(), 'sent');
  fcm.conduct(fcmError(403, 'PERMISSION_DENIED', { fcm: 'SENDER_ID_MISMATCH' }));
  assert.equal(await send(), 'gone');
});

test("each of FCM's errors comes to what it asks for, and only a token that is surely dead is dropped", async (t) => {
  const { fcm, provider } = await setUp(t);
  const invalid = (more: object) => fcmError(400, 'INVALID_ARGUMENT', { fcm: 'INVALID_ARGUMENT', ...more });
  const cases: [ReturnType<typeof fcmError> & { headers?: Record<string, string> }, object, RegExp?][] = [
    [fcmError(404, 'NOT_FOUND', { fcm: 'UNREGISTERED' }), { kind: 'gone' }],
    [fcmError(404, 'NOT_FOUND'), { kind: 'failed', isCredential: false }, /^unknown_project: .*project_id/],
    [invalid({ field: 'message.token' }), { kind: 'gone' }],
    [invalid({ message: 'The registration token is not a valid FCM registration token' }), { kind: 'gone' }],
    [
      invalid({ field: 'message.data' }),
      { kind: 'failed', isCredential: false },
      /^refused: .*message\.data/,
    ],
    [
      invalid({ message: 'Android message is too big' }),
      { kind: 'failed', isCredential: false },
      /^too_large: /,
    ],
    [invalid({}), { kind: 'failed', isCredential: false }, /^refused: /],
    [
      fcmError(403, 'PERMISSION_DENIED', { fcm: 'SENDER_ID_MISMATCH' }),
      { kind: 'failed', isCredential: false },
      /^wrong_app: /,
    ],
    [fcmError(403, 'PERMISSION_DENIED'), { kind: 'failed', isCredential: true }, /^credential: /],
    [
      fcmError(401, 'UNAUTHENTICATED', { fcm: 'THIRD_PARTY_AUTH_ERROR' }),
      { kind: 'failed', isCredential: false },
      /^upstream_credential: /,
    ],
    [
      fcmError(429, 'RESOURCE_EXHAUSTED', { fcm: 'QUOTA_EXCEEDED' }),
      { kind: 'retry', afterMs: 60_000 },
      /^throttled: /,
    ],
    [
      fcmError(503, 'UNAVAILABLE', { fcm: 'UNAVAILABLE' }),
      { kind: 'retry', afterMs: undefined },
      /^unavailable: /,
    ],
    [
      { ...fcmError(503, 'UNAVAILABLE', { fcm: 'UNAVAILABLE' }), headers: { 'retry-after': '30' } },
      { kind: 'retry', afterMs: 30_000 },
    ],
    [fcmError(500, 'INTERNAL', { fcm: 'INTERNAL' }), { kind: 'retry' }, /^unavailable: /],
    [fcmError(418, 'TEAPOT', { fcm: 'NEW_CODE' }), { kind: 'failed', isCredential: false }, /^refused: /],
  ];
  for (const [answer, expected, reason] of cases) {
    fcm.conduct(answer);
    const outcome = await provider.send(notificationOf(), target);
    assert.partialDeepStrictEqual(outcome, expected, JSON.stringify(answer));
    if (reason) assert.match('reason' in outcome ? outcome.reason : '', reason);
  }
});
