// The quick starts and the guide for those who come from elsewhere, run as they are written: each ends with a message that
// has arrived.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { testInBrowser } from './browser.ts';
import { hasCurl, readBlocks, runBlocks, type RunOptions, type Shell } from './examples.ts';
import { startService, type Service } from './harness.ts';

const root = fileURLToPath(new URL('../', import.meta.url));
let service: Service;
let built: string;

before(async () => {
  built = await mkdtemp(join(tmpdir(), 'imid-built-'));
  const tsc = join(root, 'node_modules/.bin/tsc');
  [service] = await Promise.all([
    startService(),
    promisify(execFile)(tsc, ['-p', join(root, 'src/client'), '--outDir', built]),
  ]);
});
after(() => rm(built, { recursive: true, force: true }));

/** In a folder that has of imid what `npm run build:client` leaves there, which makes `imid/client` known. */
const runPage = async (page: string, use?: RunOptions['use']): Promise<Shell> =>
  runBlocks(await readBlocks(page), service, {
    given: { BACKEND: await findBackend() },
    async prepare(cwd) {
      await cp(join(root, 'package.json'), join(cwd, 'package.json'));
      await cp(built, join(cwd, 'dist/client'), { recursive: true });
    },
    ...(use && { use }),
  });

/** Where nobody listens. */
async function findBackend(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return `http://localhost:${port}`;
}

const testWithCurl = (name: string, body: () => Promise<void>): void =>
  void test(name, async (t: TestContext) => (hasCurl() ? body() : t.skip('there is no curl')));

testWithCurl('a backend in curl sends, and what it has revoked is refused', async () => {
  const { answers } = await runPage('docs/quickstart-backend-curl.md');
  const [inbox, conversations] = answers.filter(({ items }) => items);
  assert.deepEqual(
    inbox.items.map(({ from, content }: Record<string, unknown>) => [from, content]),
    [
      [{ uid: 'alice' }, { text: 'hello' }],
      [{ system: true }, { text: 'The shop is open.' }],
    ],
  );
  assert.equal(conversations.items.length, 2);
  assert.deepEqual(answers.map(({ code }) => code as string).filter(Boolean), ['token_revoked']);
});

testWithCurl('a backend in Node hands out a token, and tells what happens', async () => {
  const { answers } = await runPage('docs/quickstart-backend-node.md');
  const { items } = answers.at(-1);
  assert.deepEqual(
    items.map(({ from, content }: Record<string, unknown>) => [from, content]),
    [[{ system: true }, { text: 'Your order is on its way.' }]],
  );
});

testWithCurl('a client in Node is answered by another', async () => {
  const { printed } = await runPage('docs/quickstart-node.md');
  assert.equal(printed, 'echo: You said: hello\n');
});

testInBrowser('two people talk in a page', async (page) => {
  await runPage('docs/quickstart-browser.md', async ({ env }) => {
    const other = await page.context().newPage();
    await page.goto(`${env['BACKEND']}/?user=alice&to=bob`);
    await other.goto(`${env['BACKEND']}/?user=bob&to=alice`);
    for (const each of [page, other]) await each.waitForFunction(`state.textContent.includes('is open')`);
    const write = async (from: typeof page, text: string): Promise<void> => {
      await from.locator('input').fill(text);
      await from.locator('button').click();
    };
    await write(page, 'hello');
    await other.getByText('alice: hello', { exact: true }).waitFor();
    await write(other, 'hello yourself');
    for (const each of [page, other]) {
      await each.getByText('bob: hello yourself', { exact: true }).waitFor();
      assert.deepEqual(await each.locator('li').allTextContents(), ['alice: hello', 'bob: hello yourself']);
    }
  });
});

testWithCurl('a message that is brought over twice from elsewhere is there once', async () => {
  const { answers } = await runPage('docs/coming-from.md');
  const [, sent, again, { items }] = answers;
  assert.deepEqual(again, sent);
  assert.deepEqual(
    items.map(({ messageId, content }: Record<string, unknown>) => [messageId, content]),
    [[sent.messageId, { text: 'hello' }]],
  );
});

test('every call that the guides name is one of the document', async () => {
  const { paths } = parse(await readFile(join(root, 'openapi.yaml'), 'utf8')) as {
    paths: Record<string, object>;
  };
  for (const page of ['coming-from', 'quickstart-backend-node', 'quickstart-browser']) {
    const text = await readFile(join(root, `docs/${page}.md`), 'utf8');
    const calls = [...text.matchAll(/`(GET|POST|PUT|PATCH|DELETE) ((?:…|\/v1|\/oauth)[\w/{}]*)/g)];
    assert.ok(calls.length > 0, page);
    for (const [, method, short] of calls) {
      const path = short!.replace('…', '/v1/apps/{appId}');
      assert.ok(method!.toLowerCase() in (paths[path] ?? {}), `${page}: ${method} ${path}`);
    }
  }
});
