// What a frame costs on a socket that is open: its message is stored, and nothing is verified or asked for to let it in.

import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import pg from 'pg';
import { startService } from './harness.ts';

const FRAMES = 200;
/** What is done from time to time, whatever the frames, is at most so many statements in a second. */
const PER_SECOND_MAX = 20;

test('a frame on an open socket causes no signature check, and no statement but the one that stores it', async (t) => {
  const service = await startService();
  const app = await service.createApp(['composed']);
  const verified = mock.method(crypto.subtle, 'verify');
  const asked = mock.method(pg.Client.prototype, 'query');
  t.after(() => mock.restoreAll());

  const alice = await app.connect({ uid: 'alice' });
  const bob = await app.connect({ uid: 'bob' });
  assert.equal((await alice.say({ uid: 'bob' }, 'first')).type, 'sent');
  assert.ok(verified.mock.callCount() >= 2, 'connects are counted');
  assert.ok(asked.mock.callCount() > 0, 'statements are counted');

  verified.mock.resetCalls();
  asked.mock.resetCalls();
  const startedAt = performance.now();
  for (let n = 0; n < FRAMES; n += 1) assert.equal((await alice.say({ uid: 'bob' }, `${n}`)).type, 'sent');
  await bob.messages(FRAMES + 1);
  const seconds = (performance.now() - startedAt) / 1_000;

  assert.equal(verified.mock.callCount(), 0);
  const others = asked.mock.calls
    .map(({ arguments: [query] }) => nameOf(query))
    .filter((name) => name !== 'insert_messages');
  assert.ok(others.length < FRAMES / 4 && others.length <= (seconds + 1) * PER_SECOND_MAX, others.join('\n'));
  assert.ok(asked.mock.callCount() - others.length <= FRAMES, 'a message is stored once');
});

function nameOf(query: unknown): string {
  const { name, text } = query as pg.QueryConfig;
  return name ?? text ?? String(query);
}
