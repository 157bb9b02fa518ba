// What answers say to browsers: which pages may read them, and that nothing is framed, sniffed or kept.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { before, test } from 'node:test';
import { testInBrowser } from './browser.ts';
import { startService, type Answer, type Service, type Tenant } from './harness.ts';

const HERE = 'https://chat.example';
const ELSEWHERE = 'https://evil.example';

let service: Service;
let app: Tenant;
let token: string;
before(async () => {
  service = await startService({ app: { quotas: { user: { uses: 30, windowSeconds: 3_600 } } } });
  app = await service.createApp();
  token = await app.token({ uid: 'bob' });
  await app.call('PATCH', '', { allowedOrigins: [HERE] });
});

const ask = (method: string, path: string, origin: string, key = token): Promise<Answer> =>
  service.call(method, path, { key, headers: { origin } });

const corsOf = ({ headers }: Answer): string[] =>
  [...headers.keys()].filter((name) => name.startsWith('access-control-')).toSorted();

test('a page that the app lets connect may act with a token, and read what is wrong; another page only why it may not', async () => {
  for (const path of ['/v1/me', '/v1/me/contacts', '/v1/me/messages', '/v1/me/messages?limit=0']) {
    const answer = await ask('GET', path, HERE);
    assert.equal(answer.status, path.endsWith('=0') ? 400 : 200);
    assert.equal(answer.headers.get('access-control-allow-origin'), HERE);
    assert.match(
      answer.headers.get('access-control-expose-headers')!,
      /ETag.*RateLimit.*Retry-After.*X-Request-Id/,
    );
    assert.match(answer.headers.get('vary')!, /\borigin\b/i);
    const refused = await ask('GET', path, ELSEWHERE);
    assert.deepEqual([refused.status, refused.body.code], [403, 'forbidden']);
    assert.match(refused.body.detail, /pages of this origin/);
    assert.equal(refused.headers.get('access-control-allow-origin'), ELSEWHERE);
    assert.match(refused.headers.get('vary')!, /\borigin\b/i);
  }
  const open = await service.createApp();
  const anywhere = await ask('GET', '/v1/me', ELSEWHERE, await open.token({ uid: 'bob' }));
  assert.equal(anywhere.headers.get('access-control-allow-origin'), ELSEWHERE);
  assert.equal(anywhere.headers.get('access-control-allow-credentials'), null);
});

test('any page may read that its token is refused, or its quota used up', async () => {
  const refused = await ask('GET', '/v1/me', ELSEWHERE, 'ey.no.token');
  assert.deepEqual([refused.status, refused.headers.get('access-control-allow-origin')], [401, ELSEWHERE]);
  const eve = await app.token({ uid: 'eve' });
  for (let n = 0; n < 30; n++) await ask('GET', '/v1/me', HERE, eve);
  const limited = await ask('GET', '/v1/me', HERE, eve);
  assert.deepEqual([limited.status, limited.headers.get('access-control-allow-origin')], [429, HERE]);
  assert.equal((await ask('GET', '/v1/me', ELSEWHERE, eve)).status, 429);
});

test('a preflight needs no credential and tells what may be asked, below /v1/me alone', async () => {
  for (const path of ['/v1/me', '/v1/me/messages', '/v1/me/devices/phone']) {
    const { status, headers, text } = await service.call('OPTIONS', path, {
      key: '',
      headers: { origin: ELSEWHERE, 'access-control-request-method': 'PUT' },
    });
    assert.deepEqual([status, text, headers.get('access-control-allow-origin')], [204, '', ELSEWHERE]);
    for (const name of ['Authorization', 'Content-Type', 'Idempotency-Key', 'If-Match', 'If-None-Match'])
      assert.ok(headers.get('access-control-allow-headers')!.split(', ').includes(name), name);
    assert.match(headers.get('access-control-allow-methods')!, /GET.*PUT.*DELETE/);
    assert.equal(headers.get('access-control-max-age'), '7200');
  }
  for (const path of ['/v1/apps', app.path, `${app.path}/tokens`, '/v1/connect', '/metrics']) {
    const preflight = await ask('OPTIONS', path, HERE);
    assert.deepEqual([preflight.status, corsOf(preflight)], [404, []], path);
    assert.deepEqual(corsOf(await ask('GET', path, HERE, app.apiKey)), [], path);
  }
  const keys = await ask('GET', '/.well-known/jwks.json', ELSEWHERE, '');
  assert.equal(keys.headers.get('access-control-allow-origin'), '*');
});

test('every answer forbids to be framed, sniffed, embedded and kept', async () => {
  const answers = [
    await service.call('GET', '/v1/me', { key: token }),
    await app.call('POST', '/tokens', { uid: 'carol' }),
    await service.call('POST', '/v1/apps', { body: { name: 'x', schemes: ['composed'] } }),
    await service.call('GET', '/v1/me', { key: 'bad' }),
    await service.call('GET', '/nowhere'),
    await service.call('GET', `/v1/apps/${'9'.repeat(700)}`),
    await service.call('GET', '/%ff'),
    await service.call('GET', '/readyz'),
  ];
  for (const { headers, status } of answers) {
    const about = `${status} ${JSON.stringify([...headers])}`;
    assert.equal(headers.get('content-security-policy'), "default-src 'none';frame-ancestors 'none'", about);
    assert.equal(headers.get('x-content-type-options'), 'nosniff', about);
    assert.equal(headers.get('x-frame-options'), 'DENY', about);
    assert.equal(headers.get('referrer-policy'), 'no-referrer', about);
    assert.equal(headers.get('cross-origin-resource-policy'), 'same-origin', about);
    assert.match(headers.get('strict-transport-security')!, /^max-age=31536000/, about);
    assert.equal(headers.get('cache-control'), 'no-store', about);
  }
  const keys = await service.call('GET', '/.well-known/jwks.json', { key: '' });
  assert.match(keys.headers.get('cache-control')!, /^public, max-age=/);
});

test('the docs run no script but their own, and nothing says https where the service is reached by http', async () => {
  const plain = await startService({ on: service, app: { publicUrl: 'http://imid.example' } });
  const { headers } = await plain.call('GET', '/docs/', { key: '' });
  const policy = headers.get('content-security-policy')!;
  assert.match(policy, /default-src 'none'; script-src 'self';/);
  assert.doesNotMatch(policy, /script-src [^;]*unsafe|style-src [^;]*unsafe/);
  assert.equal(headers.get('cross-origin-opener-policy'), 'same-origin');
  assert.equal(headers.get('strict-transport-security'), null);
  await plain.close();
});

testInBrowser('a page reads who its token acts for, and on another origin that it may not', async (page) => {
  const pages = createServer((_request, response) => response.end('<!doctype html><title>chat</title>'));
  pages.listen(0, '127.0.0.1');
  await once(pages, 'listening');
  const { port } = pages.address() as AddressInfo;
  try {
    const own = await service.createApp();
    await own.call('PATCH', '', { allowedOrigins: [`http://localhost:${port}`] });
    const good = await own.token({ uid: 'bob' });
    const seen: unknown[] = [];
    for (const host of ['localhost', '127.0.0.1']) {
      await page.goto(`http://${host}:${port}/`);
      for (const credential of [good, 'ey.no.token'])
        seen.push(
          await page.evaluate(
            async ([url, key]) => {
              const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
              const answer = await fetch(url!, { headers }).catch(() => undefined);
              return answer && [answer.status, answer.headers.get('ratelimit') !== null];
            },
            [`${service.url}/v1/me`, credential],
          ),
        );
    }
    assert.deepEqual(seen, [
      [200, true],
      [401, true],
      [403, true],
      [401, true],
    ]);
  } finally {
    pages.close();
    pages.closeAllConnections();
  }
});
