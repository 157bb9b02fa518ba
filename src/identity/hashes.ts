// Keyed hashes of what was given up: enough to know a name or an imId again, without keeping it.

import { createHmac, createSecretKey } from 'node:crypto';
import type { Hashes } from '../store/former_names.ts';

export function createHashes(key: Buffer): Hashes {
  const secret = createSecretKey(key);
  const hash = (text: string): Buffer => createHmac('sha256', secret).update(text).digest();
  return {
    // An appId is digits only, so the character behind it keeps the two kinds apart.
    ofName: (appId, name) => hash(`${appId}:${name}`),
    ofImId: (appId, imId) => hash(`${appId}/${imId}`),
  };
}
