// An app's account at APNs, with a key that nobody else has.

import { exportJWK, exportPKCS8, generateKeyPair, type JWK } from 'jose';
import type { ApnsCredentials } from '../../src/push/apns_credentials.ts';

/** What APNs knows of it. */
export interface Account extends Omit<ApnsCredentials, 'privateKey'> {
  publicKey: JWK;
}

export async function makeAccount(): Promise<{ account: Account; credentials: ApnsCredentials }> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
  const names = { keyId: 'ABC123DEFG', teamId: 'DEF123GHIJ', bundleId: 'com.customer.chat' };
  return {
    account: { ...names, publicKey: await exportJWK(publicKey) },
    credentials: { ...names, privateKey: await exportPKCS8(privateKey) },
  };
}
