// Seals secrets at rest: a compact JWE, `dir` with A256GCM (RFC 7516, RFC 7518 section 5.3), under a key derived
// from the service's secret. Opens nothing that was sealed for another purpose.

import { hkdfSync } from 'node:crypto';
import { CompactEncrypt, compactDecrypt } from 'jose';

export interface Box {
  seal(purpose: string, secret: Uint8Array): Promise<string>;
  /** Throws an Error that says what to do when the service's secret is not the one it was sealed under. */
  open(purpose: string, sealed: string): Promise<Buffer>;
}

export function createBox(secret: string): Box {
  const key = new Uint8Array(hkdfSync('sha256', secret, '', 'imid secrets at rest', 32));
  return {
    seal: (purpose, plaintext) =>
      new CompactEncrypt(plaintext)
        .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', sub: purpose })
        .encrypt(key),
    async open(purpose, sealed) {
      const opened = await compactDecrypt(sealed, key, {
        keyManagementAlgorithms: ['dir'],
        contentEncryptionAlgorithms: ['A256GCM'],
      }).catch((cause: unknown) => {
        throw new Error(
          'What is sealed in the database does not open: IMID_SECRET is not the one it was sealed under.',
          {
            cause,
          },
        );
      });
      if (opened.protectedHeader['sub'] !== purpose)
        throw new Error(`What was opened is not sealed for ${purpose}.`);
      return Buffer.from(opened.plaintext);
    },
  };
}
