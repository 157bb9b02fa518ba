// Short-lived tokens that all processes are to use the same one of.

import { sql } from 'kysely';
import type { Executor } from './database.ts';

/** What all processes have under a name, sealed: what was given first. */
export async function agreeOnToken(db: Executor, name: string, sealed: string): Promise<string> {
  await sql`
    insert into shared_token (name, sealed) values (${name}, ${sealed}) on conflict (name) do nothing`.execute(
    db,
  );
  return (await findSharedToken(db, name)) ?? sealed;
}

export async function findSharedToken(db: Executor, name: string): Promise<string | undefined> {
  const row = await db
    .selectFrom('shared_token')
    .select('sealed')
    .where('name', '=', name)
    .executeTakeFirst();
  return row?.sealed;
}

export async function deleteOldTokens(db: Executor, olderThanSeconds: number): Promise<void> {
  await sql`delete from shared_token where at < now() - ${olderThanSeconds} * interval '1 second'`.execute(
    db,
  );
}
