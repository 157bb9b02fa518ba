// Keyed hashes of what was given up: enough to know a name or an imId again, without keeping it.

import { hash } from 'node:crypto';
import type { Hashes } from '../store/former_names.ts';

const BLOCK_BYTES = 64;
const DIGEST_BYTES = 32;
/** More than an appId and a name, or an imId, can have. */
const TEXT_MAX_BYTES = 256;

export function createHashes(key: Buffer): Hashes {
  const hmac = createHmac(key);
  return {
    // An appId is digits only, so the character behind it keeps the two kinds apart.
    ofName: (appId, name) => hmac(`${appId}:${name}`),
    ofImId: (appId, imId) => hmac(`${appId}/${imId}`),
  };
}

/**
 * HMAC-SHA-256 (RFC 2104) under a key of at most a block, for short texts. Names come by the hundred thousand, and without
 * an object of OpenSSL for each it takes a third of the time.
 */
function createHmac(key: Buffer): (text: string) => Buffer {
  const inner = Buffer.alloc(BLOCK_BYTES + TEXT_MAX_BYTES, 0x36);
  const outer = Buffer.alloc(BLOCK_BYTES + DIGEST_BYTES, 0x5c);
  for (let i = 0; i < BLOCK_BYTES; i++) {
    inner[i]! ^= key[i] ?? 0;
    outer[i]! ^= key[i] ?? 0;
  }
  return (text) => {
    if (Buffer.byteLength(text) > TEXT_MAX_BYTES) throw new Error('too long to be an id');
    const end = BLOCK_BYTES + inner.write(text, BLOCK_BYTES);
    outer.write(hash('sha256', inner.subarray(0, end), 'latin1'), BLOCK_BYTES, 'latin1');
    return Buffer.from(hash('sha256', outer, 'latin1'), 'latin1');
  };
}
