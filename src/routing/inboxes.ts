// Inboxes as they are read, page by page: whole, or as their users see them.
// Invariant: a seq means the same entry for as long as the epoch of its inbox is the same.

import { createHash } from 'node:crypto';
import type { AppId } from '../ids.ts';
import { isWithheld, type Blocks } from '../store/blocks.ts';
import type { Database } from '../store/database.ts';
import { findInboxEntries, type InboxEntry } from '../store/messages.ts';

export type { InboxEntry } from '../store/messages.ts';

export interface InboxesOptions {
  database: Database;
  /** Of the database; another one once it was restored from a backup. */
  heartbeat: { readonly epoch: string };
  blocking: { of(appId: AppId, ownerId: number): Promise<Blocks> };
}

const EPOCH_LENGTH = 22;

export function createInboxes({ database: { pool }, heartbeat, blocking }: InboxesOptions) {
  const read = (appId: AppId, identityId: number, after: number, limit: number): Promise<InboxEntry[]> =>
    findInboxEntries(pool, appId, identityId, after, limit);

  return {
    read,

    /** Of the database and the inbox, so that a uid that is erased and used again doesn't look like the same run. */
    epochOf: (identityId: number): string =>
      createHash('sha256')
        .update(`${heartbeat.epoch}:${identityId}`)
        .digest('base64url')
        .slice(0, EPOCH_LENGTH),

    /** The inbox as its user sees it. */
    async readOwn(appId: AppId, identityId: number, after: number, limit: number): Promise<InboxEntry[]> {
      for (let from = after; ;) {
        const entries = await read(appId, identityId, from, limit);
        // Read after them, it has all that withholds any of them.
        const blocks = await blocking.of(appId, identityId);
        const shown = entries.filter((entry) => !isWithheld(blocks, entry));
        if (shown.length > 0 || entries.length < limit) return shown;
        from = entries.at(-1)!.seq;
      }
    },
  };
}
