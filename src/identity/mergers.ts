// Merging a user into another one: the guest who already had an account. Two steps, so that whoever is online can
// change over in between: everything leads to the other user at once, its messages come after.

import { ImidError } from '../errors.ts';
import type { AppId, ImId } from '../ids.ts';
import { insertAuditEvents } from '../store/audit.ts';
import type { Database } from '../store/database.ts';
import type { Hashes } from '../store/former_names.ts';
import { findMerged, findMerger, findUnfinishedMergers, mergeUsers, moveMessages } from '../store/mergers.ts';
import { attemptEach, transact } from '../store/transact.ts';
import type { Apps } from './apps.ts';
import type { Directory, User } from './directory.ts';
import type { Lookups } from './lookups.ts';
import { isOwn, nobody, readAddress, type Address, type AppSchemes } from './schemes.ts';

export interface Merged {
  /** The row that was merged. */
  fromId: number;
  /** The user it is now. */
  user: User;
}

export interface MergersOptions {
  database: Database;
  apps: Apps;
  directory: Directory;
  lookups: Lookups;
  hashes: Hashes;
}

export type Mergers = ReturnType<typeof createMergers>;

export function createMergers({ database: { kysely }, apps, directory, lookups, hashes }: MergersOptions) {
  async function resolveFrom(app: AppSchemes, from: Address): Promise<User> {
    const [user] = await directory.claim(app, [from]);
    if (!(user instanceof ImidError)) return user!;
    throw new ImidError(user.code, user.message, {
      errors: [{ in: 'body', pointer: '#/from', detail: user.message }],
    });
  }

  return {
    /**
     * Makes every name and token of `from` lead to the user of `imId`. The same again answers the same, also after it was
     * broken off. Its messages are to be brought then. Throws `not_found`, `scheme_disabled`, `invalid_request`, and `conflict` for a name that came to another user by
     * a merger: whoever merges a guest means the guest, not the account it went into.
     */
    async begin(app: AppSchemes, imId: ImId, from: Address, actor: string): Promise<Merged> {
      for (;;) {
        const into = await directory.resolve(app, { imId });
        const merging = await resolveFrom(app, from);
        if (merging.id === into.id) {
          const merger = await findMerger(kysely, app.id, into.id, readAddress(app, from));
          if (merger) return { fromId: merger.fromId, user: into };
          throw new ImidError('invalid_request', 'A user can’t be merged into itself.', {
            errors: [{ in: 'body', pointer: '#/from', detail: 'is the same user' }],
          });
        }
        if (!isOwn(merging, readAddress(app, from)))
          throw new ImidError('conflict', 'This name is one that was merged into another user.', {
            errors: [{ in: 'body', pointer: '#/from', detail: 'is another user’s since a merger' }],
          });
        const outcome = await transact(kysely, async (trx) => {
          const done = await mergeUsers(trx, app.id, { fromId: merging.id, intoId: into.id }, hashes);
          const subjectHash = hashes.ofName(app.id, merging.name);
          if (done === 'merged')
            await insertAuditEvents(trx, [{ appId: app.id, actor, action: 'identity.merge', subjectHash }]);
          return done;
        });
        lookups.forget();
        apps.forget(app.id);
        if (outcome === 'unfinished') await this.bringAll({ appId: app.id, intoId: merging.id });
        const user = outcome === 'merged' ? await directory.findRow(app.id, into.id) : undefined;
        if (user) return { fromId: merging.id, user };
      }
    },

    /** Brings the messages; gives back how many joined the inbox. Throws `not_found` when the user was erased meanwhile. */
    async bring(appId: AppId, fromId: number): Promise<number> {
      await moveMessages(kysely, appId, fromId);
      const merger = await findMerged(kysely, appId, fromId);
      if (!merger) throw nobody();
      return merger.messages;
    },

    /** Brings what mergers that were broken off have left; all, or those into one row. */
    async bringAll(into?: { appId: AppId; intoId: number }): Promise<void> {
      const unfinished = await findUnfinishedMergers(kysely, into);
      await attemptEach(unfinished, ({ appId, fromId }) => moveMessages(kysely, appId, fromId));
    },
  };
}
