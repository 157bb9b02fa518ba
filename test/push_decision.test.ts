// Who gets a push when: the whole table, and the hours in which nobody is disturbed.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCircuits } from '../src/routing/push_circuits.ts';
import { decide, type Decision, type Standing } from '../src/routing/push_decision.ts';
import { endOfQuietHours } from '../src/routing/quiet_hours.ts';

const TIMING = { graceMs: 10_000, windowMs: 5_000 };
const NOW = new Date('2026-01-01T00:00:00Z');
const ago = (ms: number): Date => new Date(NOW.getTime() - ms);
const later = (ms: number): Date => new Date(NOW.getTime() + ms);

/** Each value of each field with each of all others. */
function* all(): Generator<Standing> {
  for (const isForeground of [false, true])
    for (const hasForeground of isForeground ? [true] : [false, true])
      for (const pushWhen of ['device', 'user'] as const)
        for (const maxAcked of [4, 5])
          for (const ageMs of [9_999, 10_000])
            for (const quietUntil of [undefined, NOW, later(20_000)])
              for (const notBefore of [undefined, NOW, later(15_000)])
                for (const shownAt of [undefined, ago(5_000).getTime(), ago(2_000).getTime()])
                  yield {
                    isForeground,
                    hasForeground,
                    pushWhen,
                    maxAcked,
                    quietUntil,
                    notBefore,
                    shownAt,
                    first: { at: ago(ageMs) },
                    last: { seq: 5 },
                  };
}

test('a device gets a push at once, unless one of five things speaks against it: the last of them to end decides', () => {
  const seen = new Map<string, number>();
  for (const standing of all()) {
    const { isForeground, hasForeground, pushWhen, maxAcked, quietUntil, notBefore, shownAt, first } =
      standing;
    const waitsForAnother = pushWhen === 'user' && hasForeground;
    const hasWaited = pushWhen === 'user' && first.at <= ago(10_000);
    const ends = [
      (isForeground || waitsForAnother) && first.at > ago(10_000) ? 1 : 0,
      quietUntil && quietUntil > NOW ? 20_000 : 0,
      notBefore && notBefore > NOW ? 15_000 : 0,
      shownAt && shownAt > ago(5_000).getTime() ? 3_000 : 0,
    ];
    const waitMs = Math.max(...ends);
    let expected: Decision = waitMs > 0 ? { do: 'wait', until: later(waitMs) } : { do: 'push' };
    if ((waitsForAnother || hasWaited) && maxAcked === 5) expected = { do: 'drop' };
    assert.deepEqual(decide(standing, TIMING, NOW), expected, JSON.stringify(standing));
    seen.set(expected.do, (seen.get(expected.do) ?? 0) + 1);
  }
  assert.deepEqual(new Set(seen.keys()), new Set(['push', 'wait', 'drop']));
});

test('quiet hours end at their time of day, where the user is, over midnight too', () => {
  const night = { from: '22:00', to: '07:00', timeZone: 'Europe/Paris' };
  const end = (at: string, hours = night): string | undefined =>
    endOfQuietHours(hours, new Date(at))?.toISOString();
  assert.equal(end('2026-01-15T20:59:59Z'), undefined);
  assert.equal(end('2026-01-15T21:00:00Z'), '2026-01-16T06:00:00.000Z');
  assert.equal(end('2026-01-16T05:59:30Z'), '2026-01-16T06:00:00.000Z');
  assert.equal(end('2026-01-16T06:00:00Z'), undefined);
  // In summer an hour earlier.
  assert.equal(end('2026-07-15T21:00:00Z'), '2026-07-16T05:00:00.000Z');
  // The night of the clocks being changed is an hour shorter, or longer.
  assert.equal(end('2026-03-28T21:30:00Z'), '2026-03-29T05:00:00.000Z');
  assert.equal(end('2026-10-24T20:30:00Z'), '2026-10-25T06:00:00.000Z');
  const early = { ...night, to: '02:30' };
  assert.equal(end('2026-03-28T21:30:00Z', early), '2026-03-29T01:30:00.000Z', 'there is no such time');
  const noon = { from: '12:00', to: '13:30', timeZone: 'Asia/Kolkata' };
  assert.equal(end('2026-01-15T06:30:00Z', noon), '2026-01-15T08:00:00.000Z');
  assert.equal(end('2026-01-15T08:00:00Z', noon), undefined);
  const always = { from: '08:00', to: '08:00', timeZone: 'UTC' };
  assert.equal(end('2026-01-15T08:00:00Z', always), '2026-01-16T08:00:00.000Z');
  assert.equal(end('2026-01-15T07:59:00Z', always), '2026-01-15T08:00:00.000Z');
});

test('an account whose provider is out of order is left alone, tried by one, and used again; others are not held up', async () => {
  let nowMs = 0;
  const circuits = createCircuits(() => nowMs);
  const fcm = circuits.find('fcm', '1');
  for (let n = 0; n < 5; n++) {
    assert.equal(await fcm.enter(), 0);
    fcm.leave(true);
  }
  assert.ok((await fcm.enter()) > 0);
  assert.deepEqual(circuits.countOpen(), new Map([['fcm', 1]]));
  assert.equal(await circuits.find('apns', '1').enter(), 0);
  assert.equal(await circuits.find('fcm', '2').enter(), 0);
  nowMs += 2_000;
  assert.equal(await fcm.enter(), 0);
  assert.ok((await fcm.enter()) > 0, 'one tries for all');
  fcm.leave(true);
  nowMs += 2_000;
  const openMs = await fcm.enter();
  assert.ok(openMs === 0 || openMs <= 2_000);
  nowMs += 2_000;
  if (openMs > 0) assert.equal(await fcm.enter(), 0);
  fcm.leave(false);
  assert.deepEqual([await fcm.enter(), await fcm.enter()], [0, 0]);
});

test('no account takes up all there is: some wait for their turn, and not for long, and the others come again', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const circuits = createCircuits(() => 0);
  const fcm = circuits.find('fcm', '1');
  const enter = (count: number): Promise<number>[] => Array.from({ length: count }, () => fcm.enter());
  const first = await Promise.all(enter(500));
  assert.deepEqual(new Set(first), new Set([0]));
  const waiting = enter(250);
  assert.ok((await fcm.enter()) > 0);
  assert.equal(await circuits.find('fcm', '2').enter(), 0);
  fcm.leave(false);
  assert.equal(await waiting[0], 0);
  t.mock.timers.tick(2_000);
  const late = await Promise.all(waiting.slice(1));
  assert.ok(late.every((forMs) => forMs > 0));
});

test('who waits for its turn is told when the provider turns out to be out of order', async () => {
  const circuits = createCircuits(() => 0);
  const fcm = circuits.find('fcm', '1');
  const enter = (): Promise<number> => fcm.enter();
  await Promise.all(Array.from({ length: 500 }, enter));
  const waiting = Array.from({ length: 10 }, enter);
  for (let n = 0; n < 5; n++) fcm.leave(true);
  const answers = await Promise.all(waiting);
  assert.deepEqual(
    answers.map((forMs) => forMs > 0),
    [...Array<boolean>(4).fill(false), ...Array<boolean>(6).fill(true)],
  );
});

test('once it is over nobody waits for its turn, and nobody gets one', async () => {
  const circuits = createCircuits(() => 0);
  const fcm = circuits.find('fcm', '1');
  const enter = (): Promise<number> => fcm.enter();
  await Promise.all(Array.from({ length: 500 }, enter));
  const waiting = enter();
  circuits.stop();
  fcm.leave(false);
  assert.ok((await waiting) > 0);
  assert.ok((await enter()) > 0);
});
