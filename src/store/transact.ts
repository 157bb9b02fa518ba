// Runs what Postgres broke off to end a deadlock, or because a row it refers to went away under it, again.

import { isDanglingReference } from './constraints.ts';
import type { Executor } from './database.ts';

const MAX_ROUNDS = 10;
const AGAIN = new Set(['40P01', '40001']);

/** `act` must have no effect but on the database, since it may run more than once. */
export async function rerun<T>(act: () => Promise<T>): Promise<T> {
  for (let round = 1; ; round++) {
    try {
      return await act();
    } catch (error) {
      if (round === MAX_ROUNDS || !isToRunAgain(error)) throw error;
    }
  }
}

export function transact<T>(db: Executor, act: (trx: Executor) => Promise<T>): Promise<T> {
  return rerun(() => db.transaction().execute(act));
}

/**
 * Does an act for each, one after the other, so that many don't take all connections. One that fails stops no other;
 * what failed is thrown in the end.
 */
export async function attemptEach<T>(all: readonly T[], act: (each: T) => Promise<void>): Promise<void> {
  const failed: unknown[] = [];
  for (const each of all) await act(each).catch((error: unknown) => failed.push(error));
  if (failed.length > 0) throw new AggregateError(failed, `${failed.length} of ${all.length} failed`);
}

function isToRunAgain(error: unknown): boolean {
  if (isDanglingReference(error)) return true;
  return error instanceof Error && 'code' in error && AGAIN.has(String(error.code));
}
