// Token exchange: a token of a customer's own issuer for one of ours, by keys that came with the issuer.

import assert from 'node:assert/strict';
import { createHmac, createPublicKey, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { before, test } from 'node:test';
import { decodeJwt, SignJWT, type JWK, type JWTPayload } from 'jose';
import { startService, type Answer, type Json, type Tenant } from './harness.ts';

const GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange';
const TYPE = 'urn:ietf:params:oauth:token-type:';
const ISS = 'https://login.customer.example';
const AUD = 'chat-client';

const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const jwkOf = (key: KeyObject): Json => key.export({ format: 'jwk' });
const KEYS = [
  { ...jwkOf(ec.publicKey), kid: 'e', use: 'sig', alg: 'ES256' },
  { ...jwkOf(rsa.publicKey), kid: 'r' },
];

const service = await startService();
let app: Tenant;
before(async () => {
  app = await service.createApp();
  const answer = await put(app, {});
  assert.equal(answer.status, 201, answer.text);
});

const put = (tenant: Tenant, fields: Json, name = 'customer'): Promise<Answer> =>
  tenant.call('PUT', `/issuers/${name}`, { issuer: ISS, audience: AUD, jwks: { keys: KEYS }, ...fields });

const now = (): number => Math.floor(Date.now() / 1000);
const claims = (more: object = {}): JWTPayload => ({
  iss: ISS,
  aud: AUD,
  sub: 'alice',
  exp: now() + 600,
  ...more,
});
const signed = (more: object = {}, header: object = {}, key = ec.privateKey): Promise<string> =>
  new SignJWT(claims(more)).setProtectedHeader({ alg: 'ES256', kid: 'e', ...header }).sign(key);
const base64 = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
/** Signs whatever it is given. */
function forge(header: unknown, payload: unknown, dsaEncoding: 'ieee-p1363' | 'der' = 'ieee-p1363'): string {
  const input = `${base64(header)}.${base64(payload)}`;
  return `${input}.${sign('sha256', Buffer.from(input), { key: ec.privateKey, dsaEncoding }).toString('base64url')}`;
}

async function exchange(token: string, more: Record<string, string> = {}): Promise<Answer> {
  const form = {
    grant_type: GRANT,
    subject_token: token,
    subject_token_type: `${TYPE}jwt`,
    audience: `imid:${app.appId}`,
  };
  return post(new URLSearchParams({ ...form, ...more }).toString());
}
const post = (body: string, type = 'application/x-www-form-urlencoded', query = ''): Promise<Answer> =>
  service.call('POST', `/oauth/token${query}`, {
    key: '',
    body: Buffer.from(body),
    headers: { 'content-type': type },
  });

function assertRefused(answer: Answer, error: string, description: RegExp, what = ''): void {
  assert.equal(answer.status, 400, `${what}: ${answer.text}`);
  assert.equal(answer.body.error, error, `${what}: ${answer.text}`);
  assert.match(answer.body.error_description, description, what);
  assert.match(answer.body.error_description, /^[ !#-[\]-~]+$/);
  assert.equal(answer.headers.get('cache-control'), 'no-store');
  assert.match(answer.headers.get('content-type')!, /^application\/json/);
}

test('a token of the customer’s becomes one of ours, which connects as that user', async () => {
  const { status, body, headers } = await exchange(await signed(), { device_id: 'phone' });
  assert.equal(status, 200);
  assert.equal(headers.get('cache-control'), 'no-store');
  const { access_token: token, ...rest } = body;
  assert.deepEqual(
    { ...rest, expires_in: 0 },
    { issued_token_type: `${TYPE}jwt`, token_type: 'Bearer', expires_in: 0, scope: 'composed' },
  );
  // Ends with the token it was exchanged for, whose issuer's clock may be 30 seconds off.
  assert.ok(rest.expires_in > 600 && rest.expires_in <= 630, String(rest.expires_in));
  assert.equal(decodeJwt(token).sub, `${app.appId}:alice`);
  await assert.rejects(service.connect(token, { device: 'tablet' }), { status: 403 });
  const alice = await service.connect(token, { device: 'phone' });
  const bob = await app.connect({ uid: 'bob' });
  await alice.say({ uid: 'bob' }, 'hello');
  const [message] = await bob.messages(1);
  assert.deepEqual([message.from, message.content], [{ uid: 'alice' }, 'hello']);

  const long = await exchange(await signed({ exp: now() + 90_000 }));
  assert.equal(long.body.expires_in, 3_600);
  for (const token_type of ['access_token', 'id_token']) {
    const answer = await exchange(await signed({ aud: ['x', AUD] }, { typ: 'at+JWT' }), {
      subject_token_type: TYPE + token_type,
      requested_token_type: `${TYPE}access_token`,
    });
    assert.equal(answer.body.issued_token_type, `${TYPE}access_token`);
  }
  const byRsa = new SignJWT(claims()).setProtectedHeader({ alg: 'RS256', typ: 'JWT' });
  assert.equal((await exchange(await byRsa.sign(rsa.privateKey))).status, 200);
});

test('a token is given to pages of the app’s own origins only', async () => {
  await app.call('PATCH', '', { allowedOrigins: ['https://chat.example'] });
  const ask = async (origin: string): Promise<Answer> => {
    const form = new URLSearchParams({
      grant_type: GRANT,
      subject_token: await signed(),
      subject_token_type: `${TYPE}jwt`,
      audience: `imid:${app.appId}`,
    });
    const headers = { origin, 'content-type': 'application/x-www-form-urlencoded' };
    const answer = await service.call('POST', '/oauth/token', { key: '', headers, body: form.toString() });
    assert.equal(answer.headers.get('access-control-allow-origin'), origin);
    return answer;
  };
  assert.equal((await ask('https://chat.example')).status, 200);
  assertRefused(await ask('https://elsewhere.example'), 'invalid_request', /pages of this origin/);
  await app.call('PATCH', '', { allowedOrigins: [] });
  assert.equal((await ask('https://elsewhere.example')).status, 200);
});

test('in the registered scheme the claim is a userId, registered on the way only if the app says so', async () => {
  const tenant = await service.createApp();
  await put(tenant, { subjectClaim: 'https://customer.example/user' });
  const ask = async (user: string) =>
    exchange(await signed({ 'https://customer.example/user': user }), {
      audience: `imid:${tenant.appId}`,
      scope: 'registered',
    });
  const imId = await tenant.register('bob');
  const ofBob = await ask('bob');
  assert.equal(ofBob.body.scope, 'registered');
  assert.equal(decodeJwt(ofBob.body.access_token).sub, imId);
  assertRefused(await ask('carol'), 'invalid_request', /^Nobody is registered under the userId in the claim/);

  const replaced = await put(tenant, { subjectClaim: 'https://customer.example/user', register: true });
  assert.equal(replaced.status, 200);
  const carol = await tenant.connect({ uid: 'carol' });
  const first = await ask('carol');
  assert.equal(first.status, 200, first.text);
  assert.equal(decodeJwt((await ask('carol')).body.access_token).sub, decodeJwt(first.body.access_token).sub);
  // She was in use as a uid, and is the same user now.
  await (await service.connect(first.body.access_token)).say({ userId: 'bob' }, 'from carol');
  await carol.say({ userId: 'bob' }, 'again');
  const senders = (await tenant.inbox(imId)).map((message: Json) => message.from.userId);
  assert.deepEqual(senders, ['carol', 'carol']);
});

test('which app and which scheme are meant is taken as it is said, and no app by who trusts the issuer', async () => {
  const [one, two] = [await service.createApp(['registered']), await service.createApp(['composed'])];
  const iss = `${ISS}/other`;
  await put(one, { issuer: iss, register: true });
  const token = await signed({ iss });
  assertRefused(await exchange(token, { audience: '' }), 'invalid_request', /audience is missing: imid:/);
  const first = await exchange(await signed({ iss, aud: [AUD, `imid:${one.appId}`] }), { audience: '' });
  assert.equal(first.body.scope, 'registered');
  assert.equal(decodeJwt(first.body.access_token).aud, `imid:${one.appId}`);
  const ofBoth = await signed({ iss, aud: [AUD, `imid:${one.appId}`, `imid:${two.appId}`] });
  assertRefused(await exchange(ofBoth, { audience: '' }), 'invalid_request', /audience is missing/);
  await put(two, { issuer: iss, audience: ['web', AUD] });
  const ofTwo = (more: object): Promise<Answer> =>
    exchange(token, { audience: `imid:${two.appId}`, ...more });
  assert.equal((await ofTwo({})).body.scope, 'composed');
  assertRefused(await ofTwo({ scope: 'registered' }), 'invalid_scope', /does not use the registered scheme/);
  for (const scope of ['composed registered', 'openid'])
    assertRefused(await ofTwo({ scope }), 'invalid_scope', /must be composed or registered/);
  for (const audience of ['imid:0', 'imid:', app.appId, 'https://imid.example'])
    assertRefused(await exchange(token, { audience }), 'invalid_target', /must be imid:/);
  // An app that isn't there is like one that doesn't trust the issuer.
  const untrusting = await exchange(token);
  assertRefused(untrusting, 'invalid_target', /No such audience/);
  assert.equal((await exchange(token, { audience: 'imid:9007199254740991' })).text, untrusting.text);

  assert.equal((await two.call('DELETE', '/issuers/customer')).status, 204);
  assertRefused(await ofTwo({}), 'invalid_target', /No such audience/);
});

test('a request that is not a well-formed exchange is refused in the form of OAuth', async () => {
  const token = await signed();
  const refused: [Record<string, string>, string, RegExp][] = [
    [{ grant_type: '' }, 'invalid_request', /grant_type is missing/],
    [{ grant_type: 'password' }, 'unsupported_grant_type', /grant_type must be/],
    [{ subject_token: '' }, 'invalid_request', /subject_token is missing/],
    [{ subject_token_type: '' }, 'invalid_request', /subject_token_type is missing/],
    [{ subject_token_type: `${TYPE}saml2` }, 'invalid_request', /subject_token_type must be one of/],
    [{ requested_token_type: `${TYPE}saml2` }, 'invalid_request', /requested_token_type must be one of/],
    [{ actor_token: 'x' }, 'invalid_request', /actor_token is not supported/],
    [{ resource: 'https://x.example' }, 'invalid_request', /resource is not supported/],
    [{ device_id: ' x' }, 'invalid_request', /device_id must not begin/],
  ];
  for (const [form, error, description] of refused)
    assertRefused(await exchange(token, form), error, description);
  const form = `grant_type=${encodeURIComponent(GRANT)}&subject_token=${token}&subject_token_type=${TYPE}jwt`;
  assertRefused(await post(`${form}&scope=&scope=composed`), 'invalid_request', /scope stands twice/);
  for (const bad of ['scope=%ff', 'scope=%zz', 'scope=\xe9'])
    assertRefused(await post(bad), 'invalid_request', /percent-encoded UTF-8/);
  assertRefused(await post(form, undefined, '?scope=composed'), 'invalid_request', /not a known field/);
  assertRefused(await post(form, undefined, '?scope=%ff'), 'invalid_request', /UTF-8/);
  assertRefused(await post('{}', 'application/json'), 'invalid_request', /Media Type/);
  assertRefused(await post(`a=${'a'.repeat(17_000)}`), 'invalid_request', /too large/);
  assertRefused(await post('__proto__=a&constructor=b'), 'invalid_request', /is missing/);
  assertRefused(await post('grant_type=client_credentials'), 'unsupported_grant_type', /grant_type must be/);
  assertRefused(await post(''), 'invalid_request', /grant_type is missing/);
});

test('a token that is not exactly what the issuer signs is refused', async () => {
  const good = await signed();
  const [header, payload, signature] = good.split('.') as [string, string, string];
  const head = { alg: 'ES256', kid: 'e' };
  const publicPem = createPublicKey(ec.privateKey).export({ type: 'spki', format: 'pem' });
  const hmac = (input: string): string => createHmac('sha256', publicPem).update(input).digest('base64url');
  const hs = `${base64({ alg: 'HS256', kid: 'e' })}.${payload}`;
  const jwk = jwkOf(other.publicKey) as JWK;
  const tokens: Record<string, [string, RegExp]> = {
    'alg none': [`${base64({ alg: 'none' })}.${payload}.`, /compact JWS/],
    'alg none, with a signature': [`${base64({ alg: 'none' })}.${payload}.${signature}`, /alg/],
    'the public key as a secret': [`${hs}.${hmac(hs)}`, /alg/],
    'an algorithm that is not the issuer’s': [forge({ ...head, alg: 'ES384' }, claims()), /alg/],
    'a key of its own': [await signed({}, { jwk }, other.privateKey), /holds jwk/],
    'a URL of keys': [await signed({}, { jku: 'https://evil.example' }), /holds jku/],
    'a URL of a certificate': [await signed({}, { x5u: 'https://evil.example' }), /holds x5u/],
    'a certificate': [await signed({}, { x5c: ['MII'] }), /holds x5c/],
    'something critical': [forge({ ...head, crit: ['exp'], exp: 1 }, claims()), /holds crit/],
    'b64 false': [forge({ ...head, b64: false, crit: ['b64'] }, claims()), /holds/],
    'b64 true': [forge({ ...head, b64: true }, claims()), /holds b64/],
    nested: [forge({ ...head, cty: 'JWT' }, claims()), /holds cty/],
    'one of ours by its type': [await signed({}, { typ: 'imid+jwt' }), /typ/],
    'a logout token by its type': [await signed({}, { typ: 'logout+jwt' }), /typ/],
    'a logout token': [await signed({ events: {} }), /event/],
    'bound to a key': [await signed({ cnf: { jkt: 'x' } }), /bound to a key/],
    'really one of ours': [await app.token({ uid: 'alice' }), /typ/],
    encrypted: [`${base64({ alg: 'dir', enc: 'A256GCM' })}..a.b.c`, /compact JWS/],
    padded: [`${header}.${payload}.${signature}=`, /compact JWS/],
    'not canonical': [`${header}.${payload}.${bend(signature)}`, /canonical/],
    'too long': [await signed({ more: 'x'.repeat(8_000) }), /compact JWS/],
    'a DER signature': [forge(head, claims(), 'der'), /signature/],
    'r and s zero': [`${header}.${payload}.${Buffer.alloc(64).toString('base64url')}`, /signature/],
    'half a signature': [`${header}.${payload}.${signature.slice(0, 40)}`, /signature|canonical/],
    'another key’s': [await signed({}, {}, other.privateKey), /signature/],
    'an unknown kid': [await signed({}, { kid: 'x' }), /no such key/],
    'a kid of another kind': [await signed({}, { kid: 'r' }), /no such key/],
    'another payload': [`${header}.${base64(claims({ sub: 'bob' }))}.${signature}`, /signature/],
    'exp a text': [forge(head, claims({ exp: String(now() + 600) })), /exp/],
    'exp a fraction': [forge(head, claims({ exp: now() + 600.5 })), /exp/],
    'exp negative': [forge(head, claims({ exp: -1 })), /exp/],
    'exp null': [forge(head, { ...claims(), exp: null }), /exp/],
    'no exp': [forge(head, claims({ exp: undefined })), /no exp/],
    expired: [await signed({ exp: now() - 40 }), /expired/],
    'not good yet': [await signed({ nbf: now() + 40 }), /not good yet/],
    'issued in the future': [await signed({ iat: now() + 40 }), /future/],
    'a claim twice': [
      forge(head, JSON.stringify(claims()).replace('{', '{"sub":"bob",')),
      /each member once/,
    ],
    'a claim twice, escaped': [
      forge(head, JSON.stringify(claims()).replace('{', '{"s\\u0075b":"bob",')),
      /once/,
    ],
    'a header twice': [forge('{"alg":"none","alg":"ES256","kid":"e"}', claims()), /each member once/],
    'a list': [forge(head, [claims()]), /JSON objects/],
    'not UTF-8': [
      forge(head, claims()).replace(
        /\.[^.]+\./,
        `.${Buffer.from('{"a":"\xff"}', 'latin1').toString('base64url')}.`,
      ),
      /JSON/,
    ],
    'another aud': [await signed({ aud: 'other' }), /aud/],
    'no aud': [await signed({ aud: undefined }), /aud/],
    'an aud of numbers': [forge(head, claims({ aud: [1] })), /aud/],
    'an iss with a zero': [await signed({ iss: 'a\u0000' }), /iss/],
    'an aud with a zero': [await signed({ aud: [AUD, '\u0000'] }), /aud/],
    'no iss': [await signed({ iss: undefined }), /iss/],
    'no sub': [await signed({ sub: undefined }), /sub is not text/],
    'a sub that is a number': [forge(head, { ...claims(), sub: 7 }), /sub is not text/],
    'a sub that is no name': [await signed({ sub: ' alice' }), /sub must not begin/],
    'a sub that is too long': [await signed({ sub: 'é'.repeat(65) }), /128 bytes/],
    nothing: ['x', /compact JWS/],
  };
  for (const [what, [token, why]] of Object.entries(tokens)) {
    assertRefused(await exchange(token), 'invalid_request', why, what);
    assert.equal((await exchange(token)).status, 400, what);
  }
  assert.equal((await exchange(await signed({ exp: now() - 20, nbf: now() + 20, iat: now() }))).status, 200);
  assertRefused(await exchange(await signed({ iss: `${ISS}/` })), 'invalid_target', /No such audience/);
});

/** The same bytes, spelled with other bits where base64 has some to spare. */
function bend(text: string): string {
  const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  return text.slice(0, -1) + digits[digits.indexOf(text.at(-1)!) ^ 1];
}

test('weak, secret and unfit keys are refused by name', async () => {
  const e = (key: object): object => ({ ...jwkOf(ec.publicKey), ...key });
  const r = (key: object): object => ({ ...jwkOf(rsa.publicKey), ...key });
  const toText = (n: bigint): string => Buffer.from(n.toString(16), 'hex').toString('base64url');
  const small = generateKeyPairSync('rsa', { modulusLength: 1024 });
  // As CVE-2017-15361 makes them: a power of 65537, modulo the product of the first primes.
  const product = Array.from({ length: 166 }, (_, i) => i + 2)
    .filter((n) => Array.from({ length: n - 2 }, (_, i) => i + 2).every((d) => n % d !== 0))
    .reduce((all, prime) => all * BigInt(prime), 1n);
  const roca = product * ((1n << 2047n) / product + 1n) + (65_537n ** 5n % product);
  const even = (BigInt(`0x${Buffer.from(jwkOf(rsa.publicKey).n, 'base64url').toString('hex')}`) >> 1n) << 1n;
  const cases: [object[], string, RegExp][] = [
    [[jwkOf(small.publicKey)], 'n', /2048 to 8192 bits, and has 1024/],
    [[r({ n: toText(roca) })], 'n', /ROCA/],
    [[r({ n: toText(even) })], 'n', /small prime/],
    [[r({ n: `AA${jwkOf(rsa.publicKey).n}` })], 'n', /number/],
    [[r({ n: undefined })], 'n', /number/],
    ...['AQ', 'Aw', 'AQAA', 'AQABAQAB', 'AAEAAQ', 7].map((bad): [object[], string, RegExp] => [
      [r({ e: bad })],
      'e',
      /must be/,
    ]),
    [[{ kty: 'oct', k: 'c2VjcmV0' }], 'kty', /RSA, EC or OKP/],
    [[jwkOf(ec.privateKey)], 'd', /private/],
    [[r({ p: 'AQ' })], 'p', /private/],
    [[e({ use: 'enc' })], 'use', /sig/],
    [[e({ key_ops: ['sign'] })], 'key_ops', /verify/],
    [[e({ alg: 'RS256' })], 'alg', /ES256/],
    [[e({ alg: 'HS256' })], 'alg', /ES256/],
    [[e({ crv: 'secp256k1' })], 'crv', /P-256/],
    [[e({ crv: '__proto__' })], 'crv', /P-256/],
    [[e({ crv: 'P-384' })], 'x', /48 bytes/],
    [[e({ crv: 'Ed25519' })], 'crv', /P-256/],
    [[{ kty: 'OKP', crv: 'X25519', x: 'A'.repeat(43) }], 'crv', /Ed25519/],
    [[{ kty: 'OKP', crv: 'Ed25519', x: 'A'.repeat(43) }], 'x', /small order/],
    [[e({ y: jwkOf(other.publicKey).y })], '', /not a public key/],
    [[e({ kid: '' })], 'kid', /text/],
    [[e({ kid: 'a' }), r({ kid: 'a' })], 'kid', /another key/],
    [[e({ kid: 'a\u0000' })], 'kid', /control/],
  ];
  for (const [keys, member, why] of cases) {
    const { status, body } = await put(app, { jwks: { keys } }, 'weak');
    const what = JSON.stringify([keys.at(-1), body]);
    assert.equal(status, 400, what);
    assert.equal(body.errors[0].pointer, `#/jwks/keys/${keys.length - 1}${member && `/${member}`}`, what);
    assert.match(body.errors[0].detail, why, what);
  }
});

test('an issuer is put, read, listed and deleted, and each bad field is named', async () => {
  const tenant = await service.createApp();
  const made = await put(tenant, { algorithms: ['RS256'], clockSkewSeconds: 0 }, 'b');
  assert.equal(made.status, 201);
  const { createdAt: _, jwks, ...shown } = made.body;
  const settings = { algorithms: ['RS256'], subjectClaim: 'sub', clockSkewSeconds: 0, register: false };
  assert.deepEqual(shown, { name: 'b', issuer: ISS, audience: [AUD], ...settings });
  assert.deepEqual(
    jwks.keys.map((key: Json) => key.kid),
    ['e', 'r'],
  );
  const clash = await put(tenant, {}, 'a');
  assert.deepEqual([clash.status, clash.body.errors[0].pointer], [409, '#/issuer']);
  await put(tenant, { issuer: 'https://a.example', jwks: undefined, jwksUrl: 'https://a.example/keys' }, 'a');
  const page = await tenant.call('GET', '/issuers?limit=1');
  assert.deepEqual(
    page.body.items.map((each: Json) => [each.name, each.jwksUrl]),
    [['a', 'https://a.example/keys']],
  );
  const rest = await tenant.call('GET', `/issuers?cursor=${page.body.nextCursor}`);
  assert.deepEqual(rest.body, { items: [made.body] });
  assert.deepEqual((await tenant.call('GET', '/issuers/b')).body, made.body);
  assert.equal((await tenant.call('DELETE', '/issuers/a')).status, 204);
  for (const method of ['GET', 'DELETE']) assert.equal((await tenant.call(method, '/issuers/a')).status, 404);
  assert.equal((await tenant.call('PUT', '/issuers/A', {})).status, 400);

  const bad: [Json, string][] = [
    [{ jwks: undefined }, '#'],
    [{ jwksUrl: 'https://a.example' }, '#'],
    [{ jwks: undefined, jwksUrl: 'http://a.example' }, '#/jwksUrl'],
    [{ jwks: undefined, jwksUrl: 'https://127.1/' }, '#/jwksUrl'],
    [{ jwks: undefined, jwksUrl: 'https://[::ffff:169.254.169.254]/' }, '#/jwksUrl'],
    [{ jwks: { keys: [] } }, '#/jwks/keys'],
    [{ algorithms: ['HS256'] }, '#/algorithms/0'],
    [{ algorithms: ['none'] }, '#/algorithms/0'],
    [{ algorithms: [] }, '#/algorithms'],
    [{ clockSkewSeconds: 301 }, '#/clockSkewSeconds'],
    [{ issuer: '' }, '#/issuer'],
    [{ audience: [] }, '#/audience'],
    [{ subjectClaim: 'a\u0000' }, '#/subjectClaim'],
    [{ color: 'red' }, '#/color'],
  ];
  for (const [fields, pointer] of bad) {
    const { status, body } = await put(tenant, fields);
    assert.deepEqual([status, body.errors?.[0].pointer], [400, pointer], JSON.stringify([fields, body]));
  }
});

test('an app has no more issuers and API keys than it may, however many are added at once', async () => {
  const strict = await startService({ on: service, app: { limits: { issuersPerApp: 2, apiKeysPerApp: 3 } } });
  const tenant = await strict.createApp();
  const puts = [1, 2, 3, 4].map((n) => put(tenant, { issuer: `${ISS}/${n}` }, `n${n}`));
  const answers = await Promise.all(puts);
  assert.equal(answers.filter(({ status }) => status === 409).length, 2);
  const { items } = (await tenant.call('GET', '/issuers')).body;
  assert.equal(items.length, 2);
  assert.equal((await put(tenant, { issuer: items[0].issuer }, items[0].name)).status, 200);
  const keys = await Promise.all([1, 2, 3].map((n) => tenant.call('POST', '/keys', { name: `k${n}` })));
  const refused = keys.filter(({ status }) => status === 409);
  assert.deepEqual(
    refused.map(({ body }) => body.detail),
    ['The app has 3 of these already.'],
  );
  await strict.close();
});

test('without its database the service says in the form of OAuth when to try again', async () => {
  const { pool } = service.database;
  await pool.query('alter table issuer rename to issuer_away');
  const { status, body, headers } = await exchange(await signed({ iss: 'nobody' }));
  await pool.query('alter table issuer_away rename to issuer');
  assert.deepEqual([status, body.error], [503, 'temporarily_unavailable']);
  assert.deepEqual([headers.get('retry-after'), headers.get('cache-control')], ['1', 'no-store']);
  assert.equal((await exchange(await signed())).status, 200);
});
