// Counting what keys are used for, while Postgres is away and there are more than can be kept.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { countUses, type CountedUse } from '../src/identity/key_uses.ts';
import type { AppId } from '../src/ids.ts';

const use = (actor: string) =>
  ({ appId: 1 as AppId, actor, action: 'key.use', target: 'sendMessage' }) as const;

test('uses that could not be written are written later, each counted once', async () => {
  const written: CountedUse[] = [];
  const logged: string[] = [];
  let isAway = true;
  const uses = countUses(
    async (counted) => {
      if (isAway) throw new Error('away');
      written.push(...counted);
    },
    (message) => void logged.push(message),
  );
  for (let i = 0; i < 3; i++) uses.count(use('a'));
  await uses.stop();
  uses.count(use('a'));
  uses.count({ ...use('a'), action: 'key.refuse' });
  isAway = false;
  await uses.stop();
  await uses.stop();
  assert.deepEqual(
    written.map(({ action, count }) => [action, count]),
    [
      ['key.use', 4],
      ['key.refuse', 1],
    ],
  );
  assert.deepEqual(logged, ['uses of keys could not be written']);
});

test('no more than 10,000 kinds are kept, and the log says how many uses are missing', async () => {
  let written: readonly CountedUse[] = [];
  const logged: string[] = [];
  const uses = countUses(
    async (counted) => void (written = counted),
    (message) => void logged.push(message),
  );
  for (let i = 0; i < 10_003; i++) uses.count(use(`${i}`));
  uses.count(use('0'));
  await uses.stop();
  assert.equal(written.length, 10_000);
  assert.equal(written[0]!.count, 2);
  assert.deepEqual(logged, ['3 uses of keys are missing in the audit trail']);
});
