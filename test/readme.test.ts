// The examples of the README, run as they are written there, in order, against a service of their own.

import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { before, test } from 'node:test';
import { promisify } from 'node:util';
import { ADMIN_KEY, startService, type Json, type Service } from './harness.ts';

const run = promisify(execFile);

interface Block {
  language: string;
  text: string;
}

let service: Service;
let blocks: Block[];
before(async () => {
  service = await startService();
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
  const conversation = readme.slice(
    readme.indexOf('### The same conversation in each'),
    readme.indexOf('## The socket'),
  );
  blocks = [...conversation.matchAll(/^```(sh|js)\n(.*?)^```$/gms)].map(([, language, text]) => ({
    language: language!,
    text: text!,
  }));
});

const hasCurl = (): boolean => {
  try {
    execFileSync('curl', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};

test('the conversation of the README takes place, in both schemes', async (t) => {
  if (!hasCurl()) {
    assert.ok(!process.env['CI'], 'there is no curl');
    return t.skip('there is no curl');
  }
  const env: Record<string, string> = { PATH: process.env['PATH']!, ADMIN: ADMIN_KEY };
  const answers: Json[] = [];
  let printed = '';
  for (const { language, text } of blocks) {
    if (language === 'js')
      printed += (await run(process.execPath, ['--input-type=module', '-e', text], { env })).stdout;
    else for (const command of text.split(/\n(?=\S)/)) await runCommand(command, env, answers);
  }
  assert.equal(answers.length, 16);
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
  const inboxOfBob = answers[13];
  assert.deepEqual(inboxOfBob.items[0].from, { imId: `${app.appId}:alice`, uid: 'alice' });
  assert.deepEqual(inboxOfBob.items[0].to, { imId: env['BOB_ID'], userId: 'bob' });
});

/** `NAME=value`, `NAME=… # field of the answer`, or a curl that answers JSON. */
async function runCommand(command: string, env: Record<string, string>, answers: Json[]): Promise<void> {
  const [, name, value, field] = /^export (\w+)=(.*?)(?: +# (\w+) of the answer)?\n*$/s.exec(command) ?? [];
  if (name !== undefined) {
    if (field !== undefined) env[name] = answers.at(-1)[field];
    else env[name] = name === 'IMID' ? service.url : value!.replaceAll("'", '');
    assert.ok(env[name], command);
    return;
  }
  const { stdout } = await run('bash', ['-c', command], { env });
  answers.push(JSON.parse(stdout));
}

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
