// What is made of rows that change: closed when it is needed no more, and not under the hands of who uses it.

import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { createRemade } from '../src/routing/remade.ts';

const BEFORE = new Date(1);
const AFTER = new Date(2);

function stage(t: TestContext, max: number) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const closed: string[] = [];
  const remade = createRemade<string, { close(): void }>(max);
  return {
    closed,
    remade,
    make: (name: string, changedAt: Date) =>
      remade.get(name, changedAt, async () => ({ close: () => void closed.push(`${name} ${+changedAt}`) })),
    async pass(ms: number): Promise<void> {
      t.mock.timers.tick(ms);
      await new Promise(setImmediate);
    },
  };
}

test('what is replaced, deleted or crowded out is closed once who uses it has had the time', async (t) => {
  const { closed, remade, make, pass } = stage(t, 2);
  await make('a', BEFORE);
  await make('a', AFTER);
  await make('b', BEFORE);
  remade.delete('b');
  await make('c', BEFORE);
  await make('d', BEFORE); // there is no room for a
  await pass(14_000);
  assert.deepEqual(closed, []);
  await pass(1_000);
  assert.deepEqual(closed, ['a 1', 'b 1', 'a 2']);
});

test('in the end all is closed at once, and nothing twice', async (t) => {
  const { closed, remade, make, pass } = stage(t, 2);
  await make('a', BEFORE);
  await make('a', AFTER);
  remade.clear();
  await pass(0);
  assert.deepEqual(closed.toSorted(), ['a 1', 'a 2']);
  await pass(60_000);
  assert.equal(closed.length, 2);
});
