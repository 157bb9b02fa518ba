// Messages on their way out of the service: all of an app, or those of one inbox, as they are at one moment.

import type { AppId } from '../ids.ts';
import type { Connection } from './database.ts';
import { MERGED_MARK } from './mergers.ts';
import { PARTIES, toParty, type Party } from './messages.ts';

/** A message on its way out. */
export interface ExportedMessage {
  id: string;
  from: Party;
  to: Party;
  /** As a sender could have given it. */
  clientId: string;
  part: number;
  /** JSON text. */
  content: string;
  at: Date;
}

interface ExportRow {
  id: string;
  seq: number;
  client_id: string;
  part: number;
  content: string;
  at: Date;
  sender_name: string | null;
  sender_im_id: string | null;
  recipient_name: string | null;
  recipient_im_id: string | null;
}

/** Portions are read into memory as a whole, and a content may have 16 KiB. */
const EXPORT_PORTION = 500;

/** A message that was recalled is gone, and that it was recalled means nothing without it. */
const KEPT = 'recalls is null and recalled_at is null';
const PORTION_COLUMNS = 'id, sender_id, recipient_id, client_id, part, content, at';
const WITH_PARTIES = (portion: string, order: string): string => `
select x.id, x.seq, x.client_id, x.part, x.content, x.at, ${PARTIES.names}
from (${portion}) x
${PARTIES.joins}
order by ${order}`;

const APP_PORTION = WITH_PARTIES(
  `select 0 as seq, ${PORTION_COLUMNS} from message where app_id = $1 and id > $2 and ${KEPT} order by id limit $3`,
  'x.id',
);
const INBOX_PORTION = WITH_PARTIES(
  `(select recipient_seq as seq, ${PORTION_COLUMNS} from message
    where app_id = $1 and recipient_id = $4 and recipient_seq > $2 and ${KEPT} order by recipient_seq limit $3)
  union all
  (select sender_seq as seq, ${PORTION_COLUMNS} from message
    where app_id = $1 and sender_id = $4 and sender_seq > $2 and ${KEPT} order by sender_seq limit $3)
  order by seq limit $3`,
  'x.seq',
);

const NIL_UUID = '00000000-0000-0000-0000-000000000000';

/**
 * The messages of an app in the order of their ids, or those of one inbox in the order of their seqs, as they all are at one
 * moment, in portions. `connection` is its own, since a slow reader may keep it for long, and ends with it.
 */
export async function* streamMessages(
  connection: Connection,
  appId: AppId,
  inboxId?: number,
): AsyncGenerator<ExportedMessage[]> {
  try {
    await connection.query('begin isolation level repeatable read read only');
    let after: string | number = inboxId === undefined ? NIL_UUID : 0;
    for (;;) {
      const { rows }: { rows: ExportRow[] } = await connection.query<ExportRow>({
        name: 'export_messages',
        text: inboxId === undefined ? APP_PORTION : INBOX_PORTION,
        values: [appId, after, EXPORT_PORTION, ...(inboxId === undefined ? [] : [inboxId])],
      });
      // One whose users are both erased is only waiting to be cleared away.
      const shown = rows.filter((row) => row.sender_name !== null || row.recipient_name !== null);
      if (shown.length > 0) yield shown.map(toExported);
      if (rows.length < EXPORT_PORTION) break;
      after = inboxId === undefined ? rows.at(-1)!.id : rows.at(-1)!.seq;
    }
  } finally {
    await connection.end();
  }
}

function toExported(row: ExportRow): ExportedMessage {
  return {
    id: row.id,
    from: toParty(row.sender_name, row.sender_im_id),
    to: toParty(row.recipient_name, row.recipient_im_id),
    clientId: row.client_id.startsWith(MERGED_MARK) ? row.client_id.slice(1) : row.client_id,
    part: row.part,
    content: row.content,
    at: row.at,
  };
}
