// The guide to moving between the schemes, run as it is written.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasCurl, readBlocks, runBlocks } from './examples.ts';
import { startService } from './harness.ts';

test('the guide moves an app to registered and back to composed, and renames', async (t) => {
  if (!hasCurl()) return t.skip('there is no curl');
  const service = await startService();
  const { answers } = await runBlocks(await readBlocks('docs/moving.md'), service);

  const codes = answers.map((answer) => answer.code).filter((code) => code !== undefined);
  assert.deepEqual(codes, ['conflict', 'scheme_disabled']);

  const dryRun = answers.find((answer) => answer.lines === 5);
  assert.partialDeepStrictEqual(dryRun, { created: 1, adopted: 4, existing: 0, refused: 0, refusals: [] });
  assert.deepEqual(
    dryRun.adoptions.map(({ line, userId, uid, messages }: Record<string, unknown>) => [
      line,
      userId,
      uid,
      messages,
    ]),
    [
      [1, 'alice', undefined, 3],
      [2, 'bob', undefined, 1],
      [3, '42', undefined, 1],
      [4, 'erin', 'g-81', 1],
    ],
  );

  const imported = answers.filter((answer) => answer.line !== undefined);
  assert.deepEqual(
    imported.map(({ userId, status }) => [userId, status]),
    [
      ['alice', 'adopted'],
      ['bob', 'adopted'],
      ['42', 'created'],
      ['erin', 'adopted'],
      ['frank', 'created'],
    ],
  );
  const imIdOf = (userId: string) => imported.find((line) => line.userId === userId)!.imId;

  // What erin is shown in the registered scheme, alice by her token of before, and erin back in the composed one.
  const inboxes = answers.filter((answer) => answer.epoch !== undefined).map(({ items }) => items);
  assert.deepEqual(
    inboxes.map((items) => [items.length, items[0].from, items.at(-1).to]),
    [
      [1, { imId: imIdOf('alice') }, { imId: imIdOf('erin') }],
      [3, { uid: 'alice' }, { uid: 'erin' }],
      [1, { uid: 'alice' }, { uid: 'erin' }],
    ],
  );

  const use = answers.filter((answer) => answer.composed !== undefined);
  assert.deepEqual(
    use.map(({ composed, registered }) => [composed.users, registered.users]),
    [[1, 5]],
  );
  const users = answers.find((answer) => answer.items?.[0]?.createdAt !== undefined)!.items;
  const left = users.filter(({ scheme }: { scheme: string }) => scheme === 'composed');
  assert.deepEqual(
    left.map(({ uid }: { uid: string }) => uid),
    ['legacy-42'],
  );
  assert.deepEqual(answers.at(-2), { renamed: 2 });
  assert.partialDeepStrictEqual(answers.at(-1), { scheme: 'composed', uid: 'bob' });
});
