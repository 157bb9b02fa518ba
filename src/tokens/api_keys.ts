// API keys of backends: `imk_<keyId>_<secret>`. Only a hash is kept; the key itself is shown once.
// A key deleted on another process is refused here within a second, and sooner when that tells of it; one that has expired
// is refused everywhere at once.

import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import { ImidError } from '../errors.ts';
import type { AppId } from '../ids.ts';
import {
  deleteApiKey,
  findApiKey,
  findApiKeys,
  insertApiKey,
  markUsed,
  type ApiKey,
} from '../store/api_keys.ts';
import { addToApp } from '../store/apps.ts';
import type { Database } from '../store/database.ts';
import { createFresh } from '../store/fresh.ts';
import { noteLastUses } from './last_uses.ts';

export type { ApiKey } from '../store/api_keys.ts';

export const scopes = ['identities', 'tokens', 'messages', 'read'] as const;
export type Scope = (typeof scopes)[number];

const KEY = /^imk_([0-9a-f]{16})_([\w-]{43})$/;
const MAX_AGE_MS = 1_000;

export type ApiKeys = ReturnType<typeof createApiKeys>;

export interface ApiKeysOptions {
  database: Database;
  maxPerApp: number;
  /** Told of the keys that this process has revoked. */
  onRevoke: (keyId: string) => void;
  log: (message: string, error?: unknown) => void;
}

export function createApiKeys({ database: { kysely, clock }, maxPerApp, onRevoke, log }: ApiKeysOptions) {
  const fresh = createFresh(MAX_AGE_MS, (keyId: string) => findApiKey(kysely, keyId));
  const lastUses = noteLastUses((uses) => markUsed(kysely, uses), clock, log);

  return {
    uses: fresh.uses,

    /** Throws `invalid_request`, `not_found`, `conflict`. */
    async create(
      appId: AppId,
      key: { name: string; scopes: readonly Scope[]; expiresAt?: Date | undefined },
    ): Promise<ApiKey & { apiKey: string }> {
      if (key.expiresAt && key.expiresAt <= clock.now())
        throw new ImidError('invalid_request', 'expiresAt must be in the future.', {
          errors: [{ in: 'body', pointer: '#/expiresAt', detail: 'must be in the future' }],
        });
      const id = randomBytes(8).toString('hex');
      const secret = randomBytes(32).toString('base64url');
      const { name, scopes: given, expiresAt } = key;
      const secretHash = hashSecret(secret);
      const row = await addToApp(kysely, appId, { table: 'api_key', max: maxPerApp }, (trx) =>
        insertApiKey(trx, { id, appId, name, scopes: given, expiresAt, secretHash }),
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

    /** The key, if it is one of ours in full. Throws `unauthorized` once it has expired. */
    async verify(text: string): Promise<ApiKey | undefined> {
      const [, keyId, secret] = KEY.exec(text) ?? [];
      if (keyId === undefined || secret === undefined) return undefined;
      const key = await fresh.get(keyId);
      if (!key || !timingSafeEqual(key.secretHash, hashSecret(secret))) return undefined;
      if (key.expiresAt && key.expiresAt <= clock.now())
        throw new ImidError('unauthorized', `This key has expired at ${key.expiresAt.toISOString()}.`);
      lastUses.note(keyId);
      return key;
    },

    /** Resolves when nothing is being written any more. */
    stop: (): Promise<void> => lastUses.stop(),
  };
}

export function hashSecret(secret: string): Buffer {
  return hash('sha256', secret, 'buffer');
}
