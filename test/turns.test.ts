// Frames take their turns: what they mean may change while they find it out.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Turns } from '../src/routing/turns.ts';

const peer = { pause() {}, resume() {} };
const fail = (error: unknown): void => assert.fail(String(error));

test('a frame that was finding out what it means when that changed finds it out again, once those before are dealt with', async () => {
  const turns = new Turns(peer);
  const log: string[] = [];
  let meaning = 'former';
  const [stored, found] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const say = (name: string, prepare: () => string | Promise<string>, act = Promise.resolve()): void =>
    turns.take(
      prepare,
      async (prepared) => {
        log.push(`${name} as ${prepared}`);
        await act;
        log.push(`${name} is over`);
      },
      fail,
    );
  say('first', () => meaning, stored.promise);
  say('second', () => found.promise.then(() => meaning));
  say('third', () => meaning);
  meaning = 'latter';
  turns.settleFirst();
  found.resolve();
  for (let i = 0; i < 5; i += 1) await turn();
  assert.deepEqual(log, ['first as former']);
  stored.resolve();
  for (let i = 0; i < 5; i += 1) await turn();
  assert.deepEqual(log.slice(1), [
    'first is over',
    'second as latter',
    'second is over',
    'third as latter',
    'third is over',
  ]);
});

test('one that had found out already finds it out again, and those behind it wait for that', async () => {
  const turns = new Turns(peer);
  const meant: string[] = [];
  let meaning = 'former';
  const [stored, found] = [Promise.withResolvers<void>(), Promise.withResolvers<string>()];
  const say = (prepare: () => string | Promise<string>, act?: Promise<void>): void =>
    turns.take(
      prepare,
      async (prepared) => {
        meant.push(prepared);
        await act;
      },
      fail,
    );
  say(() => meaning, stored.promise);
  let asked = 0;
  say(() => (asked++ === 0 ? found.promise : meaning));
  say(() => meaning);
  found.resolve('former');
  meaning = 'latter';
  turns.settleFirst();
  for (let i = 0; i < 5; i += 1) await turn();
  assert.deepEqual(meant, ['former']);
  stored.resolve();
  for (let i = 0; i < 5; i += 1) await turn();
  assert.deepEqual(meant, ['former', 'latter', 'latter']);
});
