// What attackers do to a JWS: every kind of it is refused, whichever algorithm the service signs with.

import assert from 'node:assert/strict';
import { createHmac, createPublicKey } from 'node:crypto';
import { before, test } from 'node:test';
import { CompactEncrypt, exportJWK, generateKeyPair, importJWK } from 'jose';
import { makeUuidAt, type AppId, type ImId } from '../src/ids.ts';
import { createTokens } from '../src/tokens/tokens.ts';
import { base64url, openStage, type Stage } from './token_stage.ts';

/** The order of P-256 (FIPS 186-5, SP 800-186 section 3.2.1.3). */
const N = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

const stages: Stage[] = [];
before(async () => {
  for (const alg of ['ES256', 'EdDSA'] as const) stages.push(await openStage(alg));
});

/** Runs a test once for each algorithm. */
const testEach = (name: string, play: (stage: Stage) => Promise<void>): void => {
  test(name, async () => {
    for (const stage of stages) await play(stage);
  });
};

const withMember = (text: string, member: string): string => `${text.slice(0, -1)},${member}}`;
const bytes32 = (value: bigint): Buffer => Buffer.from(value.toString(16).padStart(64, '0'), 'hex');
const toBigInt = (bytes: Buffer): bigint => BigInt(`0x${bytes.toString('hex')}`);

testEach(
  'what the tests sign as the service does is taken',
  async ({ tokens, sign, header, payload, good }) => {
    assert.equal((await tokens.verify(await sign(header, payload))).sub, '1:bob');
    assert.equal((await tokens.verify(good)).deviceId, 'phone');
  },
);

testEach('alg none is refused in every letter case, with and without a signature', async (stage) => {
  const { payload, signature } = stage.parts;
  for (let cases = 0; cases < 16; cases += 1) {
    const alg = 'none'
      .split('')
      .map((c, i) => ((cases >> i) & 1 ? c.toUpperCase() : c))
      .join('');
    const header = base64url(JSON.stringify({ alg, kid: stage.kid, typ: 'imid+jwt' }));
    for (const end of ['', signature, 'AA']) await stage.refuse(`${header}.${payload}.${end}`, alg);
  }
});

testEach('a public key is no HMAC key, in whichever form', async ({ options, kid, parts, refuse }) => {
  const { publicJwk } = (await options.keys.find(kid))!;
  const key = createPublicKey({ key: publicJwk, format: 'jwk' });
  const pem = key.export({ type: 'spki', format: 'pem' });
  const secrets = [
    pem,
    pem.trim(),
    key.export({ type: 'spki', format: 'der' }),
    JSON.stringify(publicJwk),
    publicJwk.x!,
    Buffer.from(publicJwk.x!, 'base64url'),
    Buffer.from(`${publicJwk.x}${publicJwk.y ?? ''}`, 'base64url'),
    '\0',
  ];
  for (const [alg, digest] of Object.entries({ HS256: 'sha256', HS384: 'sha384', HS512: 'sha512' }))
    for (const secret of secrets) {
      const signed = `${base64url(JSON.stringify({ alg, kid, typ: 'imid+jwt' }))}.${parts.payload}`;
      const mac = createHmac(digest, secret).update(signed).digest('base64url');
      await refuse(`${signed}.${mac}`, alg);
    }
});

testEach('another algorithm under our kid is refused, though our key has signed it', async (stage) => {
  for (const alg of ['ES256', 'EdDSA', 'Ed25519', 'ES384', 'ES256K', 'RS256', 'PS256', 'es256', '']) {
    if (alg === stage.alg) continue;
    const header = JSON.stringify({ alg, kid: stage.kid, typ: 'imid+jwt' });
    await stage.refuse(await stage.sign(header, stage.payload), alg);
  }
});

testEach('a kid that is none of ours is refused, and never a path, a query or a type', async (stage) => {
  const kids = [
    '../../../../dev/null',
    '/etc/passwd',
    'file:///dev/null',
    "' or 1=1 --",
    "x' union select 'key",
    '; cat secret.key |',
    '__proto__',
    'constructor',
    '',
    `${stage.kid} `,
    `${stage.kid}\0`,
    stage.kid.toUpperCase(),
    [stage.kid],
    { kid: stage.kid },
    0,
    null,
    true,
    'k'.repeat(10_240),
  ];
  for (const kid of kids)
    await stage.refuse(
      await stage.sign(JSON.stringify({ alg: stage.alg, kid, typ: 'imid+jwt' }), stage.payload),
      JSON.stringify(kid).slice(0, 60),
    );
  await stage.refuse(await stage.sign(`{"alg":"${stage.alg}","typ":"imid+jwt"}`, stage.payload), 'no kid');
});

testEach(
  'no header member besides ours is taken, signed by our key or by the one it brings',
  async (stage) => {
    const { publicKey, privateKey } = await generateKeyPair(stage.alg, { extractable: true });
    const jwk = JSON.stringify(await exportJWK(publicKey));
    const members = [
      `"jwk":${jwk}`,
      '"jku":"https://evil.example/jwks.json"',
      '"x5u":"https://evil.example/cert.pem"',
      '"x5c":["MIIB"]',
      '"x5t":"AAAA"',
      '"crit":["exp"]',
      '"crit":[]',
      '"crit":["b64"],"b64":false',
      '"b64":false',
      '"b64":true',
      '"zip":"DEF"',
      '"cty":"JWT"',
      '"enc":"A256GCM"',
      '"x":1',
      '"__proto__":{"kid":"x"}',
      `"kid":"${stage.kid}"`,
      `"alg":"${stage.alg}"`,
      '"alg":"none"',
      '"typ":"imid+jwt"',
    ];
    const how = stage.alg === 'EdDSA' ? 'Ed25519' : { name: 'ECDSA', hash: 'SHA-256' };
    for (const member of members) {
      const header = withMember(stage.header, member);
      await stage.refuse(await stage.sign(header, stage.payload), member);
      const signed = `${base64url(header)}.${stage.parts.payload}`;
      const foreign = new Uint8Array(await crypto.subtle.sign(how, privateKey, Buffer.from(signed)));
      await stage.refuse(`${signed}.${base64url(foreign)}`, `${member}, by another key`);
    }
  },
);

testEach(
  'what is not a JSON object in UTF-8 without a BOM is refused, though our key has signed it',
  async (stage) => {
    const { header, payload, sign, refuse } = stage;
    const texts = [
      '',
      ' ',
      'null',
      '1',
      '"x"',
      '[]',
      `[${payload}]`,
      '{',
      `${payload},`,
      `${payload}${payload}`,
    ];
    for (const text of texts) {
      await refuse(await sign(header, text), `payload ${text}`);
      await refuse(await sign(text, payload), `header ${text}`);
    }
    for (const [what, bytes] of Object.entries({
      'a BOM': Buffer.from(`\uFEFF${payload}`),
      'UTF-16': Buffer.from(payload, 'utf16le'),
      'bytes that are not UTF-8': Buffer.from(payload.replaceAll('bob', 'b\u00FFb'), 'latin1'),
      'an overlong encoding': Buffer.from(payload.replaceAll('bob', 'b\u00C1\u00AFb'), 'latin1'),
      'a NUL at the end': Buffer.from(`${payload}\0`),
    }))
      await refuse(await sign(header, bytes), what);
    await refuse(await sign(`\uFEFF${header}`, payload), 'a BOM in the header');
  },
);

testEach('a claim that is not as we write it is refused, though our key has signed it', async (stage) => {
  const { payload, header, sign, refuse } = stage;
  const now = Math.floor(Date.now() / 1_000);
  const put = (claim: string, json: string): string =>
    payload.replace(new RegExp(`"${claim}":("[^"]*"|\\d+)`), `"${claim}":${json}`);
  const bad: Record<string, string[]> = {
    exp: [
      '"9999999999"',
      '1e400',
      `${now + 60}.5`,
      `${now + 60}.0`,
      '9007199254740993',
      '1e10',
      'null',
      '[1]',
      'true',
    ],
    iat: [`${now + 86_400}`, `${now}.5`, '"1"', '-1', '0', '1e400', 'null'],
    aud: [
      '"imid:2"',
      '["imid:1"]',
      '"imid:01"',
      '"imid:1 "',
      '"IMID:1"',
      '"1"',
      '"imid:"',
      '"imid:-1"',
      '"imid:1e0"',
      'null',
      '1',
      '{}',
    ],
    iss: ['"https://imid.example/"', '"https://IMID.example"', '["https://imid.example"]', '""', 'null'],
    sub: [
      '1',
      'null',
      '["1:bob"]',
      '{}',
      '""',
      '"bob"',
      '"2:bob"',
      '"1:"',
      '"01:bob"',
      '"1:\\ud800"',
      '"1:b\\u0000b"',
      `"1:${'b'.repeat(600)}"`,
      '"1:\\u0062ob"',
    ],
    scheme: ['"registered"', '"other"', '"Composed"', '""', 'null', '1', '["composed"]', '"__proto__"'],
    device: ['""', '"\\udfff"', '"a\\u0000"', '"a\\nb"', `"${'d'.repeat(600)}"`, '1', 'null', '[]', 'false'],
    jti: [
      '"x"',
      'null',
      '1',
      '"01890000-0000-7000-8000-000000000000"',
      '"018900000000700080000000000000000000"',
    ],
  };
  for (const [claim, values] of Object.entries(bad))
    for (const json of values) {
      assert.notEqual(put(claim, json), payload, claim);
      await refuse(await sign(header, put(claim, json)), `${claim}: ${json.slice(0, 60)}`);
    }
  for (const claim of Object.keys(JSON.parse(payload)).filter((each) => each !== 'device')) {
    const { [claim]: _, ...rest } = JSON.parse(payload);
    await refuse(await sign(header, JSON.stringify(rest)), `without ${claim}`);
  }
  for (const member of [
    '"nbf":0',
    `"nbf":${now + 60}`,
    '"azp":"1"',
    '"admin":true',
    '"__proto__":{}',
    '"sub":"1:eve"',
    '"exp":9999999999',
  ])
    await refuse(await sign(header, withMember(payload, member)), member);
  const ahead = makeUuidAt(new Date((now + 60) * 1_000));
  const fromThere = put('jti', `"${ahead}"`).replace(/"iat":\d+/, `"iat":${now + 60}`);
  await refuse(await sign(header, fromThere), 'an iat in the future, and a jti of the same time');
  for (const exp of ['-1e400', '-1', '0', `${now - 5}`])
    await refuse(await sign(header, put('exp', exp)), `exp ${exp}`, 'token_expired');
});

test('r and s of ES256 are 32 bytes each, between 1 and n - 1', async () => {
  const [{ parts, refuse, tokens, good }] = stages as [Stage];
  const raw = Buffer.from(parts.signature, 'base64url');
  const [r, s] = [toBigInt(raw.subarray(0, 32)), toBigInt(raw.subarray(32))];
  const put = (...halves: Buffer[]): string =>
    `${parts.header}.${parts.payload}.${base64url(Buffer.concat(halves))}`;
  const max = 2n ** 256n - 1n;
  for (const [a, b] of [
    [0n, 0n],
    [0n, s],
    [r, 0n],
    [1n, 1n],
    [N, s],
    [r, N],
    [N, N],
    [max, max],
    [s, r],
    [N - r, s],
    [r, max],
    ...(r + N <= max ? [[r + N, s]] : []),
    ...(s + N <= max ? [[r, s + N]] : []),
  ] as [bigint, bigint][])
    await refuse(put(bytes32(a), bytes32(b)), `r ${a}, s ${b}`);
  for (const size of [0, 1, 31, 32, 33, 63]) await refuse(put(raw.subarray(0, size)), `${size} bytes`);
  for (const more of [1, 2, 32, 64]) await refuse(put(raw, Buffer.alloc(more)), `${more} bytes more`);
  await refuse(put(Buffer.alloc(1), bytes32(r), Buffer.alloc(1), bytes32(s)), 'zeros in front');
  await refuse(put(toDer(r, s)), 'DER');
  // The other s of ECDSA is as good: so a token is known by its jti, and never by its text.
  const twin = await tokens.verify(put(bytes32(r), bytes32(N - s)));
  assert.equal(twin.jti, (await tokens.verify(good)).jti);
});

test('s of Ed25519 is below the order of the group', async () => {
  const [, { parts, refuse }] = stages as [Stage, Stage];
  const order = 2n ** 252n + 27742317777372353535851937790883648493n;
  const raw = Buffer.from(parts.signature, 'base64url');
  const s = toBigInt(Buffer.from(raw.subarray(32).toReversed()));
  for (const other of [s + order, 0n, order]) {
    const bytes = Buffer.concat([raw.subarray(0, 32), bytes32(other).toReversed()]);
    await refuse(`${parts.header}.${parts.payload}.${base64url(bytes)}`, `s ${other}`);
  }
});

function toDer(r: bigint, s: bigint): Buffer {
  const integer = (value: bigint): Buffer => {
    const bytes = bytes32(value);
    const body = bytes[0]! & 0x80 ? Buffer.concat([Buffer.alloc(1), bytes]) : bytes;
    return Buffer.concat([Buffer.from([2, body.length]), body]);
  };
  const body = Buffer.concat([integer(r), integer(s)]);
  return Buffer.concat([Buffer.from([0x30, body.length]), body]);
}

testEach('each part has one spelling: no padding, no other alphabet, no other last bits', async (stage) => {
  const { good, refuse } = stage;
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  for (const [i, part] of good.split('.').entries()) {
    const put = (text: string): string => good.split('.').with(i, text).join('.');
    const free = [0, 0, 4, 2][part.length % 4]!;
    const value = alphabet.indexOf(part.at(-1)!);
    for (let bits = 1; bits < 1 << free; bits += 1)
      await refuse(put(part.slice(0, -1) + alphabet[value ^ bits]), `part ${i}, bits ${bits}`);
    for (const other of [
      `${part}=`,
      `${part}==`,
      ` ${part}`,
      `${part}\n`,
      `${part.slice(0, 4)}\r\n${part.slice(4)}`,
      '',
      `${part}.`,
    ])
      await refuse(put(other), `part ${i}: ${JSON.stringify(other).slice(0, 40)}`);
    const standard = Buffer.from(part, 'base64url').toString('base64');
    if (standard !== part) await refuse(put(standard), `part ${i} in standard base64`);
  }
});

testEach('what is no compact JWS is refused: JWE, JSON, nested and very long ones', async (stage) => {
  const { good, parts, header, payload, sign, refuse, options, kid, looked } = stage;
  const encrypt = (key: Uint8Array) =>
    new CompactEncrypt(Buffer.from(good))
      .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', kid })
      .encrypt(key);
  await refuse(await encrypt(Buffer.alloc(32)), 'a JWE');
  const { publicJwk } = (await options.keys.find(kid))!;
  if (stage.alg === 'ES256') {
    const key = await importJWK({ kty: 'EC', crv: 'P-256', x: publicJwk.x!, y: publicJwk.y! }, 'ECDH-ES');
    const jwe = new CompactEncrypt(Buffer.from(payload)).setProtectedHeader({
      alg: 'ECDH-ES',
      enc: 'A256GCM',
      kid,
    });
    await refuse(await jwe.encrypt(key), 'a JWE for our public key');
  }
  await refuse(await sign(header, good), 'a token in a token');
  await refuse(await sign(header, JSON.stringify(good)), 'a token in a token, as JSON');
  await refuse(JSON.stringify({ protected: parts.header, ...parts }), 'the flattened JSON serialization');
  await refuse(
    JSON.stringify({
      payload: parts.payload,
      signatures: [{ protected: parts.header, signature: parts.signature }],
    }),
    'the general one',
  );
  looked.length = 0;
  await refuse(`${parts.header}.${'A'.repeat(5 * 1024 * 1024)}.${parts.signature}`, '5 MB');
  await refuse('.'.repeat(5 * 1024 * 1024), '5 MB of dots');
  await refuse(await sign(header, withMember(payload, `"x":"${'x'.repeat(4_096)}"`)), 'signed, and too long');
  assert.deepEqual(looked, [], 'no key is looked for');
});

testEach('a token of another environment is refused, also under our kid', async (stage) => {
  const { alg, kid, options, refuse, tokens } = stage;
  const subject = { appId: 1 as AppId, imId: '1:bob' as ImId };
  const { privateKey } = await generateKeyPair(alg);
  const elsewhere = createTokens({
    ...options,
    keys: { ...options.keys, current: () => ({ kid, alg, privateKey }) },
  });
  await refuse((await elsewhere.issue(subject)).token, 'of other keys with our kid');
  const staging = createTokens({ ...options, issuer: 'https://staging.imid.example' });
  await refuse((await staging.issue(subject)).token, 'of our key, by another issuer');
  const others = stages.find((each) => each !== stage)!;
  await refuse(others.good, 'of another service');
  assert.ok(await tokens.verify((await tokens.issue(subject)).token));
});

testEach('the front door answers each kind with 401 and a problem document', async (stage) => {
  const { service, header, payload, parts, sign, kid } = stage;
  const kinds: Record<string, string> = {
    'alg none': `${base64url(`{"alg":"none","kid":"${kid}","typ":"imid+jwt"}`)}.${parts.payload}.`,
    'a kid that is a path': await sign(header.replace(kid, '../../dev/null'), payload),
    'an embedded jku': await sign(withMember(header, '"jku":"https://evil.example"'), payload),
    crit: await sign(withMember(header, '"crit":["b64"],"b64":false'), payload),
    'a member twice': await sign(header, withMember(payload, '"sub":"1:eve"')),
    'white space': await sign(header, `${payload} `),
    'a BOM': await sign(header, `\uFEFF${payload}`),
    'a signature of zeros': `${parts.header}.${parts.payload}.${base64url(Buffer.alloc(64))}`,
    'a short signature': `${parts.header}.${parts.payload}.${parts.signature.slice(0, -2)}`,
    'a lone surrogate': await sign(header, payload.replace('phone', '\\ud800')),
    'an endless exp': await sign(header, payload.replace(/"exp":\d+/, '"exp":1e400')),
    'a nested token': await sign(header, stage.good),
  };
  for (const [what, token] of Object.entries(kinds)) {
    const rest = await service.call('GET', '/v1/me', { key: token });
    assert.deepEqual([rest.status, rest.body.code], [401, 'unauthorized'], what);
    assert.match(rest.headers.get('content-type')!, /^application\/problem\+json/, what);
    await assert.rejects(service.connect(token), (error: any) => {
      assert.deepEqual([error.status, error.body.code], [401, 'unauthorized'], what);
      return true;
    });
  }
});
