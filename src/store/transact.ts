// Runs a transaction, and runs it again when Postgres chose it to end a deadlock or a serialization conflict.

import type { Executor } from './database.ts';

const MAX_ROUNDS = 10;
const AGAIN = new Set(['40P01', '40001']);

/** `act` must have no effect but on the database, since it may run more than once. */
export async function transact<T>(db: Executor, act: (trx: Executor) => Promise<T>): Promise<T> {
  for (let round = 1; ; round++) {
    try {
      return await db.transaction().execute(act);
    } catch (error) {
      if (round === MAX_ROUNDS || !isToRunAgain(error)) throw error;
    }
  }
}

function isToRunAgain(error: unknown): boolean {
  return error instanceof Error && 'code' in error && AGAIN.has(String(error.code));
}
