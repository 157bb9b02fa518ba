// What APNs takes is 4096 bytes: words are cut between characters to fit, data never is.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { apnsPayload, PAYLOAD_MAX_BYTES, shorten } from '../src/push/apns_payload.ts';
import type { Notification } from '../src/push/contract.ts';
import { apnsStage, target } from './push/apns_stage.ts';
import { notificationOf } from './push/contract.ts';

interface Payload {
  aps: { alert?: { title?: string; body?: string } };
  [field: string]: unknown;
}

function payloadOf(changes: Partial<Notification>): Payload {
  const payload = apnsPayload(notificationOf(changes));
  assert.ok(Buffer.isBuffer(payload), JSON.stringify(payload));
  assert.ok(payload.length <= PAYLOAD_MAX_BYTES);
  return JSON.parse(payload.toString()) as Payload;
}

test('words of any kind fit, are the beginning of what they were, and leave data whole', () => {
  const pieces = [
    'a',
    'word ',
    '"',
    '\n\u0001',
    'é',
    'e\u0301',
    'क्षि',
    '你',
    '🍜',
    '👩‍👩‍👧',
    '🇩',
    '\ud83c',
    '\u202e',
  ];
  const text = fc
    .tuple(fc.array(fc.constantFrom(...pieces), { maxLength: 20 }), fc.nat({ max: 500 }))
    .map(([some, times]) => some.join('').repeat(times));
  const data = fc.dictionary(
    fc.string().filter((key) => key !== 'aps'),
    fc.string({ maxLength: 100 }),
    { maxKeys: 8 },
  );
  fc.assert(
    fc.property(text, text, data, (title, body, given) => {
      const { aps, ...rest } = payloadOf({ title, body, data: given });
      assert.deepEqual(rest, JSON.parse(JSON.stringify(given)));
      for (const [whole, part = ''] of [
        [title, aps.alert?.title],
        [body, aps.alert?.body],
      ] as const) {
        const shown = whole.toWellFormed();
        assert.ok(part === shown || shown.startsWith(part.replace(/…$/, '')));
      }
    }),
    { numRuns: 30 },
  );
});

test('a word is cut between characters as people see them, and ends in an ellipsis', () => {
  assert.equal(shorten('abcdef', 6), 'abcdef');
  assert.equal(shorten('abcdefg', 6), 'abc…');
  assert.equal(shorten('ab cdefg', 6), 'ab…');
  const family = '👩‍👩‍👧';
  assert.equal(shorten(family.repeat(3), Buffer.byteLength(family) * 2 + 3), `${family}${family}…`);
  assert.equal(shorten(family.repeat(3), Buffer.byteLength(family) * 2 + 2), `${family}…`);
  assert.equal(shorten('e\u0301e\u0301e\u0301', 8), 'e\u0301…');
  // A quote takes two bytes in JSON, a control character six.
  assert.equal(shorten('""""', 7), '""…');
  assert.equal(shorten('\u0001\u0001', 9), '\u0001…');
  assert.equal(shorten('abcdef', 2), '');
});

test('as much is shown as fits: a body goes first, and a title only where it leaves less than three quarters', () => {
  const body = payloadOf({ title: 'Alice', body: 'x'.repeat(5_000) }).aps.alert!;
  assert.equal(body.title, 'Alice');
  assert.equal(
    Buffer.byteLength(JSON.stringify(payloadOf({ title: 'Alice', body: body.body! }))),
    PAYLOAD_MAX_BYTES,
  );
  const both = payloadOf({ title: 't'.repeat(5_000), body: 'b'.repeat(5_000) }).aps.alert!;
  assert.ok(both.title!.length > 900 && both.title!.length < 1_050);
  assert.ok(both.body!.length > 2_900);
  const title = payloadOf({ title: 't'.repeat(5_000), body: 'short' }).aps.alert!;
  assert.equal(title.body, 'short');
  assert.ok(title.title!.length > 3_900);
});

test('half a character is none', () => {
  assert.equal(payloadOf({ body: 'a\ud83c' }).aps.alert!.body, 'a\ufffd');
});

test('data that leaves no room, or that says what is for Apple to say, is refused before Apple sees it', async (t) => {
  const { provider, production } = await apnsStage(t);
  for (const [data, reason] of [
    [{ blob: 'x'.repeat(4_096) }, /^too_large: data leaves no room/],
    [{ aps: '{}' }, /^refused: data must not hold a field "aps"/],
  ] as const) {
    const outcome = await provider.send(notificationOf({ data }), target);
    assert.ok(outcome.kind === 'failed' && !outcome.isCredential);
    assert.match(outcome.reason, reason);
  }
  assert.equal(production.opened(), 0);
  // As much data as there may be, and words are still seen.
  const { aps, blob } = payloadOf({ data: { blob: 'x'.repeat(2_036) }, body: 'x'.repeat(5_000) });
  assert.equal(String(blob).length, 2_036);
  assert.ok(aps.alert!.body!.length > 1_900);
});
