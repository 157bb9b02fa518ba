// The keyed hashes of names and imIds are HMAC-SHA-256, whatever they are of.

import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { createHashes } from '../src/identity/hashes.ts';
import type { RegisteredId } from '../src/ids.ts';
import { anyAppId, legalName } from './names.ts';

test('a hash is the HMAC of the app and the name, or of the app and the imId', () => {
  const key = randomBytes(32);
  const hashes = createHashes(key);
  const hmac = (text: string): Buffer => createHmac('sha256', key).update(text).digest();
  const imId = 'im_01jcn3x5t8e4v9k2m6q7r8s9t0' as RegisteredId;
  fc.assert(
    fc.property(anyAppId, legalName, (appId, name) => {
      assert.deepEqual(hashes.ofName(appId, name), hmac(`${appId}:${name}`));
      assert.deepEqual(hashes.ofImId(appId, imId), hmac(`${appId}/${imId}`));
    }),
  );
});
