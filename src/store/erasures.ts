// Clears away the messages of erased users, in portions that nobody has to wait for. A message stays where it stands in
// the inbox of somebody else, and goes when both its users are gone.

import { sql } from 'kysely';
import type { AppId } from '../ids.ts';
import type { Executor } from './database.ts';
import { rerun } from './transact.ts';

const PORTION = 5_000;

/** An erased user whose messages are not cleared away yet. */
export interface Erased {
  appId: AppId;
  identityId: number;
  /** Whether what it sent to others is blanked: its content becomes null. */
  blanksContent: boolean;
}

/** Resolves when nothing is left of the erased user; safe to break off and to repeat. */
export async function clearMessages(db: Executor, erased: Erased): Promise<void> {
  const { appId, identityId, blanksContent } = erased;
  for (const [own, other] of [
    ['recipient_id', 'sender_id'],
    ['sender_id', 'recipient_id'],
  ] as const) {
    for (let cleared = PORTION; cleared === PORTION;) {
      // The id that the sender gave a message may tell of it, too.
      const blanking =
        own === 'recipient_id'
          ? sql``
          : sql`, client_id = m.id::text${blanksContent ? sql`, content = 'null', push = null` : sql``}`;
      const { rows } = await rerun(() =>
        sql<{ cleared: number }>`
        with portion as materialized (
          select id, ${sql.ref(other)} as other_id from message
          where app_id = ${appId} and ${sql.ref(own)} = ${identityId} limit ${PORTION} for update
        ), orphan as materialized (
          select p.id from portion p
          where not exists (select from identity i where i.app_id = ${appId} and i.id = p.other_id)
        ), deleted as (
          delete from message m using orphan o where m.app_id = ${appId} and m.id = o.id
        ), kept as (
          update message m set ${sql.ref(own)} = null${blanking} from portion p
          where m.app_id = ${appId} and m.id = p.id and p.id not in (select id from orphan)
        )
        select count(*) as cleared from portion`.execute(db),
      );
      cleared = rows[0]!.cleared;
    }
  }
  await db.deleteFrom('erasure').where('app_id', '=', appId).where('identity_id', '=', identityId).execute();
}

export async function findErasures(
  db: Executor,
  of?: { appId: AppId; ids: readonly number[] },
): Promise<Erased[]> {
  let query = db.selectFrom('erasure').select(['app_id', 'identity_id', 'blanks_content']);
  if (of) query = query.where('app_id', '=', of.appId).where('identity_id', 'in', of.ids);
  const rows = await query.execute();
  return rows.map((row) => ({
    appId: row.app_id as AppId,
    identityId: row.identity_id,
    blanksContent: row.blanks_content,
  }));
}
