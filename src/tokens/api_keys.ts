// API keys of backends: `imk_<keyId>_<secret>`. Only a hash is kept; the key itself is shown once.
// A key deleted on another process is refused here within a second, and sooner when that tells of it.

import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import { ImidError } from '../errors.ts';
import type { AppId } from '../ids.ts';
import { deleteApiKey, findApiKey, findApiKeys, insertApiKey, type ApiKey } from '../store/apps.ts';
import { isDanglingReference } from '../store/constraints.ts';
import type { Database } from '../store/database.ts';
import { createFresh } from '../store/fresh.ts';

export type { ApiKey } from '../store/apps.ts';

export const scopes = ['identities', 'tokens', 'messages', 'read'] as const;
export type Scope = (typeof scopes)[number];

const KEY = /^imk_([0-9a-f]{16})_([\w-]{43})$/;
const MAX_AGE_MS = 1_000;

export type ApiKeys = ReturnType<typeof createApiKeys>;

export interface ApiKeysOptions {
  database: Database;
  /** Told of the keys that this process has revoked. */
  onRevoke: (keyId: string) => void;
}

export function createApiKeys({ database: { kysely }, onRevoke }: ApiKeysOptions) {
  const fresh = createFresh(MAX_AGE_MS, (keyId: string) => findApiKey(kysely, keyId));

  return {
    uses: fresh.uses,

    async create(
      appId: AppId,
      key: { name: string; scopes: readonly Scope[] },
    ): Promise<ApiKey & { apiKey: string }> {
      const id = randomBytes(8).toString('hex');
      const secret = randomBytes(32).toString('base64url');
      const row = await insertApiKey(kysely, { id, appId, ...key, secretHash: hashSecret(secret) }).catch(
        (error: unknown) => {
          if (isDanglingReference(error)) throw new ImidError('not_found', 'There is no such app.');
          throw error;
        },
      );
      return { ...row, apiKey: `imk_${id}_${secret}` };
    },

    list: (appId: AppId, afterId: string, limit: number): Promise<ApiKey[]> =>
      findApiKeys(kysely, appId, afterId, limit),

    /** Throws `not_found`. */
    async remove(appId: AppId, keyId: string): Promise<void> {
      const found = await deleteApiKey(kysely, appId, keyId);
      fresh.forget(keyId);
      onRevoke(keyId);
      if (!found) throw new ImidError('not_found', 'There is no such key.');
    },

    /** To be called when another process has revoked a key. */
    hear: (keyId: string): void => fresh.forget(keyId),

    /** The key, if it is one of ours in full. */
    async verify(text: string): Promise<ApiKey | undefined> {
      const [, keyId, secret] = KEY.exec(text) ?? [];
      if (keyId === undefined || secret === undefined) return undefined;
      const key = await fresh.get(keyId);
      return key && timingSafeEqual(key.secretHash, hashSecret(secret)) ? key : undefined;
    },
  };
}

export function hashSecret(secret: string): Buffer {
  return hash('sha256', secret, 'buffer');
}
