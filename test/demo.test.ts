// The demo as a person runs it: what it prints, and what it says of a service that isn't as it should be.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ADMIN_KEY, startService } from './harness.ts';

const MAIN = fileURLToPath(new URL('../demo/main.ts', import.meta.url));
const TIMEOUT_MS = 120_000;

interface Run {
  code: number | null;
  stdout: string;
  stderr: string;
}

async function runDemo(...args: string[]): Promise<Run> {
  const env = { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined, IMID_ADMIN_KEY: ADMIN_KEY };
  const { promise, resolve } = Promise.withResolvers<Run>();
  const child = execFile(
    process.execPath,
    [MAIN, ...args],
    { env, timeout: TIMEOUT_MS },
    (_error, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
  );
  return promise;
}

test('the demo starts a service, plays both schemes side by side, and leaves with 0', async () => {
  const { code, stdout, stderr } = await runDemo();
  assert.equal(stderr, '');
  assert.equal(code, 0);
  for (const line of [
    /^COMPOSED +│ REGISTERED$/m,
    /^backend keeps alice = 1:alice +│/m,
    /│ backend ← 201 im_[0-9a-z]{26}$/m,
    /^Alice +→ anna: “Bring a rope\.” +│ Bob +→ im_…[0-9a-z]{5}: “Bring a rope\.”$/m,
    /^Anna +← welcome, resumed: true +│ Ben +← welcome, resumed: true$/m,
    /^ +✓ all of it, in order, without a gap +│ +✓ all of it, in order, without a gap$/m,
    /^Alice +← #8 from bob: “You are on\.” +│$/m,
    /│ +✓ four addresses, one user$/m,
    /^phone +← push “Alice: New message”, badge 2 +│ phone +← push “Bob: New message”, badge 2$/m,
    /^ +✓ the badge is back to zero +│ +✓ the badge is back to zero$/m,
    /✓ the push is for the new one +│/,
    /^All as it should be: \d+ checks in [\d.]+ s\. Nothing is left behind\.$/m,
  ])
    assert.match(stdout, line);
});

test('the demo leaves with 1 and says what differs when a service garbles what it keeps', async () => {
  const service = await startService();
  await service.database.pool.query(`
    create function garble() returns trigger language plpgsql as
      $$ begin new.content := replace(new.content, 'rope', 'hope'); return new; end $$;
    create trigger garble before insert on message for each row execute function garble();
  `);
  const { code, stdout, stderr } = await runDemo(service.url);
  assert.equal(code, 1);
  assert.match(stdout, /✓ it goes on where it was/);
  assert.doesNotMatch(stdout, /All as it should be/);
  assert.match(
    stderr,
    /^Not as it should be: all of it, in order, without a gap \((composed|registered)\): should be .*'Bring a rope\.'.*, is .*'Bring a hope\.'.*$/m,
  );
  const { body } = await service.call('GET', '/v1/apps');
  assert.deepEqual(body.items, []);
});

test('the demo says in one line why it leaves the pushes out, where a service takes no URL of its machine', async () => {
  const service = await startService();
  const { code, stdout, stderr } = await runDemo(service.url);
  assert.equal(stderr, '');
  assert.equal(code, 0);
  assert.match(
    stdout,
    /^The third act, .*, is left out: .* IMID_ALLOW_PRIVATE_URLS=true\.\n\nAll as it should be/m,
  );
});

test('the demo leaves with 1 when nobody answers', async () => {
  const service = await startService();
  await service.close();
  const { code, stderr } = await runDemo(service.url);
  assert.equal(code, 1);
  assert.match(stderr, /^Not as it should be: POST http:\S+ is not answered: .+$/m);
});
