// The signing keys of tokens; private halves are sealed before they come here.

import type { Selectable } from 'kysely';
import type { Executor } from './database.ts';
import type { Tables } from './tables.ts';

export type SigningKeyRow = Selectable<Tables['signing_key']>;

export async function findSigningKeys(db: Executor): Promise<SigningKeyRow[]> {
  return db.selectFrom('signing_key').selectAll().orderBy('created_at').execute();
}

/** Stores a first current key unless there is one already, also when two processes try at once. */
export async function insertFirstSigningKey(
  db: Executor,
  key: { kid: string; alg: string; publicJwk: unknown; sealedPrivateJwk: string },
): Promise<void> {
  await db
    .insertInto('signing_key')
    .values({
      kid: key.kid,
      alg: key.alg,
      state: 'current',
      public_jwk: JSON.stringify(key.publicJwk),
      sealed_private_jwk: key.sealedPrivateJwk,
      retired_at: null,
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}
