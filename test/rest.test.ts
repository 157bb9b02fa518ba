// The REST API seen from outside: apps and keys, credentials, problem documents.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { before, test } from 'node:test';
import { parse } from 'yaml';
import { ADMIN_KEY, startService, type Answer, type Service } from './harness.ts';

let service: Service;
before(async () => {
  service = await startService();
});

function assertProblem(answer: Answer, status: number, code: string, pointer?: string): void {
  assert.deepEqual([answer.status, answer.body.code], [status, code], JSON.stringify(answer.body));
  assert.match(answer.headers.get('content-type')!, /^application\/problem\+json/);
  assert.equal(answer.body.status, status);
  for (const member of ['type', 'title', 'detail']) assert.equal(typeof answer.body[member], 'string');
  if (pointer !== undefined)
    assert.ok(
      answer.body.errors.some((error: { pointer: string }) => error.pointer === pointer),
      `${pointer} in ${JSON.stringify(answer.body.errors)}`,
    );
}

test('an app is created, read, changed, listed and deleted', async () => {
  const created = await service.call('POST', '/v1/apps', { body: { name: 'chat', schemes: ['composed'] } });
  assert.equal(created.status, 201);
  const { apiKey, ...app } = created.body;
  assert.match(app.appId, /^[1-9]\d*$/);
  assert.match(apiKey, /^imk_[0-9a-f]{16}_[\w-]{43}$/);
  const fields =
    'allowedOrigins appId createdAt name presence pushShowsText pushTemplates pushWhen recallSeconds retentionDays schemes';
  assert.deepEqual(Object.keys(app).toSorted(), fields.split(' '));
  const path = `/v1/apps/${app.appId}`;
  assert.deepEqual((await service.call('GET', path)).body, app);
  assert.deepEqual((await service.call('GET', path, { key: apiKey })).body, app);
  const changed = await service.call('PATCH', path, {
    key: apiKey,
    body: { schemes: ['registered', 'composed'] },
  });
  assert.deepEqual(changed.body.schemes, ['composed', 'registered']);
  const { body } = await service.call('GET', '/v1/apps?limit=1000');
  assert.ok(body.items.some((item: { appId: string }) => item.appId === app.appId));
  assert.equal((await service.call('DELETE', path)).status, 204);
  assertProblem(await service.call('GET', path), 404, 'not_found');
});

test('a deleted app takes its users, inboxes, tokens and sockets with it', async () => {
  const app = await service.createApp();
  const token = await app.token({ uid: 'bob' });
  const client = await service.connect(token);
  await client.say({ uid: 'bob' }, 'note');
  await app.register('carol');
  assert.equal((await service.call('DELETE', app.path)).status, 204);
  assert.equal((await client.waitClosed()).code, 4502);
  await assert.rejects(service.connect(token), { status: 401 });
  assert.ok([401, 404].includes((await app.call('GET', '')).status));
  for (const table of ['identity', 'message', 'former_name', 'device', 'api_key']) {
    const { rows } = await service.database.pool.query(`select 1 from ${table} where app_id = $1`, [
      app.appId,
    ]);
    assert.equal(rows.length, 0, table);
  }
});

test('several keys live at once, so that one can be rotated without a gap', async () => {
  const app = await service.createApp();
  const second = await app.call('POST', '/keys', { name: 'second' });
  assert.equal(second.status, 201);
  assert.deepEqual(Object.keys(second.body).toSorted(), ['apiKey', 'createdAt', 'keyId', 'name', 'scopes']);
  assert.equal((await service.call('GET', app.path, { key: second.body.apiKey })).status, 200);
  const listed = await app.call('GET', '/keys');
  assert.equal(listed.body.items.length, 2);
  assert.ok(!JSON.stringify(listed.body).includes('imk_'));
  const firstId = listed.body.items
    .map((key: { keyId: string }) => key.keyId)
    .find((id: string) => id !== second.body.keyId);
  assert.equal(
    (await service.call('DELETE', `${app.path}/keys/${firstId}`, { key: second.body.apiKey })).status,
    204,
  );
  assertProblem(await app.call('GET', ''), 401, 'unauthorized');
  assert.equal((await service.call('GET', app.path, { key: second.body.apiKey })).status, 200);
  assertProblem(await service.call('DELETE', `${app.path}/keys/${firstId}`), 404, 'not_found');
});

test('a key does what its scopes say, and gives no scope that it lacks', async () => {
  const app = await service.createApp();
  const { apiKey } = (await app.call('POST', '/keys', { name: 'reader', scopes: ['read'] })).body;
  const as = (method: string, path: string, body?: unknown) =>
    service.call(method, app.path + path, { key: apiKey, body });
  assert.equal((await as('GET', '/identities')).status, 200);
  assert.equal((await as('POST', '/resolve', { addresses: [{ uid: 'x' }] })).status, 200);
  assertProblem(await as('POST', '/identities', { userId: 'x' }), 403, 'forbidden');
  assertProblem(await as('POST', '/tokens', { uid: 'x' }), 403, 'forbidden');
  assertProblem(
    await as('POST', '/messages', { from: { uid: 'x' }, to: { uid: 'x' }, content: 1 }),
    403,
    'forbidden',
  );
  assertProblem(await as('POST', '/keys', { name: 'more' }), 403, 'forbidden');
  assertProblem(await as('PATCH', '', { name: 'x' }), 403, 'forbidden');
});

test('each credential opens what it is for', async () => {
  const app = await service.createApp();
  const other = await service.createApp();
  const token = await app.token({ uid: 'bob' });
  for (const key of [
    '',
    'nonsense',
    `${app.apiKey}x`,
    app.apiKey.slice(0, -1) + (app.apiKey.endsWith('A') ? 'B' : 'A'),
    `${ADMIN_KEY}x`,
  ])
    for (const path of ['/v1/apps', app.path, '/v1/me'])
      assertProblem(await service.call('GET', path, { key }), 401, 'unauthorized');
  assertProblem(await service.call('GET', '/v1/apps', { key: app.apiKey }), 403, 'forbidden');
  assertProblem(await service.call('DELETE', app.path, { key: app.apiKey }), 403, 'forbidden');
  assertProblem(await service.call('GET', app.path, { key: token }), 403, 'forbidden');
  assertProblem(await service.call('GET', '/v1/me', { key: app.apiKey }), 401, 'unauthorized');
  assertProblem(await service.call('GET', '/v1/me', { key: ADMIN_KEY }), 401, 'unauthorized');
  for (const [method, path] of [
    ['GET', ''],
    ['PATCH', ''],
    ['DELETE', ''],
    ['GET', '/keys'],
    ['POST', '/identities'],
    ['GET', '/schemes'],
    ['POST', '/messages'],
  ] as const)
    assertProblem(
      await service.call(method, other.path + path, {
        key: app.apiKey,
        ...(method === 'POST' || method === 'PATCH' ? { body: {} } : {}),
      }),
      404,
      'not_found',
    );
});

test('an app that there is not is 404, an appId that can be none 400', async () => {
  assertProblem(await service.call('GET', '/v1/apps/999999'), 404, 'not_found');
  assertProblem(await service.call('GET', '/v1/apps/9007199254740991/identities'), 404, 'not_found');
  for (const appId of ['0', '-1', '01', 'abc', '1e3', '99999999999999999999'])
    assertProblem(await service.call('GET', `/v1/apps/${appId}`), 400, 'invalid_request', '#/appId');
});

test('every bad field of a body is named', async () => {
  const { path, apiKey } = await service.createApp();
  const cases: [method: string, path: string, body: unknown, pointers: string[]][] = [
    ['POST', '/v1/apps', {}, ['#/name', '#/schemes']],
    ['POST', '/v1/apps', { name: '', schemes: [] }, ['#/name', '#/schemes']],
    ['POST', '/v1/apps', { name: 'x', schemes: ['both'] }, ['#/schemes/0']],
    ['POST', '/v1/apps', { name: 'x', schemes: ['composed', 'composed'] }, ['#/schemes']],
    ['POST', '/v1/apps', { name: 'x', schemes: ['composed'], 'a/b~c': 1 }, ['#/a~1b~0c']],
    ['POST', '/v1/apps', { name: 'x\u0000', schemes: ['composed'] }, ['#/name']],
    ['POST', `${path}/identities`, { userId: 5 }, ['#/userId']],
    ['POST', `${path}/identities`, { userId: 'x', adopt: 'yes' }, ['#/adopt']],
    ['POST', `${path}/identities`, { userId: 'x', adopt: {} }, ['#/adopt/uid']],
    ['POST', `${path}/identities`, { userId: 'x', adopt: { uid: ' ' } }, ['#/adopt/uid']],
    [
      'POST',
      `${path}/resolve`,
      { addresses: [{ uid: 'x' }, { uid: 'x', imId: '1:x' }, {}] },
      ['#/addresses/1', '#/addresses/2'],
    ],
    [
      'POST',
      `${path}/resolve`,
      { addresses: Array.from({ length: 1001 }, () => ({ uid: 'x' })) },
      ['#/addresses'],
    ],
    ['POST', `${path}/tokens`, {}, ['#']],
    ['POST', `${path}/tokens`, { uid: 'x', userId: 'y' }, ['#']],
    ['POST', `${path}/tokens`, { uid: 'x', ttlSeconds: 0 }, ['#/ttlSeconds']],
    ['POST', `${path}/tokens`, { uid: 'x', ttlSeconds: 2_592_001 }, ['#/ttlSeconds']],
    ['POST', `${path}/tokens`, { uid: 'x', ttlSeconds: '60' }, ['#/ttlSeconds']],
    ['POST', `${path}/messages`, { from: { uid: 'x' }, to: { uid: 'y' } }, ['#/content']],
    ['POST', `${path}/messages`, { from: { uid: 'x' }, to: 7, content: 1 }, ['#/to']],
    ['POST', `${path}/messages`, { from: { uid: 'x' }, to: [], content: 1 }, ['#/to']],
    [
      'POST',
      `${path}/messages`,
      { from: { uid: 'x' }, to: [{ uid: 'y' }, { uid: '\n' }], content: 1 },
      ['#/to/1/uid'],
    ],
    [
      'POST',
      `${path}/messages`,
      { from: { uid: 'x' }, to: { uid: 'y', x: 1 }, content: 1 },
      ['#/to', '#/to/x'],
    ],
    [
      'PUT',
      `${path}/contacts/${path.split('/').at(-1)}:x`,
      { items: [{ uid: 'a' }, { uid: 'b', displayName: 7 }] },
      ['#/items/1/displayName'],
    ],
    [
      'PUT',
      `${path}/contacts/${path.split('/').at(-1)}:x`,
      { items: [{ displayName: 'nobody' }] },
      ['#/items/0'],
    ],
    ['PATCH', path, { schemes: [] }, ['#/schemes']],
    ['PATCH', path, [], ['#']],
  ];
  for (const [method, route, body, pointers] of cases) {
    const key = route === '/v1/apps' ? ADMIN_KEY : apiKey;
    const answer = await service.call(method, route, { key, body });
    for (const pointer of pointers) assertProblem(answer, 400, 'invalid_request', pointer);
    assert.equal(
      answer.body.errors.length,
      pointers.length,
      `${route} ${JSON.stringify(answer.body.errors)}`,
    );
  }
});

test('bad queries and paths are named, and escapes that are not UTF-8 refused', async () => {
  const app = await service.createApp();
  for (const [path, pointer] of [
    ['/identities?limit=0', '#/limit'],
    ['/identities?limit=1001', '#/limit'],
    ['/identities?limit=1e400', '#/limit'],
    ['/identities?limit=ten', '#/limit'],
    ['/identities?unknown=1', '#/unknown'],
    ['/schemes?unknown=1', '#/unknown'],
    ['/identities?userId=', '#/userId'],
    ['/identities?cursor=%00', '#/cursor'],
    ['/identities/bob', '#/imId'],
    ['/identities/im_short', '#/imId'],
    [`/identities/${app.appId}:%0a`, '#/imId'],
    ['/messages', '#/imId'],
    [`/messages?imId=${app.appId}:x&after=-1`, '#/after'],
    ['/presence', '#/imId'],
    ['/presence?imId=nobody', '#/imId/0'],
  ] as const)
    assertProblem(await app.call('GET', path), 400, 'invalid_request', pointer);
  for (const path of [
    `/identities/${app.appId}:%ff`,
    '/identities?userId=%ff',
    '/identities?userId=%E0%A4%A',
    `/identities/${app.appId}:%zz`,
  ])
    assertProblem(await app.call('GET', path), 400, 'invalid_request');
});

test('what is not JSON in UTF-8 is refused', async () => {
  const app = await service.createApp();
  const post = (body: string | Buffer, headers: Record<string, string> = {}) =>
    service.call('POST', `${app.path}/identities`, { key: app.apiKey, body, headers });
  assertProblem(await post('{"userId":'), 400, 'invalid_request');
  assertProblem(await post(Buffer.from('{"userId":"\xff"}', 'latin1')), 400, 'invalid_request');
  assertProblem(await post(''), 400, 'invalid_request');
  assertProblem(
    await post('userId=x', { 'content-type': 'application/x-www-form-urlencoded' }),
    400,
    'invalid_request',
  );
  assertProblem(await post(JSON.stringify({ userId: 'x'.repeat(3_000_000) })), 413, 'payload_too_large');
  assertProblem(await service.call('GET', '/v2/nothing'), 404, 'not_found');
});

test('the service tells what it is to anyone', async () => {
  for (const path of ['/healthz', '/readyz', '/.well-known/jwks.json'])
    assert.equal((await service.call('GET', path, { key: '' })).status, 200, path);
  const yaml = await service.call('GET', '/openapi.yaml', { key: '' });
  assert.match(yaml.body, /^openapi: 3\.1\.0/);
  const committed = await readFile(new URL('../openapi.yaml', import.meta.url), 'utf8');
  assert.equal(yaml.text, committed, 'openapi.yaml drifted: npm run openapi');
  assert.equal((await service.call('GET', '/docs/', { key: '' })).status, 200);
});

test('a deletion with a body that is too large is refused as the document says', async () => {
  const { paths } = parse((await service.call('GET', '/openapi.yaml')).text);
  const app = await service.createApp();
  const body = ' '.repeat(2 * 1024 * 1024 + 1);
  for (const [path, asked] of [
    ['/v1/apps/{appId}', app.path],
    ['/v1/apps/{appId}/keys/{keyId}', `${app.path}/keys/x`],
    ['/v1/apps/{appId}/identities/{imId}', `${app.path}/identities/${app.appId}:x`],
  ] as const) {
    assertProblem(await service.call('DELETE', asked, { body }), 413, 'payload_too_large');
    assert.ok(paths[path].delete.responses['413'], path);
  }
});
