// The signing keys of tokens; private halves are sealed before they come here.
// Invariant: one key is current. Whoever changes keys holds the row of the service, and counts the change.

import { sql, type Selectable } from 'kysely';
import { insertAuditEvents } from './audit.ts';
import type { Executor } from './database.ts';
import type { Tables } from './tables.ts';
import { transact } from './transact.ts';

export type SigningKeyRow = Selectable<Tables['signing_key']>;

export interface NewSigningKey {
  kid: string;
  alg: string;
  publicJwk: unknown;
  sealedPrivateJwk: string;
}

/** In the order in which they were made. */
export function findSigningKeys(db: Executor): Promise<SigningKeyRow[]> {
  return db.selectFrom('signing_key').selectAll().orderBy('created_at').orderBy('kid').execute();
}

/** What is done to the keys while nobody else does anything to them. */
export interface KeyChange {
  readonly now: Date;
  readonly keys: SigningKeyRow[];
  insert(key: NewSigningKey, state: 'next' | 'current'): Promise<void>;
  /** A key that stands by signs from now on; the one that did is to be retired, or deleted, first. */
  promote(kid: string): Promise<void>;
  /** The key signs no more: its private half goes. */
  retire(kid: string): Promise<void>;
  delete(kids: readonly string[]): Promise<void>;
  /** Writes down what is done to a key. */
  note(actor: string, action: string, kid: string): Promise<void>;
}

/** Changes the keys, one process after the other. */
export function changeSigningKeys<T>(db: Executor, act: (change: KeyChange) => Promise<T>): Promise<T> {
  return transact(db, async (trx) => {
    let isChanged = false;
    const { now } = await trx
      .selectFrom('service')
      .select(sql<Date>`clock_timestamp()`.as('now'))
      .forUpdate()
      .executeTakeFirstOrThrow();
    const set = async (kid: string, columns: Partial<SigningKeyRow>): Promise<void> => {
      isChanged = true;
      await trx.updateTable('signing_key').set(columns).where('kid', '=', kid).execute();
    };
    const done = await act({
      now,
      keys: await findSigningKeys(trx),
      async insert(key, state) {
        isChanged = true;
        const { kid, alg, sealedPrivateJwk } = key;
        const publicJwk = JSON.stringify(key.publicJwk);
        await trx
          .insertInto('signing_key')
          .values({
            kid,
            alg,
            state,
            public_jwk: publicJwk,
            sealed_private_jwk: sealedPrivateJwk,
            retired_at: null,
            created_at: now,
            current_since: state === 'current' ? now : null,
          })
          .execute();
      },
      promote: (kid) => set(kid, { state: 'current', current_since: now }),
      retire: (kid) => set(kid, { state: 'retired', retired_at: now, sealed_private_jwk: null }),
      async delete(kids) {
        if (kids.length === 0) return;
        isChanged = true;
        await trx.deleteFrom('signing_key').where('kid', 'in', kids).execute();
      },
      note: (actor, action, kid) => insertAuditEvents(trx, [{ actor, action, target: kid }]),
    });
    if (isChanged)
      await trx
        .updateTable('service')
        .set({ keys_version: sql`keys_version + 1` })
        .execute();
    return done;
  });
}
