// API keys: what each scope opens, when a key ends, and when it was used last.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { before, test } from 'node:test';
import { eventually, startService, type Json, type Service, type Tenant } from './harness.ts';
import { readOperations } from './operations.ts';

let service: Service;
let app: Tenant;
before(async () => {
  service = await startService();
  app = await service.createApp();
});

const SCOPES = ['identities', 'tokens', 'messages', 'read'];

/** Which scope opens an operation about an app; `all` of them are needed, or no key will do. */
const NEEDED: Record<string, string> = {
  'GET ': 'read',
  'PATCH ': 'all',
  'DELETE ': 'admin',
  'POST /keys': 'all',
  'GET /keys': 'read',
  'DELETE /keys/{keyId}': 'all',
  'POST /identities': 'identities',
  'GET /identities': 'read',
  'GET /identities/{imId}': 'read',
  'PATCH /identities/{imId}': 'identities',
  'DELETE /identities/{imId}': 'identities',
  'POST /identities/{imId}/merge': 'identities',
  'POST /identities/rename': 'identities',
  'POST /identities/import': 'identities',
  'GET /identities/export': 'read',
  'GET /schemes': 'read',
  'PUT /issuers/{name}': 'all',
  'GET /issuers': 'read',
  'GET /issuers/{name}': 'read',
  'DELETE /issuers/{name}': 'all',
  'POST /resolve': 'read',
  'POST /tokens': 'tokens',
  'POST /tokens/revoke': 'tokens',
  'POST /messages': 'messages',
  'POST /messages/import': 'messages',
  'GET /messages/export': 'read',
  'GET /messages': 'read',
  'GET /devices': 'read',
  'GET /presence': 'read',
  'PUT /push/{provider}': 'all',
  'GET /push': 'read',
  'DELETE /push/{provider}': 'all',
  'POST /push/{provider}/test': 'all',
  'GET /push/failures': 'read',
  'PUT /webhook': 'all',
  'GET /webhook': 'read',
  'DELETE /webhook': 'all',
  'POST /webhook/test': 'read',
  'PUT /contacts/{imId}': 'identities',
  'GET /contacts/{imId}': 'read',
};

test('each scope opens its own operations and no others', async () => {
  const PREFIX = '/v1/apps/{appId}';
  const yaml = await readFile(new URL('../openapi.yaml', import.meta.url), 'utf8');
  const names = readOperations(yaml)
    .filter(({ path }) => path.startsWith(PREFIX))
    .map(({ method, path }) => `${method} ${path.slice(PREFIX.length)}`);
  assert.deepEqual(names.toSorted(), Object.keys(NEEDED).toSorted());
  const keyOf = new Map<string, string>([['all', app.apiKey]]);
  for (const scope of SCOPES)
    keyOf.set(scope, (await app.call('POST', '/keys', { name: scope, scopes: [scope] })).body.apiKey);
  const tries = Object.entries(NEEDED).flatMap(([name, needed]) =>
    [...keyOf].map(async ([scope, key]) => {
      const [method = '', path = ''] = name.split(' ');
      const filled = path
        .replace('{imId}', `${app.appId}:nobody`)
        .replace('{keyId}', '0123456789abcdef')
        .replace('{provider}', 'apns');
      const { status, body } = await service.call(method, app.path + filled, { key });
      const opens = scope === needed || (scope === 'all' && needed !== 'admin');
      assert.equal(status !== 403, opens, `${name} with ${scope}: ${status} ${JSON.stringify(body)}`);
      assert.ok(status < 500 && status !== 401, `${name} with ${scope}: ${status}`);
    }),
  );
  await Promise.all(tries);
});

test('a key that has expired is refused at once, on every process', async (t) => {
  const other = await startService({ on: service });
  const expiresAt = new Date(Date.now() + 3_600_000).toISOString();
  const { status, body } = await app.call('POST', '/keys', { name: 'short', expiresAt });
  assert.deepEqual([status, body.expiresAt], [201, expiresAt]);
  const use = (on: Service) => on.call('GET', app.path, { key: body.apiKey });
  for (const [leftMs, wanted] of [
    [1, 200],
    [0, 401],
  ] as const) {
    const now = new Date(Date.parse(expiresAt) - leftMs);
    for (const each of [service, other]) {
      const { mock } = t.mock.method(each.database.clock, 'now', () => now);
      const answer = await use(each);
      mock.restore();
      assert.equal(answer.status, wanted);
      if (wanted === 200) continue;
      assert.equal(answer.body.code, 'unauthorized');
      assert.match(answer.body.detail, /has expired/);
      assert.match(answer.headers.get('www-authenticate')!, /invalid_token/);
    }
  }
  assert.equal((await app.call('GET', '/keys')).status, 200);
  await other.close();
});

test('an expiry has to be a time that is still to come', async () => {
  for (const expiresAt of [new Date(Date.now() - 1_000).toISOString(), 'tomorrow', '2036-05-01', 1, null]) {
    const { status, body } = await app.call('POST', '/keys', { name: 'bad', expiresAt });
    assert.equal(status, 400, String(expiresAt));
    assert.equal(body.errors[0].pointer, '#/expiresAt', JSON.stringify(body));
  }
});

test('a key gives no longer life than it has', async () => {
  const inDays = (days: number) => new Date(Date.now() + days * 86_400_000).toISOString();
  const created = await app.call('POST', '/keys', { name: 'for ten days', expiresAt: inDays(10) });
  const create = async (expiresAt?: string) => {
    const answer = await service.call('POST', `${app.path}/keys`, {
      key: created.body.apiKey,
      body: { name: 'child', ...(expiresAt && { expiresAt }) },
    });
    return [answer.status, answer.body.code];
  };
  assert.deepEqual(await create(inDays(9)), [201, undefined]);
  assert.deepEqual(await create(created.body.expiresAt), [201, undefined]);
  assert.deepEqual(await create(inDays(11)), [403, 'forbidden']);
  assert.deepEqual(await create(), [403, 'forbidden']);
});

test('a list of keys shows when each was used last, written once a minute', async () => {
  const create = async (name: string) => (await app.call('POST', '/keys', { name })).body;
  const find = async (keyId: string): Promise<Json> =>
    (await service.call('GET', `${app.path}/keys?limit=1000`)).body.items.find(
      (key: Json) => key.keyId === keyId,
    );
  const [first, second] = [await create('first of two'), await create('second of two')];
  assert.equal((await find(first.keyId)).lastUsedAt, undefined);
  const use = (key: Json) => service.call('GET', app.path, { key: key.apiKey });
  await use(first);
  const at = await eventually(async () => (await find(first.keyId)).lastUsedAt as string | undefined);
  assert.ok(Math.abs(Date.now() - Date.parse(at)) < 10_000);
  await use(first);
  await use(second); // is written behind the first, if that is written at all
  await eventually(async () => (await find(second.keyId)).lastUsedAt);
  assert.equal((await find(first.keyId)).lastUsedAt, at);
  // Neither a wrong secret nor another app's path is a use.
  const third = await create('third');
  await service.call('GET', app.path, { key: third.apiKey.slice(0, -2) + 'AA' });
  await use(await create('fourth'));
  assert.equal((await find(third.keyId)).lastUsedAt, undefined);
});
