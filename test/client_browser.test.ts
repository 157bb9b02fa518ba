// The client library as it is built, in a browser: imported by a page as it is, against a real service behind a gate.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Page } from 'playwright-core';
import { testInBrowser } from './browser.ts';
import { issueToken } from './clients.ts';
import { startGate, type Gate } from './gate.ts';
import { eventually, startService, type Json, type Service, type Tenant } from './harness.ts';

const root = fileURLToPath(new URL('../', import.meta.url));
let service: Service;
let app: Tenant;
let gate: Gate;
let pages: Server;
let directory: string;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'imid-client-'));
  const tsc = join(root, 'node_modules/.bin/tsc');
  await promisify(execFile)(tsc, ['-p', join(root, 'src/client'), '--outDir', directory]);
  service = await startService();
  app = await service.createApp();
  const { hostname: host, port } = new URL(service.url);
  gate = await startGate({ host, port: Number(port) });
  pages = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url!, 'http://x');
    const show = (type: string, body: string): void =>
      void response.setHeader('content-type', type).end(body);
    if (pathname === '/') show('text/html', '<!doctype html><title>chat</title>');
    else if (pathname === '/token')
      void issueToken(app, searchParams.get('uid')!, Number(searchParams.get('ttl'))).then((token) =>
        show('text/plain', token),
      );
    else
      readFile(join(directory, basename(pathname)), 'utf8').then(
        (text) => show('text/javascript', text),
        () => response.writeHead(404).end(),
      );
  });
  pages.listen(0, '127.0.0.1');
  await once(pages, 'listening');
});
after(async () => {
  pages.close();
  pages.closeAllConnections();
  await gate.close();
  await rm(directory, { recursive: true });
});

interface Opened {
  page: Page;
  /** Runs in the page, where `client` and what it has `seen` are. */
  run<T>(body: string): Promise<T>;
  /** What came, by name. */
  seen(name: string): Promise<Json[]>;
}

/** Opens a page with a client of a user, which isn't connected. */
async function openPage(page: Page, uid: string, options = '{}', ttl = 3_600): Promise<Opened> {
  await page.goto(`http://localhost:${(pages.address() as AddressInfo).port}/`);
  const url = `http://127.0.0.1:${gate.connection.port}`;
  await page.evaluate(`(async () => {
    const { createClient, webStore } = await import('/index.js');
    window.reasons = [];
    window.seen = {};
    window.client = createClient({
      url: ${JSON.stringify(url)},
      backoff: { baseMs: 20, maxMs: 100 },
      getToken: async ({ reason }) => {
        reasons.push(reason);
        return (await fetch('/token?uid=${uid}&ttl=${ttl}')).text();
      },
      ...${options},
    });
    for (const name of ['state', 'message', 'sent', 'failed', 'error']) {
      seen[name] = [];
      client.on(name, (event) => seen[name].push({ ...event, error: event.error && { code: event.error.code } }));
    }
  })()`);
  return {
    page,
    run: (body) => page.evaluate(`(async () => { ${body} })()`),
    seen: (name) => page.evaluate(`seen[${JSON.stringify(name)}]`),
  };
}

const say = (to: string, content: unknown): Promise<unknown> =>
  app.call('POST', '/messages', { from: { uid: 'server' }, to: { uid: to }, content });
const contents = async ({ seen }: Opened): Promise<unknown[]> =>
  (await seen('message')).map(({ content }) => content as unknown);
const isIn = ({ run }: Opened, state: string): Promise<true> =>
  eventually(async () => (await run<string>('return client.state')) === state && (true as const), state);
const inboxOf = async (uid: string): Promise<unknown[]> =>
  (await app.inbox(`${app.appId}:${uid}`)).map(({ content }) => content as unknown);

testInBrowser('a page talks, is cut off, meets silence, and has everything once', async (page) => {
  const alice = await openPage(page, 'alice', '{ silenceMs: 100, timeoutMs: 300 }');
  const { me } = await alice.run<Json>('return client.connect()');
  assert.deepEqual(me, { scheme: 'composed', uid: 'alice' });
  const { messageId } = await alice.run<Json>(`return client.send({ uid: 'bob' }, { text: 'hello' })`);
  assert.deepEqual(
    (await app.inbox(`${app.appId}:bob`)).map((each) => each.messageId),
    [messageId],
  );
  gate.shut();
  await isIn(alice, 'waiting');
  await alice.run(`window.sending = client.send({ uid: 'bob' }, 'from the dark')`);
  await say('alice', 1);
  gate.open();
  await alice.run('await sending');
  gate.mute();
  await say('alice', 2);
  await isIn(alice, 'waiting');
  gate.open();
  await eventually(async () => (await contents(alice)).length === 2);
  assert.deepEqual(
    [await contents(alice), await inboxOf('bob')],
    [
      [1, 2],
      [{ text: 'hello' }, 'from the dark'],
    ],
  );
  assert.equal((await alice.seen('state')).find(({ error }) => error).error.code, 'no_network');
});

testInBrowser('what a page could not send outlives its reload, and goes out once', async (page) => {
  const options = `{ store: webStore('reader') }`;
  const first = await openPage(page, 'reader', options);
  await first.run('await client.connect()');
  gate.shut();
  await isIn(first, 'waiting');
  await first.run(`for (const n of [1, 2]) client.send({ uid: 'librarian' }, n)`);
  await say('reader', 'missed');
  gate.open();
  const second = await openPage(page, 'reader', options);
  await second.run('await client.connect()');
  await eventually(
    async () => (await second.seen('sent')).length === 2 && (await contents(second)).length === 1,
  );
  assert.deepEqual([await contents(second), await inboxOf('librarian')], [['missed'], [1, 2]]);
  await eventually(async () => (await second.run<number>('return localStorage.length')) === 1);
  await second.run('await client.logout()');
  assert.equal(await second.run('return localStorage.length'), 0);
});

testInBrowser(
  'two tabs each get everything; with one deviceId the later stays, and they don’t fight',
  async (page) => {
    const other = await page.context().newPage();
    const options = `{ store: webStore('tabs') }`;
    const tabs = [await openPage(page, 'tabs', options), await openPage(other, 'tabs', options)];
    for (const { run } of tabs) await run('await client.connect()');
    await say('tabs', 'both');
    await tabs[0]!.run(`await client.send({ uid: 'x' }, 'from the first')`);
    for (const tab of tabs) await eventually(async () => (await contents(tab)).includes('both'));
    await eventually(async () => (await contents(tabs[1]!)).includes('from the first'));
    assert.deepEqual(await contents(tabs[0]!), ['both']);

    const same = [
      await openPage(page, 'tabs', `{ deviceId: 'pc' }`),
      await openPage(other, 'tabs', `{ deviceId: 'pc' }`),
    ];
    for (const { run } of same) await run('await client.connect()');
    await isIn(same[0]!, 'closed');
    assert.equal((await same[0]!.seen('state')).at(-1).error.code, 'replaced');
    await same[1]!.run(`await client.send({ uid: 'x' }, 'from the second')`);
    assert.deepEqual(
      [await same[0]!.run('return client.state'), await same[1]!.run('return client.state')],
      ['closed', 'open'],
    );
  },
);

testInBrowser('a page tells a token that is refused from a network that isn’t there', async (page) => {
  const bad = await openPage(page, 'eve', `{ getToken: async () => 'ey.no.token' }`);
  assert.equal(await bad.run(`return client.connect().catch(({ code }) => code)`), 'unauthorized');
  const lost = await openPage(page, 'eve');
  gate.shut();
  await lost.run('void client.connect()');
  await isIn(lost, 'waiting');
  const waiting = (await lost.seen('state')).findLast(({ state }) => state === 'waiting');
  assert.equal(waiting.error.code, 'no_network');
  gate.open();
  await isIn(lost, 'open');
});

testInBrowser('pages whose clocks are far off renew their tokens in time', async (page) => {
  const renew = async (each: Page, days: number): Promise<void> => {
    await each.addInitScript(`{
      const { now } = Date;
      Date.now = () => now() + ${days * 86_400_000};
    }`);
    const skewed = await openPage(each, 'skewed', '{}', 2);
    await skewed.run('await client.connect()');
    await eventually(async () => (await skewed.run<number>('return reasons.length')) === 3);
    assert.deepEqual(await skewed.run('return reasons'), ['first', 'expiring', 'expiring']);
    assert.deepEqual(
      (await skewed.seen('state')).map(({ state }) => state),
      ['connecting', 'open'],
    );
  };
  await Promise.all([renew(page, -400), renew(await page.context().newPage(), 400)]);
});

testInBrowser(
  'a page that is hidden is in the background, and one that is shown looks at once',
  async (page) => {
    const seer = await openPage(page, 'seer', '{ backoff: { baseMs: 1e9, maxMs: 1e9 } }');
    await seer.run('await client.connect()');
    const turn = (state: string): Promise<unknown> =>
      seer.run(`
      Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => '${state}' });
      document.dispatchEvent(new Event('visibilitychange'))`);
    const isForeground = (expected: boolean): Promise<true> =>
      eventually(async () => {
        const { body } = await app.call('GET', `/presence?imId=${app.appId}:seer`);
        return body.items[0].foreground === expected && (true as const);
      }, `foreground: ${expected}`);
    await isForeground(true);
    await turn('hidden');
    await isForeground(false);
    gate.shut();
    await isIn(seer, 'waiting');
    gate.open();
    await turn('visible');
    await isIn(seer, 'open');
    await isForeground(true);
    gate.shut();
    await isIn(seer, 'waiting');
    gate.open();
    await seer.run(`dispatchEvent(new Event('online'))`);
    await isIn(seer, 'open');
  },
);
