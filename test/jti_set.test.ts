// Many jtis in one table: told apart to the last bit, and dropped by their time.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { makeUuidAt, timeOfUuid } from '../src/ids.ts';
import { JtiSet } from '../src/tokens/jti_set.ts';

const BYTES_PER_MILLION = 64 * 1_048_576;
const hour = (n: number): Date => new Date(Date.UTC(2026, 0, 1, n));
const jtis = fc.array(
  fc.tuple(fc.integer({ min: 0, max: 48 }), fc.integer({ min: 0, max: 3 })).map(([n]) => makeUuidAt(hour(n))),
  { maxLength: 300 },
);

test('holds what was added and nothing else, whatever is dropped in between', () => {
  fc.assert(
    fc.property(jtis, fc.integer({ min: 0, max: 48 }), jtis, (before, dropped, later) => {
      const set = new JtiSet();
      const model = new Set<string>();
      for (const jti of before) {
        set.add(jti);
        model.add(jti);
      }
      set.dropBefore(hour(dropped));
      for (const jti of before) if (timeOfUuid(jti) < hour(dropped)) model.delete(jti);
      for (const jti of later) {
        assert.equal(set.has(jti), model.has(jti));
        set.add(jti);
        set.add(jti);
        model.add(jti);
      }
      assert.equal(set.size, model.size);
      for (const jti of model) assert.ok(set.has(jti));
    }),
  );
});

test('a jti that differs in any one bit is another one', () => {
  const jti = makeUuidAt(new Date());
  const set = new JtiSet();
  set.add(jti);
  for (let at = 0; at < jti.length; at += 1)
    for (const bit of [1, 2, 4, 8]) {
      if (jti[at] === '-') continue;
      const digit = (Number.parseInt(jti[at]!, 16) ^ bit).toString(16);
      assert.ok(!set.has(jti.slice(0, at) + digit + jti.slice(at + 1)), `digit ${at}, bit ${bit}`);
    }
  assert.ok(set.has(jti));
});

test('a million of them take less than 64 MiB', () => {
  const set = new JtiSet();
  const now = new Date();
  for (let i = 0; i < 1_000_000; i += 1) set.add(makeUuidAt(now));
  assert.equal(set.size, 1_000_000);
  assert.ok(set.bytes <= BYTES_PER_MILLION, `${set.bytes}`);
});
