// Signatures are those of the RFCs, others can verify ours, and no bit of a token can be another one.

import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { before, test } from 'node:test';
import fc from 'fast-check';
import { calculateJwkThumbprint, compactVerify } from 'jose';
import { isName, type AppId, type ImId } from '../src/ids.ts';
import { readSigningKey, type SigningAlg } from '../src/tokens/signing.ts';
import { openStage, type Stage } from './token_stage.ts';

const stages: Stage[] = [];
before(async () => {
  for (const alg of ['ES256', 'EdDSA'] as const) stages.push(await openStage(alg));
});

interface KnownAnswer {
  alg: SigningAlg;
  jwk: Record<string, string>;
  token: string;
  says: string;
}

const knownAnswers: Record<string, KnownAnswer> = {
  'RFC 7515 A.3': {
    alg: 'ES256',
    jwk: {
      kty: 'EC',
      crv: 'P-256',
      x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
      y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
    },
    token:
      'eyJhbGciOiJFUzI1NiJ9.' +
      'eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.' +
      'DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q',
    says: '{"iss":"joe",\r\n "exp":1300819380,\r\n "http://example.com/is_root":true}',
  },
  'RFC 8037 A.4': {
    alg: 'EdDSA',
    jwk: { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' },
    token:
      'eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.' +
      'hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg',
    says: 'Example of Ed25519 signing',
  },
};

for (const [source, { alg, jwk, token, says }] of Object.entries(knownAnswers))
  test(`the signature of ${source} is good under its key, and under no other`, async () => {
    const row = { kid: 'known', alg, state: 'next', public_jwk: jwk } as any;
    const { publicKey } = await readSigningKey(row);
    const { payload } = await compactVerify(token, publicKey, { algorithms: [alg] });
    assert.equal(Buffer.from(payload).toString(), says);
    for (const stage of stages) {
      const own = await stage.options.keys.find(stage.kid);
      await assert.rejects(compactVerify(token, own!.publicKey, { algorithms: [alg] }));
    }
  });

test('a kid is the thumbprint of RFC 7638, as in RFC 8037 A.3', async () => {
  const { jwk } = knownAnswers['RFC 8037 A.4']!;
  assert.equal(await calculateJwkThumbprint(jwk), 'kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k');
  for (const { options, kid } of stages)
    assert.equal(await calculateJwkThumbprint((await options.keys.find(kid))!.publicJwk), kid);
});

test('another implementation verifies our tokens with the published keys', async () => {
  for (const { service, good, kid, alg } of stages) {
    const { body } = await service.call('GET', '/.well-known/jwks.json', { key: '' });
    const jwk = body.keys.find((key: { kid: string }) => key.kid === kid);
    const key = createPublicKey({ key: jwk, format: 'jwk' });
    const dot = good.lastIndexOf('.');
    const signature = Buffer.from(good.slice(dot + 1), 'base64url');
    const hash = alg === 'ES256' ? 'sha256' : null;
    const isGood = (signed: string): boolean =>
      verify(hash, Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' }, signature);
    assert.ok(isGood(good.slice(0, dot)), alg);
    assert.ok(!isGood(good.slice(1, dot)), alg);
    assert.equal(signature.length, 64);
  }
});

test('no bit of a token can be flipped', async () => {
  for (const { good, refuse } of stages) {
    const bytes = Buffer.from(good, 'latin1');
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const other = Buffer.from(bytes);
      other[bit >> 3]! ^= 1 << (bit & 7);
      await refuse(other.toString('latin1'), `bit ${bit}`);
    }
  }
});

test('no token is good when it is cut off, at whichever length, or goes on', async () => {
  for (const { good, refuse } of stages) {
    for (let length = 0; length < good.length; length += 1) {
      await refuse(good.slice(0, length), `${length} characters`);
      await refuse(good.slice(good.length - length), `the last ${length} characters`);
    }
    for (const more of ['A', '=', '.', ' ', '\n', '\0', '.A', 'AAAA']) {
      await refuse(good + more, JSON.stringify(more));
      await refuse(more + good, JSON.stringify(more));
    }
  }
});

const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }).filter(isName);

test('whatever is issued verifies, and says the same', async () => {
  const claims = fc.record({
    appId: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    uid: name,
    deviceId: fc.option(name, { nil: undefined }),
    ttlSeconds: fc.integer({ min: 60, max: 30 * 24 * 3_600 }),
  });
  for (const { tokens, kid } of stages)
    await fc.assert(
      fc.asyncProperty(claims, async ({ appId, uid, deviceId, ttlSeconds }) => {
        const imId = `${appId}:${uid}` as ImId;
        const issued = await tokens.issue({ appId: appId as AppId, imId, deviceId, ttlSeconds });
        const said = await tokens.verify(issued.token);
        assert.deepEqual(
          [said.appId, said.sub, said.scheme, said.deviceId, said.kid, said.expiresAt],
          [appId, imId, 'composed', deviceId, kid, issued.expiresAt],
        );
      }),
      { numRuns: 150 },
    );
});

test('another JSON than ours is refused, though our own key has signed it and it says the same', async () => {
  const changes: ((text: string, at: number, seed: number) => string)[] = [
    (text, at, seed) => insertAtToken(text, at, [' ', '\n', '\t', '\r'][seed % 4]!),
    (text, at) => repeatMember(text, at, 'first'),
    (text, at) => repeatMember(text, at, 'last'),
    (text, at) => escapeOne(text, at),
    (text, at) => rotateMembers(text, at),
    (text, at, seed) => addMember(text, at, ['x', '__proto__', 'constructor', 'nbf', 'text'][seed % 5]!),
  ];
  const change = fc.tuple(fc.constantFrom(...changes), fc.nat(10_000), fc.nat(100), fc.boolean());
  for (const { header, payload, sign, refuse } of stages)
    await fc.assert(
      fc.asyncProperty(change, async ([apply, at, seed, inHeader]) => {
        const changed = apply(inHeader ? header : payload, at, seed);
        assert.notEqual(changed, inHeader ? header : payload);
        const token = inHeader ? await sign(changed, payload) : await sign(header, changed);
        await refuse(token, changed);
      }),
      { numRuns: 300 },
    );
});

const membersOf = (text: string): string[] =>
  Object.entries(JSON.parse(text)).map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);

/** White space before or after one of the structural characters, or at either end. */
function insertAtToken(text: string, at: number, space: string): string {
  const members = membersOf(text);
  const gaps = [`${space}${text}`, `${text}${space}`, `{${members.join(`,${space}`)}}`];
  return gaps[at % gaps.length]!;
}

function repeatMember(text: string, at: number, where: 'first' | 'last'): string {
  const members = membersOf(text);
  const again = members[at % members.length]!;
  return `{${(where === 'first' ? [again, ...members] : [...members, again]).join(',')}}`;
}

function addMember(text: string, at: number, member: string): string {
  const members = membersOf(text);
  return `{${members.toSpliced(at % (members.length + 1), 0, `"${member}":1`).join(',')}}`;
}

function rotateMembers(text: string, at: number): string {
  const members = membersOf(text);
  const by = 1 + (at % (members.length - 1));
  return `{${[...members.slice(by), ...members.slice(0, by)].join(',')}}`;
}

/** Writes one letter as the escape that stands for it. */
function escapeOne(text: string, at: number): string {
  const letters = [...text.matchAll(/[a-z]/g)].map((match) => match.index);
  const place = letters[at % letters.length]!;
  return `${text.slice(0, place)}\\u00${text.charCodeAt(place).toString(16)}${text.slice(place + 1)}`;
}
