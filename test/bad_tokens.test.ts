// Whatever isn't exactly a token that this service issued is refused at the upgrade with 401 and a problem document.

import assert from 'node:assert/strict';
import { createHmac, createPublicKey } from 'node:crypto';
import { before, test } from 'node:test';
import { CompactEncrypt, decodeJwt, decodeProtectedHeader, exportJWK, generateKeyPair, SignJWT } from 'jose';
import { keepSecret } from '../src/tokens/secrets.ts';
import { createBox } from '../src/tokens/box.ts';
import { createKeys } from '../src/tokens/keys.ts';
import { startService, type Service, type Tenant } from './harness.ts';
import { SECRET } from './logs.ts';

let service: Service;
let app: Tenant;
let good: string;
/** Signs claims as the service would, with the service's own key. */
let sign: (claims: object, header?: object) => Promise<string>;

before(async () => {
  service = await startService();
  app = await service.createApp();
  good = await app.token({ uid: 'bob' });
  const keys = await createKeys({
    database: service.database,
    box: createBox(SECRET),
    onChange() {},
    log() {},
  });
  const { kid, privateKey } = keys.current();
  sign = (claims, header = {}) =>
    new SignJWT({ ...decodeJwt(good), ...claims })
      .setProtectedHeader({ alg: 'ES256', kid, typ: 'imid+jwt', ...header })
      .sign(privateKey);
});

const b64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

async function assertRefused(token: string, what: string, code = 'unauthorized'): Promise<void> {
  await assert.rejects(service.connect(token), (error: any) => {
    assert.equal(error.status, 401, `${what}: ${error.message}`);
    assert.match(error.headers['content-type'], /^application\/problem\+json/, what);
    assert.equal(error.body.code, code, what);
    assert.match(error.headers['www-authenticate'], /^Bearer/, what);
    return true;
  });
  const rest = await service.call('GET', '/v1/me', { key: token });
  assert.deepEqual([rest.status, rest.body.code], [401, code], what);
}

test('the good token, made here as the service makes it, is taken', async () => {
  await (await service.connect(good)).close();
  await (await service.connect(await sign({}))).close();
});

test('no credential at all is 401 too', async () => {
  const answer = await service.call('GET', '/v1/me', { key: '' });
  assert.deepEqual(
    [answer.status, answer.body.code, answer.headers.get('www-authenticate')],
    [401, 'unauthorized', 'Bearer realm="imid"'],
  );
});

test('an expired token says so', async () => {
  const now = Math.floor(Date.now() / 1000);
  await assertRefused(await sign({ exp: now - 1 }), 'expired', 'token_expired');
});

test('where a key is needed, an expired token is not told to be renewed', async () => {
  const expired = await sign({ exp: Math.floor(Date.now() / 1000) - 1 });
  for (const path of ['/v1/apps', app.path, `${app.path}/identities`]) {
    const answer = await service.call('GET', path, { key: expired });
    assert.deepEqual([answer.status, answer.body.code], [401, 'unauthorized'], path);
  }
});

test('a token of an app that does not exist acts for nobody', async () => {
  await assertRefused(await sign({ aud: 'imid:999999', sub: '999999:bob' }), 'unknown app', 'token_revoked');
});

test('claims that the service would not issue are refused', async () => {
  const bad: Record<string, object> = {
    'of another app than its sub': { aud: 'imid:999999' },
    'several audiences': { aud: [`imid:${app.appId}`] },
    'no audience': { aud: undefined },
    'another issuer': { iss: 'https://elsewhere.example' },
    'no issuer': { iss: undefined },
    'a scheme that is not that of its sub': { scheme: 'registered' },
    'no scheme': { scheme: undefined },
    'a sub that is no imId': { sub: 'bob' },
    'a sub that is a number': { sub: 5 },
    'no sub': { sub: undefined },
    'no exp': { exp: undefined },
    'an exp that is text': { exp: '9999999999' },
    'an exp beyond all bounds': { exp: 1e300 },
    'an exp with a fraction': { exp: 4e9 + 0.5 },
    'no iat': { iat: undefined },
    'an iat in the future': { iat: Math.floor(Date.now() / 1000) + 3600 },
    'a life beyond thirty days': { exp: Math.floor(Date.now() / 1000) + 31 * 24 * 3600 },
    'no jti': { jti: undefined },
    'a jti that is not ours': { jti: 'id-1' },
    'a jti of another time than its iat': { jti: '01890000-0000-7000-8000-000000000000' },
    'a device that is no text': { device: 5 },
  };
  for (const [what, claims] of Object.entries(bad)) await assertRefused(await sign(claims), what);
});

test('headers that the service would not write are refused', async () => {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
  const jwk = await exportJWK(publicKey);
  const foreign = (header: object) =>
    new SignJWT(decodeJwt(good))
      .setProtectedHeader({ alg: 'ES256', typ: 'imid+jwt', ...header })
      .sign(privateKey);
  const { kid } = decodeProtectedHeader(good);
  await assertRefused(await foreign({ kid }), 'signed by another key under our kid');
  await assertRefused(await foreign({ kid: 'unknown' }), 'an unknown kid');
  await assertRefused(await foreign({}), 'no kid');
  await assertRefused(await foreign({ jwk }), 'an embedded key');
  await assertRefused(await foreign({ kid, jwk }), 'an embedded key beside our kid');
  await assertRefused(await foreign({ kid, x5c: ['MIIB'] }), 'an embedded certificate');
  await assertRefused(await sign({}, { typ: 'JWT' }), 'another typ');
  await assertRefused(await sign({}, { typ: undefined }), 'no typ');
  await assertRefused(await sign({}, { typ: 'application/imid+jwt' }), 'a long typ');
  await assertRefused(await sign({}, { jwk }), 'our own signature with an embedded key');
});

test('alg none and HS256 under the public key are refused', async () => {
  const [, payload, signature] = good.split('.');
  const { kid } = decodeProtectedHeader(good);
  for (const alg of ['none', 'None', 'NONE', 'nOnE']) {
    await assertRefused(
      `${b64({ alg, kid, typ: 'imid+jwt' })}.${payload}.${signature}`,
      `${alg} with a signature`,
    );
    await assertRefused(`${b64({ alg, kid, typ: 'imid+jwt' })}.${payload}.`, `${alg} without one`);
  }
  const jwks = (await service.call('GET', '/.well-known/jwks.json', { key: '' })).body;
  const jwk = jwks.keys.find((key: { kid: string }) => key.kid === kid);
  const pem = createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' });
  for (const secret of [pem, JSON.stringify(jwk), Buffer.from(jwk.x, 'base64url')]) {
    const signed = `${b64({ alg: 'HS256', kid, typ: 'imid+jwt' })}.${payload}`;
    const mac = createHmac('sha256', secret).update(signed).digest('base64url');
    await assertRefused(`${signed}.${mac}`, 'HS256 with the public key');
  }
});

test('other spellings of a good token are refused', async () => {
  const [header, payload, signature] = good.split('.') as [string, string, string];
  const last = signature.at(-1)!;
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const twin = alphabet[alphabet.indexOf(last) + 1] ?? 'A';
  const spellings: Record<string, string> = {
    padding: `${header}.${payload}.${signature}==`,
    'other last bits': `${header}.${payload}.${signature.slice(0, -1)}${twin}`,
    'a fourth part': `${good}.`,
    'only two parts': `${header}.${payload}`,
    empty: '..',
    'one that is not JSON': `${Buffer.from('{').toString('base64url')}.${payload}.${signature}`,
    'a very long one': `${header}.${payload}${'A'.repeat(8000)}.${signature}`,
  };
  for (const [what, token] of Object.entries(spellings)) await assertRefused(token, what);
  const key = await keepSecret(service.database, createBox(SECRET), 'former-names');
  const jwe = await new CompactEncrypt(Buffer.from(good))
    .setProtectedHeader({ alg: 'dir', enc: 'A256GCM' })
    .encrypt(key);
  await assertRefused(jwe, 'a JWE');
});

test('a token of one app shows nothing of another', async () => {
  const other = await service.createApp();
  const answer = await service.call('GET', `/v1/apps/${other.appId}/identities`, { key: good });
  assert.equal(answer.status, 404);
  assert.equal((await service.call('GET', `/v1/apps/${app.appId}/identities`, { key: good })).status, 403);
});

test('an upgrade that offers other subprotocols only is refused', async () => {
  const { WebSocket } = await import('ws');
  const socket = new WebSocket(`${service.url.replace('http', 'ws')}/v1/connect`, ['chat'], {
    headers: { authorization: `Bearer ${good}` },
  });
  const { promise, resolve } = Promise.withResolvers<number>();
  socket.on('unexpected-response', (_request, response) => resolve(response.statusCode!));
  socket.on('error', () => {});
  assert.equal(await promise, 400);
});

test('the public keys verify what the service signs, and hold nothing private', async () => {
  const { body } = await service.call('GET', '/.well-known/jwks.json', { key: '' });
  assert.equal(body.keys.length, 3);
  for (const key of body.keys)
    assert.deepEqual(Object.keys(key).toSorted(), ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y']);
  const { rows } = await service.database.pool.query('select sealed_private_jwk from signing_key');
  for (const row of rows) assert.match(row.sealed_private_jwk, /^eyJ[\w-]+\.\.[\w-]+\.[\w-]+\.[\w-]+$/);
});
