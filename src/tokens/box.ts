// Seals secrets at rest: a compact JWE, `dir` with A256GCM (RFC 7516, RFC 7518 section 5.3), under a key derived
// from the service's secret. Opens what was sealed under the secret before as well; nothing that was sealed for another
// purpose.

import { hkdfSync } from 'node:crypto';
import { CompactEncrypt, compactDecrypt } from 'jose';

export interface Box {
  seal(purpose: string, secret: Uint8Array): Promise<string>;
  /** Throws an Error that says what to do when it was sealed under none of the service's secrets. */
  open(purpose: string, sealed: string): Promise<Buffer>;
  /** Seals under the secret of now what may be sealed under the former one, for the same purpose. */
  reseal(sealed: string): Promise<string>;
}

/** `otherSecret`: what some may still be sealed under, until the secret is rotated in full. */
export function createBox(secret: string, otherSecret?: string): Box {
  const key = deriveKey(secret);
  const keys = otherSecret === undefined ? [key] : [key, deriveKey(otherSecret)];

  async function openAny(sealed: string) {
    let failure: unknown;
    for (const each of keys)
      try {
        return await compactDecrypt(sealed, each, {
          keyManagementAlgorithms: ['dir'],
          contentEncryptionAlgorithms: ['A256GCM'],
        });
      } catch (error) {
        failure = error;
      }
    throw new Error(
      'What is sealed in the database does not open: IMID_SECRET is not the one it was sealed under.',
      { cause: failure },
    );
  }

  const seal: Box['seal'] = (purpose, plaintext) =>
    new CompactEncrypt(plaintext)
      .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', sub: purpose })
      .encrypt(key);

  return {
    seal,
    async reseal(sealed) {
      const { protectedHeader, plaintext } = await openAny(sealed);
      return seal(String(protectedHeader['sub']), plaintext);
    },
    async open(purpose, sealed) {
      const opened = await openAny(sealed);
      if (opened.protectedHeader['sub'] !== purpose)
        throw new Error(`What was opened is not sealed for ${purpose}.`);
      return Buffer.from(opened.plaintext);
    },
  };
}

function deriveKey(secret: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, '', 'imid secrets at rest', 32));
}
