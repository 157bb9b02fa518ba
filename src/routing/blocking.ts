// Whom users have blocked: what is withheld of their inboxes, from every connection of theirs.

import type { AppId } from '../ids.ts';
import type { User } from '../identity/directory.ts';
import { nobody } from '../identity/schemes.ts';
import { findBlocked, findBlocks, replaceBlocked, type Blocks } from '../store/blocks.ts';
import type { Database } from '../store/database.ts';
import type { Hub } from './hub.ts';
import type { Rings } from './rings.ts';
import type { Session } from './session.ts';

export interface BlockingOptions {
  database: Database;
  hub: Hub;
  rings: Pick<Rings, 'tellHolders' | 'tellAll'>;
}

export function createBlocking({ database: { kysely }, hub, rings }: BlockingOptions) {
  async function refresh(sessions: Iterable<Session>): Promise<void> {
    for (const [id, ofUser] of Map.groupBy(sessions, (session) => session.identityId)) {
      const blocks = await findBlocks(kysely, ofUser[0]!.appId, id);
      for (const session of ofUser) if (session.identityId === id) session.blocks = blocks;
    }
  }

  return {
    list: (appId: AppId, ownerId: number): Promise<User[]> => findBlocked(kysely, appId, ownerId),

    /** All that decides what is withheld of an inbox. */
    of: (appId: AppId, ownerId: number): Promise<Blocks> => findBlocks(kysely, appId, ownerId),

    /** A user blocks exactly these from now on. Throws `not_found` when it is gone. */
    async replace(appId: AppId, ownerId: number, blockedIds: readonly number[]): Promise<void> {
      if (!(await replaceBlocked(kysely, appId, ownerId, blockedIds))) throw nobody();
      await refresh(hub.of(ownerId));
      rings.tellHolders('blocks', [{ appId, id: ownerId }]);
    },

    /** A user was merged into another one: whoever blocks it blocks that one now. */
    async merged(fromId: number): Promise<void> {
      const blocking = [...hub.all()].filter((session) =>
        session.blocks.all.some(({ ids }) => ids.includes(fromId)),
      );
      await refresh(blocking);
    },

    /** Another process tells whose blocks have changed. */
    async hear(ids: readonly number[]): Promise<void> {
      for (const id of ids) await refresh(hub.of(id));
    },
  };
}
