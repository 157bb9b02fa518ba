// Dead tokens that a vendor only tells of on a feed: asked for by one process, unbound, and asked for again when that failed.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually, startService, type Json, type Service, type Tenant } from './harness.ts';
import { startVendor } from './push/vendor_stand_in.ts';
import { createXiaomiVendor, xiaomiCredentials } from './push/xiaomi_stand_in.ts';

const FEED = '/v1/feedback/fetch_invalid_regids';
const dead: string[] = [];
const lines: Json[] = [];
const ends: (() => void)[] = [];
after(() => ends.forEach((end) => end()));
let xiaomi: Awaited<ReturnType<typeof startVendor>>;
let service: Service;
let app: Tenant;
before(async () => {
  xiaomi = await startVendor({ after: (end) => ends.push(end), diagnostic() {} }, createXiaomiVendor(dead));
  const options = {
    pushEndpoints: { xiaomi: { endpoint: xiaomi.url, feedEndpoint: xiaomi.url } },
    pushPollMs: 20,
    allowPrivateUrls: true,
    logTo: { write: (line: string) => void lines.push(JSON.parse(line)) },
  };
  service = await startService({ app: options });
  await startService({ on: service, app: options });
  app = await service.createApp();
});

const bind = async (tenant: Tenant, uid: string, pushToken: string): Promise<void> => {
  const { status, text } = await service.call('PUT', '/v1/me/devices/phone', {
    key: await tenant.token({ uid }),
    body: { platform: 'android', provider: 'xiaomi', pushToken },
  });
  assert.equal(status, 200, text);
};
const isBound = async (tenant: Tenant, uid: string): Promise<boolean> => {
  const { body } = await tenant.call('GET', `/devices?imId=${tenant.appId}:${uid}`);
  return body.items[0].provider !== undefined;
};
const polls = (): number => xiaomi.asked.filter(({ path }) => path.startsWith(FEED)).length;
const putCredentials = async (tenant: Tenant): Promise<void> =>
  assert.equal((await tenant.call('PUT', '/push/xiaomi', xiaomiCredentials)).status, 201);
/** When the app's feed is asked again, from now on. */
const secondsLeft = async (tenant: Tenant): Promise<number> => {
  const { rows } = await service.database.pool.query(
    'select extract(epoch from poll_at - now())::float8 as seconds from push_credential where app_id = $1',
    [tenant.appId],
  );
  return rows[0].seconds;
};

test('the devices that a feed calls dead are unbound, those of the app alone, by one process', async () => {
  const other = await service.createApp();
  for (const uid of ['ann', 'bob', 'cid', 'eve']) await bind(app, uid, `token-${uid}`);
  await bind(other, 'ann', 'token-ann');
  dead.push('token-ann', 'token-bob', 'token-cid');
  await putCredentials(app);
  await eventually(async () => !(await isBound(app, 'ann')), 'the end of the binding');
  await eventually(async () => (await secondsLeft(app)) > 3_000, 'the end of the poll');
  assert.deepEqual(await Promise.all(['ann', 'bob', 'cid', 'eve'].map((uid) => isBound(app, uid))), [
    false,
    false,
    false,
    true,
  ]);
  assert.ok(await isBound(other, 'ann'));
  // Two pages, and one that brings nothing.
  assert.equal(polls(), 3);
});

test('a feed that fails is told of in the log, and asked again when its lease is over', async () => {
  const tenant = await service.createApp();
  await bind(tenant, 'ann', 'token-ann');
  xiaomi.conduct('broken');
  await putCredentials(tenant);
  const told = await eventually(
    () => lines.find(({ appId }) => String(appId) === tenant.appId),
    'a line of the log',
  );
  assert.match(told.err.message, /^unavailable: /);
  assert.equal(told.provider, 'xiaomi');
  const left = await secondsLeft(tenant);
  assert.ok(left > 0 && left <= 600, String(left));
  assert.ok(await isBound(tenant, 'ann'));
  xiaomi.conduct('accept');
  dead.push('token-ann');
  await service.database.pool.query('update push_credential set poll_at = now() where app_id = $1', [
    tenant.appId,
  ]);
  await eventually(async () => !(await isBound(tenant, 'ann')), 'the end of the binding');
});

test('who is bound while a feed is read is not unbound by it', async () => {
  const tenant = await service.createApp();
  await bind(tenant, 'ann', 'token-new');
  await service.database.pool.query(
    "update device set bound_at = now() + interval '1 minute' where app_id = $1",
    [tenant.appId],
  );
  dead.push('token-new');
  await putCredentials(tenant);
  await eventually(async () => (await secondsLeft(tenant)) > 3_000, 'the end of the poll');
  assert.equal(dead.length, 0);
  assert.ok(await isBound(tenant, 'ann'));
});
