// How many requests an API key, an app, a user and an address may make: what is said of it, what happens at each quota, that
// others don't notice, and that a key's and an app's hold over all processes.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { readConfig } from '../src/config.ts';
import { completeQuotas, Uses } from '../src/routing/quotas.ts';
import { startGate, type Gate } from './gate.ts';
import {
  createDatabase,
  eventually,
  Refused,
  startService,
  type Answer,
  type Service,
  type Tenant,
} from './harness.ts';

/** So long that it ends in no test. */
const windowSeconds = 3_600;
const quotas = {
  key: { uses: 40, windowSeconds },
  app: { uses: 60, windowSeconds },
  user: { uses: 3, windowSeconds },
  address: { uses: 4, windowSeconds },
};

let gate: Gate;
let service: Service;
let other: Service;
before(async () => {
  const { name, connection } = await createDatabase();
  gate = await startGate(connection);
  service = await startService({
    at: { name, connection: gate.connection },
    app: { quotas, quotaExchangeMs: 20, trustedProxies: ['127.0.0.1'] },
  });
  other = await startService({ on: service, app: { quotas, quotaExchangeMs: 20 } });
});
after(() => gate.close());

const get = (at: Service, app: Tenant, key = app.apiKey): Promise<Answer> =>
  at.call('GET', app.path, { key });

/** What is left of a quota, by what an answer says. */
function left(answer: Answer, name: string): number {
  const [, remaining] = new RegExp(`"${name}";r=(\\d+);t=\\d+`).exec(answer.headers.get('ratelimit')!)!;
  return Number(remaining);
}

function assertRefused(answer: Answer, name: string): void {
  assert.deepEqual([answer.status, answer.body.code], [429, 'rate_limited']);
  assert.equal(answer.headers.get('content-type'), 'application/problem+json');
  assert.equal(left(answer, name), 0);
  const [, t] = new RegExp(`"${name}";r=0;t=(\\d+)`).exec(answer.headers.get('ratelimit')!)!;
  assert.equal(answer.headers.get('retry-after'), t);
  assert.ok(Number(t) > 0 && Number(t) <= windowSeconds);
}

test('a good answer says what quotas there are and what is left; a key’s own leaves the other keys of its app alone', async () => {
  const app = await service.createApp();
  const second = await service.call('POST', `${app.path}/keys`, {
    body: { name: 'second', scopes: ['read'] },
  });
  const first = await get(service, app);
  assert.equal(first.status, 200);
  assert.equal(first.headers.get('ratelimit-policy'), '"key";q=40;w=3600, "app";q=60;w=3600');
  assert.match(first.headers.get('ratelimit')!, /^"key";r=39;t=\d+, "app";r=59;t=\d+$/);
  const bad = await app.call('POST', '/identities', {});
  assert.deepEqual([bad.status, left(bad, 'key')], [400, 38]);
  for (let n = 2; n < 40; n++) assert.equal((await get(service, app)).status, 200);
  for (let n = 0; n < 3; n++) assertRefused(await get(service, app), 'key');
  const passed = await get(service, app, second.body.apiKey);
  assert.deepEqual([passed.status, left(passed, 'key'), left(passed, 'app')], [200, 39, 19]);
  for (let n = 1; n < 20; n++) assert.equal((await get(service, app, second.body.apiKey)).status, 200);
  const refused = await get(service, app, second.body.apiKey);
  assertRefused(refused, 'app');
  assert.equal(left(refused, 'key'), 19);
  const asAdmin = await service.call('GET', app.path);
  assert.deepEqual([asAdmin.status, asAdmin.headers.get('ratelimit')], [200, null]);
  assert.equal((await get(service, await service.createApp())).status, 200);
});

test('a user’s quota holds for asking and for connecting, and is nobody else’s', async () => {
  const app = await service.createApp();
  const token = await app.token({ uid: 'bob' });
  const client = await service.connect(token);
  assert.equal((await client.say({ uid: 'bob' }, 1)).type, 'sent');
  const me = await service.call('GET', '/v1/me', { key: token });
  assert.deepEqual([me.headers.get('ratelimit-policy'), left(me, 'user')], ['"user";q=3;w=3600', 1]);
  // Another token of the same user, and another path.
  const second = await app.token({ imId: `${app.appId}:bob` });
  assert.equal((await service.call('GET', '/v1/me/messages', { key: second })).status, 200);
  assertRefused(await service.call('GET', '/v1/me', { key: token }), 'user');
  const refused = await service.connect(token).catch((error: unknown) => error);
  assert.ok(refused instanceof Refused);
  assert.deepEqual([refused.status, refused.body.code], [429, 'rate_limited']);
  assert.match(refused.headers['ratelimit']!, /^"user";r=0;t=\d+$/);
  assert.ok(Number(refused.headers['retry-after']) > 1);
  assert.equal((await client.say({ uid: 'bob' }, 2)).type, 'sent');
  assert.equal((await service.call('GET', '/v1/me', { key: await app.token({ uid: 'eve' }) })).status, 200);
});

const from = (address: string, key: string) => ({ key, headers: { 'x-forwarded-for': address } });

test('an address that is refused too often is not even asked for its credential, and others are', async () => {
  const app = await service.createApp();
  const bad = from('192.0.2.1', 'imk_0000000000000000_0000000000000000000000000000000000000000000');
  const refusals = [
    await service.call('GET', app.path, bad),
    await service.call('GET', '/v1/apps', from('192.0.2.1', '')),
    await service.call('GET', '/v1/me', from('192.0.2.1', 'ey.no.token')),
    await service.call('GET', '/v1/apps/999999999', from('192.0.2.1', app.apiKey)),
  ];
  assert.deepEqual(
    refusals.map((answer) => [answer.status, left(answer, 'address')]),
    [401, 401, 401, 404].map((status, n) => [status, 3 - n]),
  );
  assertRefused(await service.call('GET', app.path, bad), 'address');
  const good = await service.call('GET', app.path, from('192.0.2.1', app.apiKey));
  assertRefused(good, 'address');
  assert.equal((await service.call('GET', app.path, from('192.0.2.2', app.apiKey))).status, 200);
  // What a caller says in front of what the proxy has seen counts for nothing.
  assertRefused(await service.call('GET', app.path, from('198.51.100.7, 192.0.2.1', app.apiKey)), 'address');
  // A network of IPv6 is one address.
  for (let n = 1; n <= 4; n++) await service.call('GET', app.path, from(`2001:db8::${n}`, 'bad'));
  assertRefused(await service.call('GET', app.path, from('2001:db8::5', app.apiKey)), 'address');
  assert.equal((await service.call('GET', app.path, from('2001:db8:0:1::5', app.apiKey))).status, 200);
});

test('without a trusted proxy, an address that a caller makes up evades nothing', async () => {
  const app = await other.createApp();
  for (let n = 1; n <= 4; n++)
    assert.equal((await other.call('GET', app.path, from(`192.0.2.${n}`, 'bad'))).status, 401);
  assertRefused(await other.call('GET', app.path, from('192.0.2.9', 'bad')), 'address');
});

test('a quota of a key is one over all processes, within about one exchange', async () => {
  const service2 = await startService({ on: service, app: { quotas, quotaExchangeMs: 20 } });
  const app = await service.createApp();
  for (let n = 0; n < 30; n++) assert.equal((await get(service, app)).status, 200);
  let passed = 0;
  await eventually(async () => {
    const answer = await get(service2, app);
    if (answer.status === 200) passed += 1;
    else assertRefused(answer, 'key');
    return answer.status === 429;
  });
  assert.ok(passed < 39, `${passed} of 40 uses passed on the second process`);
  await eventually(async () => (await get(service, app)).status === 429);
  await service2.close();
});

test('what was written down of a window that is over is deleted', async () => {
  const app = await service.createApp();
  const { pool } = service.database;
  await pool.query(
    `insert into quota_use values (now() - interval '1 minute', 'key', 'past', gen_random_uuid(), 1),
       (now() + interval '1 minute', 'key', 'present', gen_random_uuid(), 1)`,
  );
  await get(service, app);
  const count = async (holder: string) =>
    (await pool.query('select from quota_use where holder = $1', [holder])).rowCount;
  await eventually(async () => (await count('past')) === 0);
  assert.equal(await count('present'), 1);
});

test('while the database is away quotas are held all the same, and shared again when it is back', async () => {
  const app = await service.createApp();
  gate.shut();
  for (let n = 0; n < 4; n++)
    assert.equal((await service.call('GET', '/v1/me', from('203.0.113.1', 'ey.no.token'))).status, 401);
  assertRefused(await service.call('GET', '/v1/me', from('203.0.113.1', 'ey.no.token')), 'address');
  gate.open();
  await eventually(async () => (await service.call('GET', '/readyz')).status === 200, 'the database');
  assert.equal((await get(service, app)).status, 200);
  const [, keyId] = app.apiKey.split('_');
  const written = 'select uses from quota_use where holder = $1';
  await eventually(async () => (await service.database.pool.query(written, [keyId])).rows[0]?.uses === 1);
});

test('who is refused is let in again once the window is over, as Retry-After says', async () => {
  const quota = { uses: 2, windowSeconds: 1 };
  const brief = await startService({ on: other, app: { quotas: { key: quota, app: 'off' } } });
  const app = await brief.createApp();
  const refused = await eventually(async () => {
    const answer = await get(brief, app);
    return answer.status === 429 && answer;
  });
  assert.equal(refused.headers.get('retry-after'), '1');
  assert.equal(refused.headers.get('ratelimit-policy'), '"key";q=2;w=1');
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  assert.equal((await get(brief, app)).status, 200);
  await brief.close();
});

test('who has used a quota is remembered in bounded memory, those who go on using it rather than others', () => {
  let now = 0;
  const uses = new Uses({ uses: 10, windowSeconds: 1 }, () => now, 100);
  for (let n = 0; n < 10_000; n++) {
    uses.add(`passing ${n}`);
    uses.add('staying');
  }
  assert.equal(uses.size, 100);
  assert.deepEqual(uses.read('staying'), { uses: 10_000, leftMs: 1_000 });
  assert.deepEqual(uses.read('passing 0'), { uses: 0, leftMs: 1_000 });
  const { windowEnd } = [...uses.own()][0]!;
  uses.hear({ holder: 'staying', windowEnd, uses: 5 });
  assert.equal(uses.add('staying').uses, 10_006);
  now = 1_250;
  assert.deepEqual(uses.add('staying'), { uses: 1, leftMs: 750 });
  uses.hear({ holder: 'staying', windowEnd, uses: 5 });
  assert.equal(uses.read('staying').uses, 1);
});

test('where a quota is off, what a good credential is refused doesn’t count to its address', async () => {
  const address = { uses: 2, windowSeconds };
  const quiet = await startService({
    on: other,
    app: { quotas: { key: 'off', app: 'off', user: 'off', address } },
  });
  const app = await quiet.createApp();
  const token = await app.token({ uid: 'bob' });
  for (let n = 0; n < 4; n++) {
    assert.equal((await app.call('GET', '/issuers/nobody')).status, 404);
    assert.equal((await quiet.call('GET', '/v1/me/messages?limit=0', { key: token })).status, 400);
  }
  for (let n = 0; n < 2; n++) assert.equal((await get(quiet, app, 'bad')).status, 401);
  assertRefused(await get(quiet, app, 'bad'), 'address');
  await quiet.close();
});

test('a quota in the environment is off, or requests per seconds; a proxy is an address or a network', () => {
  for (const variable of ['IMID_QUOTA_KEY', 'IMID_QUOTA_APP', 'IMID_QUOTA_USER', 'IMID_QUOTA_ADDRESS'])
    for (const bad of ['0', '0/10', '10/0', '10', '10/3601', '1e3/10', '-1/10', ' 1/1', 'on', '10/10/10'])
      assert.throws(() => readConfig({ [variable]: bad }), new RegExp(`^Error: ${variable} must be off, or`));
  assert.deepEqual(readConfig({ IMID_QUOTA_KEY: 'off', IMID_QUOTA_APP: '7/9', IMID_QUOTA_USER: '' }).quotas, {
    key: 'off',
    app: { uses: 7, windowSeconds: 9 },
    user: undefined,
    address: undefined,
  });
  for (const bad of ['1', 'proxy', '10.0.0.0/33', '::/129', '10.0.0.1/', '10.0.0.1,', '10.0.0.0/8/8', 'true'])
    assert.throws(
      () => readConfig({ IMID_TRUSTED_PROXIES: bad }),
      /^Error: IMID_TRUSTED_PROXIES must be/,
      bad,
    );
  assert.deepEqual(readConfig({ IMID_TRUSTED_PROXIES: '10.0.0.7, 192.168.0.0/16,fd00::/8' }).trustedProxies, [
    '10.0.0.7',
    '192.168.0.0/16',
    'fd00::/8',
  ]);
});

test('the README names each quota as it is', async () => {
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
  for (const [name, quota] of Object.entries(completeQuotas())) {
    assert.ok(quota !== 'off');
    const said = `${quota.uses.toLocaleString('en')} in ${quota.windowSeconds} seconds`;
    const variable = `\`IMID_QUOTA_${name.toUpperCase()}\``;
    const [limit = '', setting = '', ...more] = readme.split('\n').filter((line) => line.includes(variable));
    assert.deepEqual(more, []);
    assert.ok(limit.includes(name) && limit.includes(`| ${said} `), limit);
    assert.ok(setting.includes(`| \`${quota.uses}/${quota.windowSeconds}\` `), setting);
  }
});
