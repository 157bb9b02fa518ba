// The examples of the README, run as they are written there, in order, against a service of their own.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { before, test } from 'node:test';
import { hasCurl, readBlocks, runBlocks } from './examples.ts';
import { startService, type Service } from './harness.ts';

let service: Service;
before(async () => {
  service = await startService();
});

test('the conversation of the README takes place, in both schemes', async (t) => {
  if (!hasCurl()) return t.skip('there is no curl');
  const blocks = await readBlocks('README.md', '### The same conversation in each', '## The socket');
  const { answers, printed, env } = await runBlocks(blocks, service);
  assert.equal(answers.length, 18);
  assert.deepEqual(
    answers.filter((answer) => answer.code !== undefined),
    [],
  );
  const [app] = answers;
  assert.deepEqual(answers[4], { items: [{ uid: 'bob', displayName: 'Bob' }] });
  assert.deepEqual(answers[9], { items: [{ imId: env['DAVE_ID'], displayName: 'Dave' }] });
  for (const seen of [
    /bob \{\s*type: 'message',\s*seq: 1/,
    /alice \{\s*type: 'sent',\s*id: 'hello-1'/,
    /carol \{\s*type: 'sent'/,
  ])
    assert.match(printed, seen);
  assert.deepEqual([answers[14].line, answers[14].userId, answers[14].status], [2, 'frank', 'created']);
  assert.deepEqual(Object.keys(answers[15]), ['imId', 'userId', 'createdAt']);
  assert.equal(answers[16].status, 'created');
  assert.deepEqual([answers[17].id, answers[17].to], ['old-1', { userId: 'dave' }]);
  const inboxOfBob = answers[13];
  assert.deepEqual(inboxOfBob.items[0].from, { imId: `${app.appId}:alice`, uid: 'alice' });
  assert.deepEqual(inboxOfBob.items[0].to, { imId: env['BOB_ID'], userId: 'bob' });
});

test('the README names every environment variable that is read, every error code and every close code', async () => {
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
  const config = await readFile(new URL('../src/config.ts', import.meta.url), 'utf8');
  const errors = await readFile(new URL('../src/errors.ts', import.meta.url), 'utf8');
  for (const [, variable = ''] of config.matchAll(/env\.([A-Z_]+)/g))
    assert.ok(readme.includes(`\`${variable}\``) || readme.includes(`${variable}\``), variable);
  for (const [, code = '', status = ''] of errors.matchAll(/^ {2}(\w+): \{ status: (\d+)/gm))
    assert.ok(readme.replaceAll('\n', ' ').includes(`\`${code}\` ${status}`), code);
  for (const [, code = ''] of errors.matchAll(/\{ code: (\d+)/g))
    assert.ok(readme.includes(`| ${code} `), code);
});
