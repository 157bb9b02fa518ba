// APNs: what is sent to Apple, and what comes of each of its answers.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Outcome } from '../src/push/contract.ts';
import { actOf, apnsStage, credentials, sandboxTarget, target } from './push/apns_stage.ts';
import { refuseWith, reply } from './push/apns_stand_in.ts';
import { notificationOf, reasonOf, testsOfContract } from './push/contract.ts';

testsOfContract('APNs', async (t) => {
  const { provider, production, sandbox } = await apnsStage(t, { timeoutMs: 300 });
  return {
    provider,
    target,
    conduct: (conduct) => {
      for (const apns of [production, sandbox]) apns.act(actOf(conduct, apns));
    },
    taken: () => production.taken.map(({ headers }) => String(headers['apns-id'])),
  };
});

const MINUTE = 60_000;
const retry = (code: string, afterMs?: number) => ({ kind: 'retry', code, afterMs });
const gone = { kind: 'gone' };
const credential = { kind: 'failed', code: 'credential', isCredential: true };
const failed = (code: string) => ({ kind: 'failed', code, isCredential: false });

/** Apple's table. */
const reasons: [status: number, reason: string, outcome: object][] = [
  [410, 'Unregistered', gone],
  [410, 'ExpiredToken', gone],
  [400, 'BadDeviceToken', gone],
  [400, 'DeviceTokenNotForTopic', failed('wrong_app')],
  [403, 'ExpiredProviderToken', retry('clock', 20 * MINUTE)],
  [429, 'TooManyProviderTokenUpdates', retry('throttled', 20 * MINUTE)],
  [429, 'TooManyRequests', retry('throttled')],
  [403, 'InvalidProviderToken', credential],
  [403, 'MissingProviderToken', credential],
  [403, 'Forbidden', credential],
  [403, 'BadCertificate', credential],
  [403, 'BadCertificateEnvironment', credential],
  [403, 'BadEnvironmentKeyIdInToken', credential],
  [403, 'UnrelatedKeyIdInToken', credential],
  [400, 'BadTopic', credential],
  [400, 'MissingTopic', credential],
  [400, 'TopicDisallowed', credential],
  [500, 'InternalServerError', retry('unavailable', 15 * MINUTE)],
  [503, 'ServiceUnavailable', retry('unavailable', 15 * MINUTE)],
  [503, 'Shutdown', retry('unavailable')],
  [400, 'IdleTimeout', retry('unavailable')],
  [400, 'BadCollapseId', failed('refused')],
  [400, 'BadExpirationDate', failed('refused')],
  [400, 'BadMessageId', failed('refused')],
  [400, 'BadPriority', failed('refused')],
  [400, 'DuplicateHeaders', failed('refused')],
  [400, 'InvalidPushType', failed('refused')],
  [400, 'MissingDeviceToken', failed('refused')],
  [400, 'PayloadEmpty', failed('refused')],
  [404, 'BadPath', failed('refused')],
  [405, 'MethodNotAllowed', failed('refused')],
  [413, 'PayloadTooLarge', failed('too_large')],
  // Of none of these says Apple anything: nothing is dropped for them.
  [410, 'Moved', failed('refused')],
  [400, 'Unregistered', failed('refused')],
  [403, 'BadDeviceToken', credential],
  [429, 'Whatever', retry('throttled')],
  [599, 'Whatever', retry('unavailable')],
  [400, 'constructor', failed('refused')],
  [400, 'a reason with blanks', retry('malformed')],
];

function shown(outcome: Outcome): object {
  if (!('reason' in outcome)) return { kind: outcome.kind };
  const { reason, ...rest } = outcome;
  return { ...rest, code: reasonOf(outcome, target).slice(0, reason.indexOf(':')) };
}

test('each reason that Apple gives comes to what Apple says of it', async (t) => {
  const { provider, production } = await apnsStage(t);
  for (const [status, reason, outcome] of reasons) {
    production.act(refuseWith(status, reason));
    assert.deepEqual(shown(await provider.send(notificationOf(), target)), outcome, reason);
  }
});

test('a token is gone since when Apple says, if it says so in a way that can be', async (t) => {
  const { provider, production } = await apnsStage(t);
  const since = new Date('2026-02-28T10:00:00.123Z');
  for (const [timestamp, expected] of [
    [since.getTime(), since],
    ['yesterday', undefined],
    [1e300, undefined],
  ] as const) {
    production.act(reply({ status: 410, body: { reason: 'Unregistered', timestamp } }));
    assert.deepEqual(await provider.send(notificationOf(), target), { kind: 'gone', since: expected });
  }
});

test('what is no token of APNs at all is gone, and Apple never sees it', async (t) => {
  const { provider, production } = await apnsStage(t);
  for (const token of ['', 'abc', '../../3/device', `${target.token}?`, 'xy'.repeat(32), 'a'.repeat(1_000)])
    assert.deepEqual(await provider.send(notificationOf(), { ...target, token }), { kind: 'gone' });
  assert.equal(production.opened(), 0);
});

test('a message is an alert at once, with its badge, its data and the time that it may take', async (t) => {
  const { provider, production, clock } = await apnsStage(t);
  const notification = notificationOf({ badge: 3, collapseId: 'c-1', data: { conversation: 'alice' } });
  const outcome = await provider.send(notification, { ...target, token: target.token.toUpperCase() });
  const [{ headers, payload, token } = assert.fail()] = production.taken;
  assert.deepEqual(outcome, { kind: 'sent', providerId: headers['apns-id'] });
  assert.equal(token, target.token);
  assert.equal(headers['apns-push-type'], 'alert');
  assert.equal(headers['apns-priority'], '10');
  assert.equal(headers['apns-topic'], credentials.bundleId);
  assert.equal(headers['apns-collapse-id'], 'c-1');
  assert.equal(headers['apns-expiration'], String(clock.now().getTime() / 1_000 + 3_600));
  assert.deepEqual(payload, {
    conversation: 'alice',
    aps: { alert: { title: 'Alice', body: 'Lunch? 🍜' }, badge: 3, sound: 'default' },
  });
});

test('a second try has the same id, another device another one, and what may wait makes no sound', async (t) => {
  const { provider, production } = await apnsStage(t);
  const calm = notificationOf({ priority: 'normal', ttlSeconds: 0 });
  await provider.send(calm, target);
  await provider.send(calm, target);
  await provider.send(calm, { ...target, token: 'ab'.repeat(32) });
  assert.equal((await provider.send(notificationOf({ ttlSeconds: 1e9 }), target)).kind, 'sent');
  const [first, second, other] = production.taken.map(({ headers }) => headers['apns-id']);
  assert.equal(first, second);
  assert.notEqual(first, other);
  const [{ headers, payload } = assert.fail()] = production.taken;
  assert.equal(headers['apns-priority'], '5');
  assert.equal(headers['apns-expiration'], '0');
  assert.equal(payload['aps'].sound, undefined);
});

test('a silent one wakes the app and shows nothing but the badge, which no background push may change', async (t) => {
  const { provider, production } = await apnsStage(t);
  await provider.send(notificationOf({ isSilent: true }), target);
  await provider.send(notificationOf({ isSilent: true, badge: 0 }), target);
  await provider.send(notificationOf({ title: '', body: undefined }), target);
  const seen = production.taken.map(({ headers, payload }) => [
    headers['apns-push-type'],
    headers['apns-priority'],
    payload['aps'],
  ]);
  assert.deepEqual(seen, [
    ['background', '5', { 'content-available': 1 }],
    ['alert', '5', { badge: 0, 'content-available': 1 }],
    ['background', '5', { 'content-available': 1 }],
  ]);
});

test('each environment has its host, and a key that is good in one of them passes the check', async (t) => {
  const { provider, production, sandbox } = await apnsStage(t);
  assert.equal((await provider.send(notificationOf(), sandboxTarget)).kind, 'sent');
  assert.deepEqual([production.taken.length, sandbox.taken.length], [0, 1]);

  production.act(refuseWith(403, 'BadEnvironmentKeyIdInToken'));
  assert.equal(await provider.check(), undefined);
  sandbox.act(refuseWith(403, 'BadEnvironmentKeyIdInToken'));
  assert.match((await provider.check())!, /^credential: the key is of the other environment/);
});
