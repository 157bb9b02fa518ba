// Everything that is kept encrypted, wherever it stands, but for what expires soon (kept_answers.ts).

import { sql } from 'kysely';
import type { Executor } from './database.ts';
import { transact } from './transact.ts';

const SEALED = [
  { table: 'sealed_secret', column: 'sealed' },
  { table: 'signing_key', column: 'sealed_private_jwk' },
  { table: 'push_credential', column: 'sealed' },
  { table: 'shared_token', column: 'sealed' },
  { table: 'webhook', column: 'sealed' },
] as const;

/** Seals all of it anew, or nothing; gives back how many there were. */
export function resealAll(db: Executor, reseal: (sealed: string) => Promise<string>): Promise<number> {
  return transact(db, async (trx) => {
    let count = 0;
    for (const { table, column } of SEALED) {
      // Nothing is added meanwhile.
      await sql`lock table ${sql.table(table)} in share row exclusive mode`.execute(trx);
      const { rows } = await sql<{ sealed: string }>`
        select ${sql.ref(column)} as sealed from ${sql.table(table)} where ${sql.ref(column)} is not null`.execute(
        trx,
      );
      for (const { sealed } of rows) {
        const resealed = await reseal(sealed);
        await sql`
          update ${sql.table(table)} set ${sql.ref(column)} = ${resealed}
          where ${sql.ref(column)} = ${sealed}`.execute(trx);
      }
      count += rows.length;
    }
    return count;
  });
}
