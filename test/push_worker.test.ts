// What the adapter of Web Push sends, in a real browser, shown by the service worker of the guide. No browser subscribes
// without the internet: the browser's developer tools hand over what the stand-in has decrypted.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import type { Page } from 'playwright-core';
import { createOutbound } from '../src/outbound.ts';
import { createWebPushKeys } from '../src/push/vapid.ts';
import { createWebPush } from '../src/push/webpush.ts';
import { testInBrowser } from './browser.ts';
import { eventually } from './harness.ts';
import { notificationOf } from './push/contract.ts';
import { startPushService } from './push/webpush_stand_in.ts';

const guide = await readFile(new URL('../docs/push-web.md', import.meta.url), 'utf8');
const [, worker] = /```js\n(\/\/ push\.js\n[^`]+)```/.exec(guide)!;
// A headless browser shows nothing, and so lets no page do it: what would be shown is kept here.
const STAGE = `
  const shown = new Map();
  ServiceWorkerRegistration.prototype.showNotification = async (title, { tag, ...options }) => shown.set(tag, { title, ...options });
  ServiceWorkerRegistration.prototype.getNotifications = async ({ tag }) =>
    shown.has(tag) ? [{ close: () => shown.delete(tag) }] : [];
  self.addEventListener('message', (event) => event.ports[0].postMessage([...shown]));
`;
const pages = createServer((request, response) => {
  const isWorker = request.url === '/push.js';
  response.setHeader('content-type', isWorker ? 'text/javascript' : 'text/html');
  response.end(isWorker ? STAGE + worker : '<title>chat</title>');
});
pages.listen(0, '127.0.0.1');
await once(pages, 'listening');
after(() => {
  pages.closeAllConnections();
  pages.close();
});
const origin = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`;

/** The tags and titles of what is shown. */
const shownBy = (page: Page): Promise<[string, { title: string }][]> =>
  page.evaluate(async () => {
    const { active } = await (navigator as any).serviceWorker.ready;
    const { port1, port2 } = new MessageChannel();
    return new Promise((resolve) => {
      port1.addEventListener('message', ({ data }) => resolve(data));
      port1.start();
      active!.postMessage('', [port2]);
    });
  });

testInBrowser('the service worker of the guide shows, replaces and takes away', async (page) => {
  const credentials = { ...createWebPushKeys(), subject: 'mailto:push@customer.example' };
  const service = await startPushService({ after, diagnostic: () => {} }, credentials.publicKey);
  const provider = createWebPush(credentials, {
    now: () => new Date(),
    outbound: createOutbound({ allowPrivate: true }),
  });
  const token = JSON.stringify(service.browser.subscription);

  const tools = await page.context().newCDPSession(page);
  let registrationId = '';
  tools.on('ServiceWorker.workerRegistrationUpdated', ({ registrations }) => {
    registrationId = registrations[0]?.registrationId ?? registrationId;
  });
  await tools.send('ServiceWorker.enable');
  await page.goto(origin);
  await page.evaluate(async () => {
    await (navigator as any).serviceWorker.register('/push.js');
    await (navigator as any).serviceWorker.ready;
  });

  const deliver = async (changes: Parameters<typeof notificationOf>[0]): Promise<void> => {
    const outcome = await provider.send(notificationOf(changes), { token, environment: 'production' });
    assert.equal(outcome.kind, 'sent');
    const data = service.payloads.at(-1)!;
    await tools.send('ServiceWorker.deliverPushMessage', { origin, registrationId, data });
  };
  const isShown = (expected: object): Promise<unknown> =>
    eventually(async () => isDeepStrictEqual(await shownBy(page), expected), JSON.stringify(expected));

  const data = { conversation: 'alice' };
  await deliver({ collapseId: 'c_1', body: 'Lunch?' });
  await isShown([['c_1', { title: 'Alice', body: 'Lunch?', data }]]);
  await deliver({ collapseId: 'c_1', body: 'Dinner? 🍜' });
  await isShown([['c_1', { title: 'Alice', body: 'Dinner? 🍜', data }]]);
  await deliver({ id: 'another', title: undefined });
  await isShown([
    ['c_1', { title: 'Alice', body: 'Dinner? 🍜', data }],
    ['another', { title: '', body: 'Lunch? 🍜', data }],
  ]);
  await deliver({ collapseId: 'c_1', isSilent: true });
  await isShown([['another', { title: '', body: 'Lunch? 🍜', data }]]);
});
