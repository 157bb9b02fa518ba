// Which device is reached by push how: binding, moving to another user, and what unbinds.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { before, test } from 'node:test';
import { decodeJwt } from 'jose';
import { eventually, startService, type Answer, type Json, type Service, type Tenant } from './harness.ts';

let service: Service;
let second: Service;
let app: Tenant;
before(async () => {
  service = await startService();
  second = await startService({ on: service });
  app = await service.createApp();
});

const PHONE = { platform: 'ios', provider: 'apns', pushToken: 'a1b2c3' };
/** The receiver's of RFC 8291. */
const P256DH = 'BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4';
const put = (token: string, deviceId: string, more: object = {}, on = service): Promise<Answer> =>
  on.call('PUT', `/v1/me/devices/${deviceId}`, { key: token, body: { ...PHONE, ...more } });
const devicesOf = async (imId: string): Promise<Json[]> =>
  (await app.call('GET', `/devices?imId=${encodeURIComponent(imId)}`)).body.items;
/** The devices of a user that are reached by push. */
const bound = async (imId: string): Promise<string[]> =>
  (await devicesOf(imId)).filter(({ provider }) => provider).map(({ deviceId }) => deviceId);

test('a device is bound, shown to the backend without its push token, and forgotten', async () => {
  const token = await app.token({ uid: 'alice' });
  const made = await put(token, 'phone', { environment: 'sandbox', locale: 'de-CH', appVersion: '1.2' });
  assert.equal(made.status, 200, made.text);
  const { boundAt, lastSeenAt, createdAt, ...rest } = made.body;
  assert.deepEqual(rest, {
    deviceId: 'phone',
    platform: 'ios',
    provider: 'apns',
    environment: 'sandbox',
    locale: 'de-CH',
    appVersion: '1.2',
  });
  assert.ok([boundAt, lastSeenAt, createdAt].every((each) => Date.parse(each) > Date.now() - 60_000));
  const again = await put(token, 'phone', { pushToken: 'other' });
  assert.deepEqual([again.body.environment, again.body.locale], ['production', undefined]);
  assert.equal((await put(token, 'tablet', { provider: 'fcm', platform: 'android' })).status, 200);
  const items = await devicesOf(`${app.appId}:alice`);
  assert.deepEqual(
    items.map(({ deviceId, provider }) => [deviceId, provider]),
    [
      ['phone', 'apns'],
      ['tablet', 'fcm'],
    ],
  );
  assert.doesNotMatch(JSON.stringify(items), /other|a1b2c3/);
  const forget = () => service.call('DELETE', '/v1/me/devices/phone', { key: token });
  assert.equal((await forget()).status, 204);
  assert.equal((await forget()).status, 404);
  assert.deepEqual(
    (await devicesOf(`${app.appId}:alice`)).map(({ deviceId }) => deviceId),
    ['tablet'],
  );
  assert.deepEqual(await devicesOf(`${app.appId}:nobody`), []);
});

test('a device that is bound before it ever connects starts at the end of the inbox', async () => {
  const say = (content: string) =>
    app.call('POST', '/messages', { from: { uid: 'x' }, to: { uid: 'ann' }, content });
  await say('before');
  const token = await app.token({ uid: 'ann' });
  await put(token, 'phone', { pushToken: 'ann' });
  await say('after');
  const phone = await service.connect(token, { device: 'phone' });
  assert.equal((await phone.messages(1))[0].content, 'after');
});

test('a push token moves to whoever binds it last, on whichever process, however many do at once', async () => {
  const tokens = await Promise.all(['u0', 'u1', 'u2', 'u3'].map((uid) => app.token({ uid })));
  const answers = await Promise.all(
    tokens.map((token, i) =>
      put(token, `phone-${i}`, { pushToken: 'shared' }, i % 2 === 0 ? service : second),
    ),
  );
  assert.ok(answers.every(({ status }) => status === 200));
  const holders = await Promise.all(['u0', 'u1', 'u2', 'u3'].map((uid) => bound(`${app.appId}:${uid}`)));
  assert.equal(holders.flat().length, 1);
  await put(tokens[2]!, 'other-phone', { pushToken: 'shared' });
  assert.deepEqual(await bound(`${app.appId}:u2`), ['other-phone']);
  // The same text at another provider, or in another app, is another token.
  assert.equal((await put(tokens[0]!, 'web', { provider: 'fcm', pushToken: 'shared' })).status, 200);
  const elsewhere = await service.createApp();
  await put(await elsewhere.token({ uid: 'u2' }), 'phone', { pushToken: 'shared' });
  assert.deepEqual(await bound(`${app.appId}:u2`), ['other-phone']);
});

test('a push token is known, however it is written', async () => {
  const keys = { auth: 'BTBZMqHH6r4Tts7J_aSIgg', p256dh: P256DH };
  const endpoint = 'https://push.example/1';
  const forms = [
    ['apns', 'abcdef'.repeat(11), 'ABCDEF'.repeat(11)],
    ['webpush', JSON.stringify({ endpoint, expirationTime: null, keys }), JSON.stringify({ keys, endpoint })],
  ] as const;
  for (const [provider, ...ways] of forms) {
    for (const [n, pushToken] of ways.entries())
      assert.equal(
        (await put(await app.token({ uid: `way-${n}` }), provider, { provider, pushToken })).status,
        200,
      );
    assert.equal((await bound(`${app.appId}:way-0`)).includes(provider), false);
    assert.equal((await bound(`${app.appId}:way-1`)).includes(provider), true);
  }
});

test('a user has a hundred devices that are reached by push: one more takes the place of the one bound longest ago', async () => {
  const token = await app.token({ uid: 'hoarder' });
  assert.equal((await put(token, 'first', { pushToken: '01' })).status, 200);
  await service.database.pool.query(
    `insert into device (app_id, identity_id, id, acked_seq, platform, provider, push_token, environment, bound_at)
     select app_id, identity_id, 'n' || n, 0, platform, provider, 'n' || n, environment, bound_at - n * interval '1 second'
     from device, generate_series(1, 99) n where app_id = $1 and id = 'first'`,
    [app.appId],
  );
  const imId = `${app.appId}:hoarder`;
  assert.equal((await put(token, 'first', { pushToken: '02' })).status, 200);
  assert.equal((await bound(imId)).length, 100);
  assert.equal((await put(token, 'last', { pushToken: '03' })).status, 200);
  const left = await bound(imId);
  assert.deepEqual(
    [left.length, left.includes('first'), left.includes('n98'), left.includes('n99')],
    [100, true, true, false],
  );
});

test('what is revoked is reached by push no more: a token, a device, a user, all', async () => {
  const revoke = async (body: object) =>
    assert.equal((await app.call('POST', '/tokens/revoke', body)).status, 204);
  const imId = `${app.appId}:rob`;
  const bind = async (uid: string, ...ids: string[]): Promise<string[]> => {
    const tokens = await Promise.all(ids.map(() => app.token({ uid })));
    for (const [i, id] of ids.entries()) await put(tokens[i]!, id, { pushToken: `${uid}-${id}` });
    return tokens;
  };
  const [first, other, third] = await bind('rob', 'a', 'b', 'c');
  await revoke({ jti: decodeJwt(first!).jti });
  assert.deepEqual(await bound(imId), ['b', 'c']);
  // Also where it has only been connected with it, now or before.
  const fresh = await app.token({ uid: 'rob' });
  const client = await service.connect(fresh, { device: 'b' });
  await revoke({ jti: decodeJwt(fresh).jti });
  await client.waitClosed();
  assert.deepEqual(await bound(imId), ['c']);
  assert.ok(other && third);
  await bind('rob', 'a', 'b');
  await revoke({ uid: 'rob', deviceId: 'b' });
  assert.deepEqual(await bound(imId), ['a', 'c']);
  await revoke({ uid: 'rob' });
  assert.deepEqual(await bound(imId), []);
  assert.equal((await put(third, 'c')).body.code, 'token_revoked');
  await bind('rob', 'a');
  await bind('sue', 'a');
  await revoke({ all: true });
  assert.deepEqual([await bound(imId), await bound(`${app.appId}:sue`)], [[], []]);
});

test('who has logged out everywhere costs nothing any more, until a device is bound again', async () => {
  const bind = () =>
    app.as({ uid: 'left' }, 'PUT', '/devices/phone', {
      platform: 'ios',
      provider: 'apns',
      pushToken: 'left',
    });
  const { pool } = service.database;
  const hasPush = async (): Promise<boolean> =>
    (await pool.query("select has_push from identity where app_id = $1 and name = 'left'", [app.appId]))
      .rows[0].has_push;
  await bind();
  await app.as({ uid: 'left' }, 'DELETE', '/devices/phone');
  assert.equal(await hasPush(), true);
  await app.call('POST', '/messages', { from: { uid: 'x' }, to: { uid: 'left' }, content: 1 });
  await eventually(async () => !(await hasPush()), 'it to be seen');
  await bind();
  assert.equal(await hasPush(), true);
});

test('devices go with a user that is erased, and over to the one it is merged into', async () => {
  const guest = await app.token({ uid: 'guest' });
  await put(guest, 'phone', { pushToken: 'guest-phone' });
  await put(guest, 'tablet', { pushToken: 'guest-tablet' });
  const account = await app.register('account');
  await put(await app.token({ userId: 'account' }), 'tablet', {
    pushToken: 'account-tablet',
    provider: 'fcm',
  });
  await app.call('POST', `/identities/${account}/merge`, { from: { uid: 'guest' } });
  assert.deepEqual(
    (await devicesOf(account)).map(({ deviceId, provider }) => [deviceId, provider]),
    [
      ['phone', 'apns'],
      ['tablet', 'fcm'],
    ],
  );
  await app.call('DELETE', `/identities/${account}`);
  const { rows } = await service.database.pool.query(
    "select from device where push_token in ('guest-phone', 'guest-tablet', 'account-tablet')",
  );
  assert.equal(rows.length, 0);
});

test('a token for one device binds no other, and what is wrong is named', async () => {
  const { body } = await app.call('POST', '/tokens', { uid: 'kim', deviceId: 'phone' });
  assert.equal((await put(body.token, 'tablet', { pushToken: 'kim' })).body.code, 'forbidden');
  assert.equal(
    (await service.call('DELETE', '/v1/me/devices/tablet', { key: body.token })).body.code,
    'forbidden',
  );
  assert.equal((await put(body.token, 'phone', { pushToken: 'kim' })).status, 200);
  // More would be too much for the index, however little it can be packed.
  const longest = randomBytes(1_500).toString('base64');
  assert.equal((await put(body.token, 'phone', { pushToken: longest })).status, 200);
  for (const [more, pointer] of [
    [{ provider: 'pigeon' }, '#/provider'],
    [{ pushToken: '' }, '#/pushToken'],
    [{ pushToken: 'x'.repeat(2_001) }, '#/pushToken'],
    [{ pushToken: 'a\u0000' }, '#/pushToken'],
    [{ pushToken: '漢' }, '#/pushToken'],
    [{ environment: 'test' }, '#/environment'],
    [{ platform: undefined }, '#/platform'],
    [{ color: 'red' }, '#/color'],
  ] as const) {
    const { status, body: problem } = await put(body.token, 'phone', more);
    assert.deepEqual([status, problem.errors?.[0].pointer], [400, pointer], JSON.stringify(problem));
  }
});
