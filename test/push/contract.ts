// What every push provider promises the queue, as tests that each adapter runs against its own stand-in: an outcome for
// whatever the other side does, never a throw, and never the device's token in what an admin reads.

import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { Notification, Outcome, Provider, Target } from '../../src/push/contract.ts';

/** What a stand-in does with every request from now on, in its provider's own way. */
export type Conduct =
  | 'accept'
  | 'gone'
  | 'throttled'
  /** With `Retry-After: 7`. */
  | 'throttled for 7 s'
  | 'credential refused'
  /** A 5xx that holds no word of what went wrong. */
  | 'broken'
  | 'silent'
  /** The connection breaks off in the midst of the answer. */
  | 'cut'
  /** Not the format that its answers have. */
  | 'nonsense'
  /** A body without end. */
  | 'endless';

export interface Stage {
  /** Waits no longer than half a second for an answer. */
  provider: Provider;
  target: Target;
  /** It knows nothing that isn't shown: silent ones it refuses. */
  refusesSilent?: boolean | undefined;
  conduct(conduct: Conduct): void;
  /** Of the notifications that it took, in order; it takes only what the real one takes. */
  taken(): readonly string[];
}

/** The stage is ready to accept, and takes itself down with `t.after`. */
export type SetUp = (t: TestContext) => Promise<Stage>;

export function notificationOf(changes: Partial<Notification> = {}): Notification {
  return {
    id: '018f4e9a-7b1c-7c3d-9e5f-0123456789ab',
    title: 'Alice',
    body: 'Lunch? 🍜',
    data: { conversation: 'alice' },
    ttlSeconds: 3_600,
    priority: 'high',
    isSilent: false,
    ...changes,
  };
}

/** The reason of an outcome that has one: a stable code first, words after it, and nothing of the token. */
export function reasonOf(outcome: Outcome, target: Target): string {
  assert.ok('reason' in outcome, `no reason in ${JSON.stringify(outcome)}`);
  assert.match(outcome.reason, /^[a-z][a-z0-9_]*: \S/);
  assert.ok(!outcome.reason.includes(target.token), 'the token is in the reason');
  return outcome.reason;
}

/** `readsAnswers`: what they say counts beside their status. */
export function testsOfContract(name: string, setUp: SetUp, { readsAnswers = true } = {}): void {
  test(`${name} sends a notification, a silent one, one without words and many at once`, async (t) => {
    const { provider, target, taken, refusesSilent } = await setUp(t);
    const silent = notificationOf({ isSilent: true, badge: 3 });
    if (refusesSilent) reasonOf(await provider.send(silent, target), target);
    const sent = [
      notificationOf(),
      ...(refusesSilent ? [] : [silent]),
      notificationOf({ title: undefined, body: undefined, priority: 'normal', collapseId: 'c_1-A' }),
      notificationOf({ ttlSeconds: 0, data: {}, badge: 0 }),
    ];
    for (const each of sent) assert.equal((await provider.send(each, target)).kind, 'sent');
    assert.equal(taken().length, sent.length);

    const burst = Array.from({ length: 30 }, () => provider.send(notificationOf(), target));
    assert.ok((await Promise.all(burst)).every(({ kind }) => kind === 'sent'));
    assert.equal(taken().length, sent.length + burst.length);
  });

  test(`${name} sends words that are too long shortened, and words in any script`, async (t) => {
    const { provider, target } = await setUp(t);
    for (const body of ['x'.repeat(20_000), '👩‍👩‍👧'.repeat(3_000), '"\\\u0001\n'.repeat(3_000), 'שלום ✓ 你好'])
      assert.equal((await provider.send(notificationOf({ title: body, body }), target)).kind, 'sent');
  });

  test(`${name} says of a dead token that it is gone`, async (t) => {
    const { provider, target, conduct } = await setUp(t);
    conduct('gone');
    assert.equal((await provider.send(notificationOf(), target)).kind, 'gone');
  });

  test(`${name} asks for another try when it is throttled, as late as it is told to`, async (t) => {
    const { provider, target, conduct, taken } = await setUp(t);
    conduct('throttled');
    const throttled = await provider.send(notificationOf(), target);
    assert.equal(throttled.kind, 'retry');
    assert.match(reasonOf(throttled, target), /^throttled: /);

    conduct('throttled for 7 s');
    const told = await provider.send(notificationOf(), target);
    assert.ok(told.kind === 'retry');
    assert.equal(told.afterMs, 7_000);
    assert.deepEqual(taken(), []);
  });

  test(`${name} says that it is the credential that is refused, in a send and in a check`, async (t) => {
    const { provider, target, conduct, taken } = await setUp(t);
    assert.equal(await provider.check(), undefined);
    assert.deepEqual(taken(), []);
    conduct('credential refused');
    const refused = await provider.send(notificationOf(), target);
    assert.ok(refused.kind === 'failed', JSON.stringify(refused));
    assert.equal(refused.isCredential, true);
    reasonOf(refused, target);
    // Where there is a way to try the credential.
    const fault = await provider.check();
    if (fault !== undefined) assert.match(fault, /\w+ \w+/);
  });

  for (const trouble of ['broken', 'silent', 'cut', ...(readsAnswers ? (['endless'] as const) : [])] as const)
    test(`${name} asks for another try when the other side is ${trouble}, which then succeeds`, async (t) => {
      const { provider, target, conduct } = await setUp(t);
      conduct(trouble);
      const outcomes = await Promise.all([
        provider.send(notificationOf(), target),
        provider.send(notificationOf(), target),
      ]);
      for (const outcome of outcomes) {
        assert.equal(outcome.kind, 'retry', JSON.stringify(outcome));
        reasonOf(outcome, target);
      }
      // Not read until the time is up.
      const [{ reason }] = outcomes as [Outcome & { kind: 'retry' }, Outcome];
      if (trouble === 'endless') assert.match(reason, /answers more than \d+ bytes$/);
      conduct('accept');
      assert.equal((await provider.send(notificationOf(), target)).kind, 'sent');
    });

  test(`${name} drops no token and blames no credential for an answer that makes no sense`, async (t) => {
    const { provider, target, conduct } = await setUp(t);
    conduct('nonsense');
    const outcome = await provider.send(notificationOf(), target);
    assert.ok(outcome.kind === 'retry' || (outcome.kind === 'failed' && !outcome.isCredential));
    reasonOf(outcome, target);
    conduct('accept');
    assert.equal((await provider.send(notificationOf(), target)).kind, 'sent');
  });

  test(`${name} ends what is under way when it is closed, also twice, and sends nothing afterwards`, async (t) => {
    const { provider, target, conduct, taken } = await setUp(t);
    conduct('silent');
    const underWay = provider.send(notificationOf(), target);
    await provider.close();
    await provider.close();
    assert.equal((await underWay).kind, 'retry');
    conduct('accept');
    assert.equal((await provider.send(notificationOf(), target)).kind, 'retry');
    assert.deepEqual(taken(), []);
  });
}
