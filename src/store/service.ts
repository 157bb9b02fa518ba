// The service's own rows: the epoch of its sequence numbers, and the secrets it made for itself.

import { sql } from 'kysely';
import { forgetProcesses } from './connections.ts';
import type { Executor } from './database.ts';
import { transact } from './transact.ts';

/**
 * Makes this another run of sequence numbers, in which nothing counts that processes have written down of themselves. Gives
 * back its epoch, and how many processes were there.
 */
export function beginEpoch(db: Executor): Promise<{ epoch: string; processes: number }> {
  return transact(db, async (trx) => {
    const processes = await forgetProcesses(trx);
    const { epoch } = await trx
      .updateTable('service')
      .set({ epoch: sql`gen_random_uuid()` })
      .returning('epoch')
      .executeTakeFirstOrThrow();
    return { epoch, processes };
  });
}

/** Keeps the first secret that is offered for a purpose, under any race, and gives back the one that is kept. */
export async function keepSealedSecret(db: Executor, purpose: string, offer: string): Promise<string> {
  await db
    .insertInto('sealed_secret')
    .values({ purpose, sealed: offer })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  const kept = await findSealedSecret(db, purpose);
  return kept!;
}

export async function findSealedSecret(db: Executor, purpose: string): Promise<string | undefined> {
  const row = await db
    .selectFrom('sealed_secret')
    .select('sealed')
    .where('purpose', '=', purpose)
    .executeTakeFirst();
  return row?.sealed;
}
