// The signing keys: one current that signs, all of them verify. Private halves are sealed in Postgres.
// A kid that isn't known makes it look again, since another process may have made the key.

import {
  calculateJwkThumbprint,
  exportJWK,
  generateKeyPair,
  importJWK,
  type CryptoKey,
  type JWK,
} from 'jose';
import type { Database } from '../store/database.ts';
import { findSigningKeys, insertFirstSigningKey } from '../store/signing_keys.ts';
import type { Box } from './box.ts';

export interface SigningKey {
  kid: string;
  alg: string;
  publicJwk: JWK;
  publicKey: CryptoKey;
}

export interface Keys {
  /** The key that signs. */
  current(): SigningKey & { privateKey: CryptoKey };
  /** The service's own key of this kid; undefined when it has none. */
  find(kid: string): Promise<SigningKey | undefined>;
  /** Public halves, as RFC 7517 section 5 says. */
  jwks(): { keys: JWK[] };
}

const ALG = 'ES256';
const PURPOSE = 'signing-key';
/** How often an unknown kid may cost a look at the database. */
const RELOAD_MS = 1_000;

export async function createKeys({ kysely }: Database, box: Box): Promise<Keys> {
  let byKid = new Map<string, SigningKey>();
  let signing: (SigningKey & { privateKey: CryptoKey }) | undefined;
  let loadedAt = 0;

  async function load(): Promise<void> {
    loadedAt = performance.now();
    const loaded = new Map<string, SigningKey>();
    for (const row of await findSigningKeys(kysely)) {
      const publicJwk = row.public_jwk as JWK;
      const key = { kid: row.kid, alg: row.alg, publicJwk, publicKey: await importKey(publicJwk, row.alg) };
      loaded.set(row.kid, key);
      if (row.state === 'current' && signing?.kid !== row.kid) {
        const privateJwk: JWK = JSON.parse((await box.open(PURPOSE, row.sealed_private_jwk)).toString());
        signing = { ...key, privateKey: await importKey(privateJwk, row.alg) };
      }
    }
    byKid = loaded;
  }

  await load();
  if (!signing) {
    await insertFirstSigningKey(kysely, await makeKey(box));
    await load();
  }
  if (!signing) throw new Error('There is no current signing key.');

  return {
    current: () => signing!,
    async find(kid) {
      if (!byKid.has(kid) && performance.now() - loadedAt > RELOAD_MS) await load();
      return byKid.get(kid);
    },
    jwks: () => ({ keys: [...byKid.values()].map((key) => key.publicJwk) }),
  };
}

async function makeKey(box: Box) {
  const { publicKey, privateKey } = await generateKeyPair(ALG, { extractable: true });
  const publicJwk = await exportJWK(publicKey);
  const kid = await calculateJwkThumbprint(publicJwk);
  const privateJwk = Buffer.from(JSON.stringify(await exportJWK(privateKey)));
  return {
    kid,
    alg: ALG,
    publicJwk: { ...publicJwk, kid, alg: ALG, use: 'sig' },
    sealedPrivateJwk: await box.seal(PURPOSE, privateJwk),
  };
}

async function importKey(jwk: JWK, alg: string): Promise<CryptoKey> {
  const key = await importJWK(jwk, alg);
  if (key instanceof Uint8Array) throw new Error('A signing key must be asymmetric.');
  return key;
}
