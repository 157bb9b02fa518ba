// The algorithms that tokens may be signed with, and keys of them.

import {
  calculateJwkThumbprint,
  exportJWK,
  generateKeyPair,
  importJWK,
  type CryptoKey,
  type JWK,
} from 'jose';
import type { NewSigningKey, SigningKeyRow } from '../store/signing_keys.ts';
import type { Box } from './box.ts';

/** RFC 7518 section 3.4; RFC 8037 section 3.1, with Ed25519. */
export const signingAlgs = ['ES256', 'EdDSA'] as const;
export type SigningAlg = (typeof signingAlgs)[number];

export interface SigningKey {
  kid: string;
  alg: string;
  publicJwk: JWK;
  publicKey: CryptoKey;
}

export interface Signer {
  kid: string;
  alg: string;
  privateKey: CryptoKey;
}

const PURPOSE = 'signing-key';

/** A new key pair; its kid is the thumbprint of RFC 7638. */
export async function makeSigningKey(alg: SigningAlg, box: Box): Promise<NewSigningKey> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  const publicJwk = await exportJWK(publicKey);
  const kid = await calculateJwkThumbprint(publicJwk);
  const privateJwk = Buffer.from(JSON.stringify(await exportJWK(privateKey)));
  return {
    kid,
    alg,
    publicJwk: { ...publicJwk, kid, alg, use: 'sig' },
    sealedPrivateJwk: await box.seal(PURPOSE, privateJwk),
  };
}

export async function readSigningKey(row: SigningKeyRow): Promise<SigningKey> {
  const publicJwk = row.public_jwk as JWK;
  return {
    kid: row.kid,
    alg: row.alg,
    publicJwk,
    publicKey: await importKey(publicJwk, row.alg),
  };
}

/** Throws when the service's secret isn't the one that the key was sealed under. */
export async function openSigner(row: SigningKeyRow, box: Box): Promise<Signer> {
  const privateJwk: JWK = JSON.parse((await box.open(PURPOSE, row.sealed_private_jwk!)).toString());
  return { kid: row.kid, alg: row.alg, privateKey: await importKey(privateJwk, row.alg) };
}

async function importKey(jwk: JWK, alg: string): Promise<CryptoKey> {
  const key = await importJWK(jwk, alg);
  if (key instanceof Uint8Array) throw new Error('A signing key must be asymmetric.');
  return key;
}
