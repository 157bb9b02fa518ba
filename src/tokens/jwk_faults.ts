// What is wrong with a public key as a JWK (RFC 7517): none that is weak, secret, or meant for something else is taken.

import { createPublicKey } from 'node:crypto';

/** Which member is bad and why. */
export interface JwkFault {
  member: string;
  detail: string;
}

type Jwk = Record<string, unknown>;

const RSA_ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'];
const CURVES: Record<string, { kty: string; bytes: number; algorithms: string[] }> = {
  'P-256': { kty: 'EC', bytes: 32, algorithms: ['ES256'] },
  'P-384': { kty: 'EC', bytes: 48, algorithms: ['ES384'] },
  'P-521': { kty: 'EC', bytes: 66, algorithms: ['ES512'] },
  Ed25519: { kty: 'OKP', bytes: 32, algorithms: ['EdDSA', 'Ed25519'] },
};
/** The algorithms that an issuer may sign with: asymmetric ones. */
export const algorithms = ['ES256', 'ES384', 'ES512', ...RSA_ALGORITHMS, 'EdDSA', 'Ed25519'];

const SECRET_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv'];
const KID_MAX_LENGTH = 256;
const RSA_MIN_BITS = 2_048;
/** A larger one takes too long to verify with. */
const RSA_MAX_BITS = 8_192;
const E_MIN = 65_537n;
const E_MAX_BYTES = 4;
/** Ed25519 points of small order, in which anybody can sign: the sign bit cleared. */
const SMALL_ORDER = new Set([
  '00'.repeat(32),
  `01${'00'.repeat(31)}`,
  `ec${'ff'.repeat(30)}7f`,
  `ed${'ff'.repeat(30)}7f`,
  `ee${'ff'.repeat(30)}7f`,
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
]);
// Odd primes up to 167, as far as the fingerprint of CVE-2017-15361 (ROCA) goes.
const PRIMES = Array.from({ length: 83 }, (_, i) => 2 * i + 3).filter((n) => {
  for (let i = 3; i < n; i += 2) if (n % i === 0) return false;
  return true;
});

/** Undefined for a key that can be used. */
export function faultOfJwk(jwk: unknown): JwkFault | undefined {
  if (typeof jwk !== 'object' || jwk === null || Array.isArray(jwk))
    return { member: '', detail: 'must be an object' };
  const key = jwk as Jwk;
  const { kty, use, key_ops: operations, alg, kid } = key;
  if (kty !== 'RSA' && kty !== 'EC' && kty !== 'OKP')
    return { member: 'kty', detail: 'must be RSA, EC or OKP' };
  for (const member of SECRET_MEMBERS)
    if (member in key)
      return { member, detail: 'is of a private key, which belongs to nobody but the issuer' };
  if (use !== undefined && use !== 'sig') return { member: 'use', detail: 'must be sig' };
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify')))
    return { member: 'key_ops', detail: 'must hold verify' };
  if (kid !== undefined && !isKid(kid))
    return {
      member: 'kid',
      detail: `must be text of 1 to ${KID_MAX_LENGTH} characters, none of them control characters`,
    };
  const fitting = kty === 'RSA' ? RSA_ALGORITHMS : CURVES[String(key['crv'])]?.algorithms;
  if (alg !== undefined && fitting && !fitting.some((each) => each === alg))
    return { member: 'alg', detail: `must be ${fitting.join(' or ')} for this key` };
  return (kty === 'RSA' ? faultOfRsa(key) : faultOfCurve(key, kty)) ?? faultOfImport(key);
}

function isKid(kid: unknown): boolean {
  return (
    typeof kid === 'string' && kid !== '' && kid.length <= KID_MAX_LENGTH && !/[\p{Cc}\p{Cs}]/u.test(kid)
  );
}

function faultOfRsa(key: Jwk): JwkFault | undefined {
  const modulus = readBytes(key['n']);
  if (!modulus || modulus[0] === 0)
    return { member: 'n', detail: 'must be a number in base64url, without zeros in front' };
  const n = toNumber(modulus);
  const bits = modulus.length * 8 - (Math.clz32(modulus[0]!) - 24);
  if (bits < RSA_MIN_BITS || bits > RSA_MAX_BITS)
    return { member: 'n', detail: `must have ${RSA_MIN_BITS} to ${RSA_MAX_BITS} bits, and has ${bits}` };
  if (n % 2n === 0n || PRIMES.some((prime) => n % BigInt(prime) === 0n))
    return { member: 'n', detail: 'is the product of a small prime' };
  if (PRIMES.every((prime) => isPowerOf65537(Number(n % BigInt(prime)), prime)))
    return { member: 'n', detail: 'is of a key that can be broken: CVE-2017-15361 (ROCA)' };
  const exponent = readBytes(key['e']);
  if (!exponent || exponent[0] === 0)
    return { member: 'e', detail: 'must be a number in base64url, without zeros in front' };
  if (exponent.length > E_MAX_BYTES || toNumber(exponent) < E_MIN || toNumber(exponent) % 2n === 0n)
    return { member: 'e', detail: `must be odd, from ${E_MIN} to 2^${E_MAX_BYTES * 8}` };
  return undefined;
}

function isPowerOf65537(residue: number, prime: number): boolean {
  let power = 1;
  do {
    if (power === residue) return true;
    power = (power * 65_537) % prime;
  } while (power !== 1);
  return false;
}

function faultOfCurve(key: Jwk, kty: string): JwkFault | undefined {
  const curve = Object.hasOwn(CURVES, String(key['crv'])) ? CURVES[String(key['crv'])] : undefined;
  if (curve?.kty !== kty) {
    const known = Object.keys(CURVES).filter((name) => CURVES[name]!.kty === kty);
    return { member: 'crv', detail: `must be ${known.join(', ')}` };
  }
  for (const member of kty === 'EC' ? ['x', 'y'] : ['x'])
    if (readBytes(key[member])?.length !== curve.bytes)
      return { member, detail: `must be ${curve.bytes} bytes in base64url` };
  if (kty === 'EC') return undefined;
  const point = readBytes(key['x'])!;
  point[31]! &= 0x7f;
  return SMALL_ORDER.has(point.toString('hex'))
    ? { member: 'x', detail: 'is a point of small order' }
    : undefined;
}

/** A point that isn't on its curve is found out here. */
function faultOfImport(key: Jwk): JwkFault | undefined {
  try {
    createPublicKey({ key: pickPublic(key), format: 'jwk' });
    return undefined;
  } catch {
    return { member: '', detail: 'is not a public key' };
  }
}

/** What of a key is needed to verify with it. */
export function pickPublic(key: Jwk): Record<string, string> {
  const members = ['kty', 'kid', 'alg', 'n', 'e', 'crv', 'x', 'y'].filter(
    (member) => key[member] !== undefined,
  );
  return Object.fromEntries(members.map((member) => [member, String(key[member])]));
}

function readBytes(value: unknown): Buffer | undefined {
  if (typeof value !== 'string' || value === '') return undefined;
  const bytes = Buffer.from(value, 'base64url');
  return bytes.toString('base64url') === value ? bytes : undefined;
}

function toNumber(bytes: Buffer): bigint {
  return BigInt(`0x${bytes.toString('hex')}`);
}
