// An app's credentials for APNs, with a key that nobody else has.

import { exportPKCS8, generateKeyPair } from 'jose';
import type { ApnsCredentials } from '../../src/push/apns_credentials.ts';

export async function makeCredentials(): Promise<ApnsCredentials> {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true });
  return {
    keyId: 'ABC123DEFG',
    teamId: 'DEF123GHIJ',
    bundleId: 'com.customer.chat',
    privateKey: await exportPKCS8(privateKey),
  };
}
