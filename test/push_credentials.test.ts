// What apps prove themselves to providers with: each is asked whether it is good, and what is bad is refused by its name.

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { eventually, startService, type Service, type Tenant } from './harness.ts';
import { compileSchema } from '../src/edge/validation.ts';
import { createWebPushKeys } from '../src/push/vapid.ts';
import { createWebhookSecret } from '../src/push/webhook.ts';
import { pushProviders } from '../src/routing/push_providers.ts';
import { credentials as apnsCredentials } from './push/apns_stage.ts';
import { account } from './push/fcm_stand_in.ts';
import { honor, honorCredentials } from './push/honor_stand_in.ts';
import { huawei, huaweiCredentials } from './push/huawei_stand_in.ts';
import { createOppoVendor, oppoCredentials } from './push/oppo_stand_in.ts';
import { startVendor } from './push/vendor_stand_in.ts';
import { vivo, vivoCredentials } from './push/vivo_stand_in.ts';
import { createXiaomiVendor, xiaomiCredentials } from './push/xiaomi_stand_in.ts';

const vendors = {
  huawei: { vendor: huawei, credentials: huaweiCredentials, secret: 'clientSecret' },
  honor: { vendor: honor, credentials: honorCredentials, secret: 'clientSecret' },
  xiaomi: { vendor: createXiaomiVendor([]), credentials: xiaomiCredentials, secret: 'appSecret' },
  oppo: { vendor: createOppoVendor([]), credentials: oppoCredentials, secret: 'masterSecret' },
  vivo: { vendor: vivo, credentials: vivoCredentials, secret: 'appSecret' },
};
const ends: (() => void)[] = [];
after(() => ends.forEach((end) => end()));
let service: Service;
let app: Tenant;
before(async () => {
  const start = async (name: keyof typeof vendors): Promise<string> => {
    const t = { after: (end: () => void) => void ends.push(end), diagnostic() {} };
    return (await startVendor(t, vendors[name].vendor)).url;
  };
  const [huaweiUrl, honorUrl] = [await start('huawei'), await start('honor')];
  const [xiaomiUrl, oppoUrl] = [await start('xiaomi'), await start('oppo')];
  const pushEndpoints = {
    huawei: { endpoint: huaweiUrl, tokenEndpoint: `${huaweiUrl}/oauth2/v3/token` },
    honor: { endpoint: honorUrl, tokenEndpoint: `${honorUrl}/auth/token` },
    xiaomi: { endpoint: xiaomiUrl, feedEndpoint: xiaomiUrl },
    oppo: { endpoint: oppoUrl, feedEndpoint: oppoUrl },
    vivo: { endpoint: await start('vivo') },
  };
  service = await startService({ app: { pushEndpoints, allowPrivateUrls: true } });
  app = await service.createApp();
});

for (const [name, { credentials, secret }] of Object.entries(vendors))
  test(`${name} is asked whether the credentials are good, and says in words that they are not`, async () => {
    const ask = async () => (await app.call('POST', `/push/${name}/test`)).body;
    const put = (body: object) => app.call('PUT', `/push/${name}`, body);
    assert.equal((await put({ ...credentials, [secret]: 'another-one' })).status, 201);
    const refused = await ask();
    assert.equal(refused.ok, false);
    assert.match(refused.detail, /^credential: /);
    assert.ok(!JSON.stringify(refused).includes('another-one'));
    assert.equal((await put(credentials)).status, 200);
    assert.deepEqual(await ask(), { ok: true });
    const { status, body } = await put({ ...credentials, appName: undefined, more: 1 });
    assert.equal(status, 400);
    assert.deepEqual(
      body.errors.map(({ pointer, detail }: { pointer: string; detail: string }) => [pointer, detail]),
      [
        ['#/appName', 'is missing'],
        ['#/more', 'is not a known field'],
      ],
    );
  });

test('keys that are no pair, and URLs that may not be asked, are refused before anything is pushed', async () => {
  const subject = 'mailto:push@customer.example';
  const [keys, others] = [createWebPushKeys(), createWebPushKeys()];
  assert.equal((await app.call('PUT', '/push/webpush', { ...keys, subject })).status, 201);
  const mixed = { ...keys, publicKey: others.publicKey, subject };
  const { status, body } = await app.call('PUT', '/push/webpush', mixed);
  assert.deepEqual([status, body.errors[0].pointer], [400, '#/publicKey']);
  assert.equal(body.detail, 'publicKey must be that of privateKey.');
  const strict = await startService({ on: service });
  const secrets = [`whsec_${'a'.repeat(32)}`];
  for (const url of ['http://push.customer.example/imid', 'https://127.0.0.1/imid', 'push']) {
    const refused = await strict.call('PUT', `${app.path}/push/webhook`, {
      key: app.apiKey,
      body: { url, secrets },
    });
    assert.deepEqual([refused.status, refused.body.errors[0].pointer], [400, '#/url'], url);
  }
});

test('a key of Google that signs nothing is refused before anything is pushed', async () => {
  const put = (private_key: string) => app.call('PUT', '/push/fcm', { ...account, private_key });
  const pem = { type: 'pkcs8', format: 'pem' } as const;
  for (const key of [
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export(pem),
    generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey.export(pem),
    account.private_key.replaceAll('\n', '\\n'),
    account.private_key.slice(0, 500),
  ]) {
    const { status, body, text } = await put(key);
    assert.deepEqual([status, body.errors[0].pointer], [400, '#/private_key']);
    assert.match(body.detail, /^private_key must be an RSA key .* with its line breaks/);
    assert.ok(!text.includes(key.slice(60, 80)));
  }
  assert.equal((await put(account.private_key.replaceAll('\n', '\r\n'))).status, 201);
});

test('a field of the wrong form is said in words what it is to be', async () => {
  const apns = await app.call('PUT', '/push/apns', { ...apnsCredentials, keyId: 'AuthKey_ABC123DEFG.p8' });
  assert.match(apns.body.detail, /^keyId must match pattern .*: The id of the key, .*`\.$/);
  const fcm = await app.call('PUT', '/push/fcm', { ...account, type: 'authorized_user' });
  assert.equal(fcm.body.detail, 'type must be "service_account".');
  const webhook = { url: 'https://push.customer.example/imid', secrets: ['whsec_abc'] };
  const { body } = await app.call('PUT', '/push/webhook', webhook);
  assert.match(body.detail, /^secrets\.0 must match pattern .*: `whsec_` and 24 to 64 bytes in base64\.$/);
});

test('a push that is under way when other credentials come is not cut off', async () => {
  const asked: ServerResponse[] = [];
  const sender = createServer((request, response) => {
    request.resume();
    asked.push(response);
  }).listen(0, '127.0.0.1');
  ends.push(() => sender.close());
  await once(sender, 'listening');
  const url = `http://127.0.0.1:${(sender.address() as AddressInfo).port}`;
  const put = () => app.call('PUT', '/push/webhook', { url, secrets: [createWebhookSecret()] });
  const check = () => app.call('POST', '/push/webhook/test');
  await put();
  const underWay = check();
  await eventually(() => asked.length === 1);
  await put();
  const next = check();
  await eventually(() => asked.length === 2);
  for (const response of asked) response.writeHead(204).end();
  for (const { body } of await Promise.all([underWay, next])) assert.deepEqual(body, { ok: true });
});

test('a device is tested with its user, or not at all', async () => {
  const { status, body } = await app.call('POST', '/push/fcm/test?deviceId=phone');
  assert.deepEqual([status, body.detail], [400, 'imId is missing: a device is one of a user.']);
  assert.deepEqual(body.errors, [
    { in: 'query', pointer: '#/imId', detail: 'is missing: a device is one of a user' },
  ]);
});

test('the page on pushes has a section for each provider, whose example it takes', async () => {
  const page = await readFile(new URL('../docs/push.md', import.meta.url), 'utf8');
  for (const [name, { credentials }] of Object.entries(pushProviders)) {
    const [section] = page.split(`\n### ${name}\n`)[1]?.split('\n#') ?? [];
    assert.ok(section, name);
    const [, example] = /-d '\s*(\{.*?\})'/s.exec(section) ?? [];
    // Those of APNs and FCM are made of files.
    assert.equal(example === undefined, name === 'apns' || name === 'fcm', name);
    if (!example) continue;
    const validate = compileSchema(credentials, 'body');
    const filled: unknown = JSON.parse(example.replaceAll('…', 'x'.repeat(43)));
    assert.ok(validate(filled), `${name}: ${JSON.stringify(validate.errors)}`);
  }
});
