// A push is one worker's for as long as its lease: so no provider goes on with what took long before it is asked, or asked again.

import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { createAccessTokens } from '../src/push/access_tokens.ts';
import { apnsStage, target } from './push/apns_stage.ts';
import { refuseWith } from './push/apns_stand_in.ts';
import { notificationOf } from './push/contract.ts';

/** Time passes by what is said only. */
function mockTime(t: TestContext): (ms: number) => void {
  let nowMs = performance.now();
  t.mock.method(performance, 'now', () => nowMs);
  return (ms) => void (nowMs += ms);
}

function createVendor(pass: (ms: number) => void, tookMs: { token: number; send: number }) {
  const asked: string[] = [];
  const tokens = createAccessTokens({
    name: 'The vendor',
    now: () => new Date(),
    async fetch() {
      asked.push('token');
      pass(tookMs.token);
      return { token: 'abc', lifeSeconds: 3_600 };
    },
  });
  const send = () =>
    tokens.use(async () => {
      asked.push('send');
      pass(tookMs.send);
      return asked.length < 3 ? 'renew' : { kind: 'sent' };
    });
  return { asked, send };
}

test('a token that took long is kept for the next try', async (t) => {
  const { asked, send } = createVendor(mockTime(t), { token: 3_000, send: 0 });
  const late = await send();
  assert.ok(late.kind === 'retry' && late.reason.startsWith('timeout: '));
  assert.deepEqual(asked, ['token']);
  asked.push('the next try');
  assert.deepEqual(await send(), { kind: 'sent' });
  assert.deepEqual(asked, ['token', 'the next try', 'send']);
});

test('a token that is refused after long is replaced at the next try', async (t) => {
  const { asked, send } = createVendor(mockTime(t), { token: 0, send: 3_000 });
  assert.equal((await send()).kind, 'retry');
  assert.deepEqual(asked, ['token', 'send']);
  assert.deepEqual(await send(), { kind: 'sent' });
  assert.deepEqual(asked, ['token', 'send', 'token', 'send']);
});

for (const reason of ['UnrelatedKeyIdInToken', 'ExpiredProviderToken'])
  test(`APNs is not asked again at once after a ${reason} that took long`, async (t) => {
    const pass = mockTime(t);
    const { provider, production, clock } = await apnsStage(t);
    const refuse = refuseWith(403, reason);
    production.act((...request) => {
      pass(3_000);
      refuse(...request);
    }, undefined);
    const outcome = await provider.send(notificationOf(), target);
    assert.ok(outcome.kind === 'retry' && outcome.reason.startsWith('timeout: '));
    assert.equal(production.asked(), 1);
    clock.forward(1);
    assert.equal((await provider.send(notificationOf(), target)).kind, 'sent');
  });
