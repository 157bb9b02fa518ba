// From which pages browsers may connect: the app's list, and what its entries may be.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { before, test } from 'node:test';
import { WebSocket } from 'ws';
import { parseOrigin } from '../src/edge/origins.ts';
import { testInBrowser } from './browser.ts';
import { eventually, startService, type Service, type Tenant } from './harness.ts';

let service: Service;
before(async () => {
  service = await startService();
});

const allow = async (app: Tenant, allowedOrigins: string[]) => {
  const { status, body } = await app.call('PATCH', '', { allowedOrigins });
  assert.equal(status, 200, JSON.stringify(body));
  return body.allowedOrigins as string[];
};

/** Tries to connect from a page; gives back 101, or the status and code of the refusal. */
async function connectFrom(at: Service, token: string, origin?: string): Promise<string> {
  const socket = new WebSocket(`${at.url.replace('http', 'ws')}/v1/connect`, ['imid.v1', `bearer.${token}`], {
    ...(origin !== undefined && { headers: { origin } }),
  });
  socket.on('error', () => {});
  const { promise: answered, resolve } = Promise.withResolvers<string>();
  socket.on('open', () => resolve('101'));
  socket.on('unexpected-response', (_request, response) => {
    let text = '';
    response.on('data', (data: Buffer) => (text += data.toString()));
    response.on('end', () => resolve(`${response.statusCode} ${JSON.parse(text).code}`));
  });
  const answer = await answered;
  socket.terminate();
  return answer;
}

test('without a list every page may connect, with one only its own, and whoever is no browser', async () => {
  const app = await service.createApp();
  const token = await app.token({ uid: 'bob' });
  assert.deepEqual((await app.call('GET', '')).body.allowedOrigins, []);
  for (const origin of ['https://evil.example', 'null', undefined])
    assert.equal(await connectFrom(service, token, origin), '101');
  await allow(app, ['https://chat.example', 'http://localhost:3000', 'capacitor://localhost']);
  for (const origin of ['https://chat.example', 'http://localhost:3000', 'capacitor://localhost', undefined])
    assert.equal(await connectFrom(service, token, origin), '101', String(origin));
  for (const origin of [
    'https://evil.example',
    'https://chat.example.evil.example',
    'https://evil.example/https://chat.example',
    'https://chat.example@evil.example',
    'http://chat.example',
    'https://chat.example:8443',
    'http://localhost',
    'https://chat.example https://evil.example',
    'null',
    '',
  ])
    assert.equal(await connectFrom(service, token, origin), '403 forbidden', origin);
  await allow(app, []);
  assert.equal(await connectFrom(service, token, 'https://evil.example'), '101');
});

test('a bad token is told so from whichever page, and what is refused leaves no device and no connection', async () => {
  const app = await service.createApp();
  await allow(app, ['https://chat.example']);
  assert.equal(await connectFrom(service, 'eyJ.no.token', 'https://evil.example'), '401 unauthorized');
  const token = await app.token({ uid: 'bob', deviceId: 'phone' });
  assert.equal(await connectFrom(service, token, 'https://evil.example'), '403 forbidden');
  const { body } = await app.call('GET', `/presence?imId=${app.appId}:bob`);
  assert.deepEqual(body.items[0].devices, []);
});

test('the list is kept as browsers send origins, given with the app, and changed by its own key or the admin', async () => {
  const written = [
    'HTTPS://Chat.Example:443',
    'https://chat.example',
    'http://bücher.example:80',
    'Ionic://Localhost',
  ];
  const kept = ['https://chat.example', 'http://xn--bcher-kva.example', 'ionic://localhost'];
  const { body: made } = await service.call('POST', '/v1/apps', {
    body: { name: 'chat', schemes: ['composed'], allowedOrigins: written },
  });
  assert.deepEqual(made.allowedOrigins, kept);
  const path = `/v1/apps/${made.appId}`;
  assert.deepEqual((await service.call('GET', path, { key: made.apiKey })).body.allowedOrigins, kept);
  const renamed = await service.call('PATCH', path, { key: made.apiKey, body: { name: 'other' } });
  assert.deepEqual(renamed.body.allowedOrigins, kept);
  const byAdmin = await service.call('PATCH', path, { body: { allowedOrigins: ['http://[::1]:3000'] } });
  assert.deepEqual([byAdmin.body.name, byAdmin.body.allowedOrigins], ['other', ['http://[::1]:3000']]);
  const { body: reader } = await service.call('POST', `${path}/keys`, {
    body: { name: 'r', scopes: ['read'] },
  });
  const refused = await service.call('PATCH', path, { key: reader.apiKey, body: { allowedOrigins: [] } });
  assert.equal(refused.body.code, 'forbidden');
});

test('an entry that no page can have is refused by its place', async () => {
  const app = await service.createApp();
  for (const bad of [
    'null',
    '*',
    '',
    'chat.example',
    'https://',
    'https://chat.example/',
    'https://chat.example/path',
    'https://chat.example?x',
    'https://*.chat.example',
    'https://user@chat.example',
    'https://chat.example:99999',
    'https://chat example',
    'wss://chat.example',
    'file://host',
    'data:text/html,x',
    `https://${'x'.repeat(300)}`,
  ]) {
    const fine = 'https://chat.example';
    const { status, body } = await app.call('PATCH', '', { allowedOrigins: [fine, fine, fine, bad] });
    assert.deepEqual([status, body.errors[0].pointer], [400, '#/allowedOrigins/3'], bad);
  }
  const many = Array.from({ length: 101 }, (_, n) => `https://c${n}.example`);
  assert.equal(
    (await app.call('PATCH', '', { allowedOrigins: many })).body.errors[0].pointer,
    '#/allowedOrigins',
  );
  assert.equal((await allow(app, many.slice(1))).length, 100);
});

test('an origin in the form in which it is kept stays as it is', () => {
  for (const origin of [
    'https://chat.example',
    'http://127.0.0.1:8080',
    'app://.',
    'chrome-extension://abcdef',
    'tauri://localhost',
  ])
    assert.equal(parseOrigin(origin), origin);
});

test('a list that is changed on one process holds on another within a second', async () => {
  const other = await startService({ on: service });
  const app = await service.createApp();
  const token = await app.token({ uid: 'bob' });
  assert.equal(await connectFrom(other, token, 'https://evil.example'), '101');
  await allow(app, ['https://chat.example']);
  const changedAt = performance.now();
  await eventually(async () => {
    const askedMs = performance.now() - changedAt;
    if ((await connectFrom(other, token, 'https://evil.example')) === '403 forbidden') return true;
    assert.ok(askedMs <= 1_000, `let in after ${askedMs} ms`);
    return false;
  });
  assert.equal(await connectFrom(other, token, 'https://chat.example'), '101');
  await other.close();
});

testInBrowser(
  'a page that is on the list connects, and the same page of another origin doesn’t',
  async (page) => {
    const pages = createServer((_request, response) => response.end('<!doctype html><title>chat</title>'));
    pages.listen(0, '127.0.0.1');
    await once(pages, 'listening');
    const { port } = pages.address() as AddressInfo;
    try {
      const app = await service.createApp();
      await allow(app, [`http://localhost:${port}`]);
      const token = await app.token({ uid: 'bob' });
      const seen: string[] = [];
      for (const host of ['localhost', '127.0.0.1']) {
        await page.goto(`http://${host}:${port}/`);
        const outcome = await page.evaluate(
          ([url, credential]) =>
            new Promise<string>((resolve) => {
              const socket = new WebSocket(url!, ['imid.v1', `bearer.${credential}`]);
              socket.addEventListener('message', ({ data }) => resolve(JSON.parse(data as string).type));
              socket.addEventListener('close', ({ code }) => resolve(String(code)));
            }),
          [`${service.url.replace('http', 'ws')}/v1/connect`, token],
        );
        seen.push(outcome);
      }
      assert.deepEqual(seen, ['welcome', '1006']);
    } finally {
      pages.close();
      pages.closeAllConnections();
    }
  },
);
