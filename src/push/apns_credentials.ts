// What an app needs to send by APNs: a key of its Apple team, and the bundle id that it sends to.

import { createPrivateKey, createPublicKey, hash, type KeyObject } from 'node:crypto';
import { Type, type Static } from 'typebox';

const TenCharacters = (description: string) => Type.String({ pattern: '^[A-Z0-9]{10}$', description });

export const ApnsCredentials = Type.Object(
  {
    keyId: TenCharacters('The id of the key, as in its file name `AuthKey_<keyId>.p8`.'),
    teamId: TenCharacters('The id of the Apple team that the key is of.'),
    bundleId: Type.String({
      pattern: '^[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)*$',
      maxLength: 155,
      description: 'The bundle id of the app, such as `com.customer.chat`.',
    }),
    privateKey: Type.String({
      maxLength: 2_000,
      description: 'The whole text of the `.p8` file that Apple hands out once: PKCS#8 in PEM, P-256.',
    }),
  },
  { additionalProperties: false },
);
export type ApnsCredentials = Static<typeof ApnsCredentials>;

/** What the schema can't say: whether the private key is one. */
export function faultsOfApns({ privateKey }: ApnsCredentials): { pointer: string; detail: string }[] {
  const detail = faultOfKey(privateKey);
  return detail ? [{ pointer: '/privateKey', detail }] : [];
}

function faultOfKey(pem: string): string | undefined {
  if (/-----BEGIN (CERTIFICATE|PUBLIC KEY)-----/.test(pem))
    return 'must be the private key of the .p8 file, not a certificate or a public key';
  if (!/^\s*-----BEGIN PRIVATE KEY-----\s[\s\S]+\s-----END PRIVATE KEY-----\s*$/.test(pem))
    return 'must be the whole text of the .p8 file, from BEGIN PRIVATE KEY to END PRIVATE KEY, with its line breaks';
  const key = parseKey(pem);
  if (!key) return 'must be a private key, but what is between its first and its last line is not one';
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1')
    return 'must be a key of the curve P-256, as those of Apple are';
  return undefined;
}

function parseKey(pem: string): KeyObject | undefined {
  try {
    return createPrivateKey(pem);
  } catch {
    return undefined;
  }
}

/** What two apps have in common only if both hold the private key, whatever ids they claim for it. */
export function keyFingerprint(key: KeyObject): string {
  return hash('sha256', createPublicKey(key).export({ type: 'spki', format: 'der' }), 'base64url');
}
