// What the answers of the Android vendors come to: each number that they document, the tokens they give, and their feeds.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { notificationOf, reasonOf } from './push/contract.ts';
import type { Answer } from './push/http_stand_in.ts';
import { oppoCode } from './push/oppo_stand_in.ts';
import { ok } from './push/vendor_stand_in.ts';
import { names, setUp, type VendorName } from './push/vendors.ts';
import { vivoCode, vivoDead } from './push/vivo_stand_in.ts';
import { xiaomiCode } from './push/xiaomi_stand_in.ts';

const huawei = (code: number, msg = 'Something') => ok({ code: String(code), msg, requestId: '1' });
const honor = (code: number) => ok({ code, message: 'Something' });
const honorFails = (token: string) =>
  ok({ code: 200, data: { sendResult: false, failTokens: [token], expireTokens: [] } });
const others = JSON.stringify({ illegal_tokens: ['of another'] });

type Expected = 'gone' | 'retry' | 'failed' | 'credential';
const rows: readonly [VendorName, Expected, string, (token: string) => readonly Answer[]][] = [
  ['Huawei', 'gone', '', () => [huawei(80300007)]],
  [
    'Huawei',
    'credential',
    'credential',
    () => [80300002, 80300011, 80300037, 80600003].map((n) => huawei(n)),
  ],
  ['Huawei', 'failed', 'refused', () => [80100001, 80100003, 80100004, 80100013].map((n) => huawei(n))],
  ['Huawei', 'failed', 'refused', () => [huawei(80300010), huawei(80100000, others), huawei(80100000)]],
  ['Huawei', 'failed', 'too_large', () => [huawei(80300008)]],
  ['Huawei', 'failed', 'censored', () => [huawei(80100016)]],
  ['Huawei', 'retry', 'unavailable', () => [huawei(81000001)]],
  ['Honor', 'failed', 'unknown_token', () => [honor(80300007)]],
  ['Honor', 'failed', 'refused', (token) => [honorFails(token), honor(80100003)]],
  ['Honor', 'credential', 'credential', () => [honor(80300002)]],
  ['Honor', 'retry', 'malformed', () => [ok({ code: 200 })]],
  ['Xiaomi', 'gone', '', () => [xiaomiCode(20301, 'No valid targets!')]],
  ['Xiaomi', 'failed', 'refused', () => [xiaomiCode(20301, 'Another cause'), xiaomiCode(10008)]],
  ['Xiaomi', 'failed', 'too_large', () => [10016, 10017, 65009].map((n) => xiaomiCode(n))],
  ['Xiaomi', 'credential', 'credential', () => [21301, 21302, 22000, 22006].map((n) => xiaomiCode(n))],
  ['Xiaomi', 'credential', 'credential', () => [22007, 22022, 10031, 10036].map((n) => xiaomiCode(n))],
  ['Xiaomi', 'credential', 'credential', () => [xiaomiCode(27001), { status: 401 }]],
  ['Xiaomi', 'retry', 'unavailable', () => [1, 10001, 10002, 10003, 65029].map((n) => xiaomiCode(n))],
  ['OPPO', 'gone', '', () => [oppoCode(10000), oppoCode(10001)]],
  ['OPPO', 'retry', 'throttled', () => [oppoCode(-2), oppoCode(55)]],
  ['OPPO', 'retry', 'unavailable', () => [oppoCode(-1)]],
  ['OPPO', 'failed', 'refused', () => [oppoCode(12), oppoCode(40), oppoCode(41)]],
  ['OPPO', 'credential', 'credential', () => [14, 15, 16, 17, 18, 19].map(oppoCode)],
  ['OPPO', 'credential', 'credential', () => [26, 27, 28, 30, 67].map(oppoCode)],
  ['vivo', 'gone', '', () => [vivoCode(10302), vivoDead(1), vivoDead(2)]],
  ['vivo', 'failed', 'inactive', () => [vivoDead(3)]],
  ['vivo', 'failed', 'refused', () => [vivoDead(4), vivoCode(10999)]],
  ['vivo', 'failed', 'out_of_hours', () => [vivoCode(10071)]],
  ['vivo', 'failed', 'censored', () => [vivoCode(10085), vivoCode(10104)]],
  ['vivo', 'credential', 'credential', () => [vivoCode(10094), vivoCode(10097)]],
];

for (const name of names)
  test(`${name}'s numbers come to what they mean`, async (t) => {
    const { provider, target, conduct } = await setUp(t, name);
    assert.equal((await provider.send(notificationOf(), target)).kind, 'sent');
    for (const [, expected, code, answersTo] of rows.filter(([of]) => of === name))
      for (const answer of answersTo(target.token)) {
        conduct(answer);
        const outcome = await provider.send(notificationOf(), target);
        const said = `${JSON.stringify(answer)} came to ${JSON.stringify(outcome)}`;
        assert.equal(outcome.kind, expected === 'credential' ? 'failed' : expected, said);
        if (outcome.kind === 'failed') assert.equal(outcome.isCredential, expected === 'credential', said);
        if (code) assert.equal(reasonOf(outcome, target).split(':')[0], code, said);
      }
  });

test('a token that a vendor does not know is kept until the credential has proven to be of its app', async (t) => {
  for (const [name, answer] of [
    ['Huawei', huawei(80300007)],
    ['Xiaomi', xiaomiCode(20301, 'No valid targets!')],
    ['OPPO', oppoCode(10000)],
    ['vivo', vivoDead(1)],
  ] as const) {
    const { provider, target, conduct } = await setUp(t, name);
    await provider.check();
    conduct(answer);
    const before = await provider.send(notificationOf(), target);
    assert.match(reasonOf(before, target), /^(unknown_token|malformed|credential): /, name);
    conduct('accept');
    await provider.send(notificationOf(), target);
    conduct(answer);
    assert.deepEqual(await provider.send(notificationOf(), target), { kind: 'gone' }, name);
  }
});

test("when a day's quota is used up, nothing is asked until midnight in China", async (t) => {
  for (const [name, answer] of [
    ['Xiaomi', xiaomiCode(10034)],
    ['OPPO', oppoCode(33)],
    ['vivo', vivoCode(10070)],
  ] as const) {
    const { provider, target, conduct, asked, setNow, taken } = await setUp(t, name);
    setNow(Date.UTC(2026, 10, 26, 15, 0));
    await provider.check();
    conduct(answer);
    const outcome = await provider.send(notificationOf(), target);
    assert.ok(outcome.kind === 'retry', name);
    assert.equal(outcome.afterMs, 3_600_000, name);
    assert.match(reasonOf(outcome, target), /^quota: /);
    conduct('accept');
    const before = asked.length;
    assert.equal((await provider.send(notificationOf(), target)).kind, 'retry');
    assert.equal(asked.length, before);
    setNow(Date.UTC(2026, 10, 26, 16, 0));
    assert.equal((await provider.send(notificationOf(), target)).kind, 'sent');
    assert.equal(taken().length, 1);
  }
});

for (const name of names.filter((each) => each !== 'Xiaomi'))
  test(`${name}'s tokens are kept until shortly before their end, and renewed once for all when they are refused`, async (t) => {
    const { provider, target, minted, forgetTokens, now, setNow } = await setUp(t, name);
    const burst = async (): Promise<void> => {
      const sends = Array.from({ length: 20 }, () => provider.send(notificationOf(), target));
      assert.ok((await Promise.all(sends)).every(({ kind }) => kind === 'sent'));
    };
    await burst();
    assert.equal(minted(), 1);
    forgetTokens();
    await burst();
    assert.equal(minted(), 2);
    const lifeMs = { Huawei: 3_600_000, Honor: 3_600_000, OPPO: 86_400_000, vivo: 7_200_000 }[name as 'OPPO'];
    setNow(now().getTime() + lifeMs - 61_000);
    await burst();
    assert.equal(minted(), 2);
    setNow(now().getTime() + 2_000);
    await provider.send(notificationOf(), target);
    assert.equal(minted(), 3);
  });

test('a credential that is wrong in any part is told from a check as from a send', async (t) => {
  for (const [name, changes] of [
    ['Huawei', { clientSecret: 'another' }],
    ['Honor', { clientId: 'another' }],
    ['Xiaomi', { appSecret: 'another' }],
    ['OPPO', { masterSecret: 'another' }],
    ['vivo', { appSecret: 'another' }],
  ] as const) {
    const { provider, target, taken } = await setUp(t, name, changes);
    assert.match((await provider.check())!, /^credential: .*copy/, name);
    const outcome = await provider.send(notificationOf(), target);
    assert.ok(outcome.kind === 'failed' && outcome.isCredential, name);
    assert.ok(!JSON.stringify(outcome).includes('another'));
    assert.deepEqual(taken(), []);
  }
  const { provider } = await setUp(t, 'Xiaomi', { packageName: 'com.example.other' });
  assert.match((await provider.check())!, /packageName/);
});

test('a machine whose clock is wrong is told so by the vendors that look at it', async (t) => {
  const { provider, conduct } = await setUp(t, 'OPPO');
  conduct(oppoCode(19));
  assert.match((await provider.check())!, /clock/);
});

test('feeds of dead tokens are read to their end, whether they forget or repeat what they told', async (t) => {
  const dead = ['a', 'b', 'c', 'd', 'e'];
  for (const name of ['Xiaomi', 'OPPO'] as const) {
    const { provider, conduct, forgetTokens } = await setUp(t, name, {}, [...dead]);
    conduct('broken');
    const { tokens, reason } = await provider.pollGone!();
    assert.deepEqual(tokens, []);
    assert.match(reason!, /^unavailable: /);
    conduct('accept');
    if (name === 'OPPO') forgetTokens();
    assert.deepEqual(await provider.pollGone!(), { tokens: dead }, name);
  }
  const abroad = await setUp(t, 'OPPO', { region: 'global' }, dead);
  assert.deepEqual(await abroad.provider.pollGone!(), { tokens: [] });
});
