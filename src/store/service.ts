// The service's own rows: the epoch of its sequence numbers, and the secrets it made for itself.

import type { Executor } from './database.ts';

export async function findEpoch(db: Executor): Promise<string> {
  const { epoch } = await db.selectFrom('service').select('epoch').executeTakeFirstOrThrow();
  return epoch;
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
