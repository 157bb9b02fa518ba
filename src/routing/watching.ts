// Who watches whom: tells connections when users that they watch come and go. What happens here is told at once, what
// happens on another process when it is looked for, once a second.

import type { AppId } from '../ids.ts';
import type { Apps } from '../identity/apps.ts';
import type { User } from '../identity/directory.ts';
import { findBlockers } from '../store/blocks.ts';
import type { Database } from '../store/database.ts';
import { findOnline, type Standing } from '../store/presence.ts';
import { presenceFrame } from './frames.ts';
import type { Hub } from './hub.ts';
import type { Session } from './session.ts';

export interface WatchingOptions {
  database: Database;
  apps: Apps;
  hub: Hub;
  processId: string;
  log: (message: string, error: unknown) => void;
}

/** What a connection was told last of a user, called so then; undefined: nothing yet. */
type Told = Map<number, { isOnline: boolean; user: User } | undefined>;

const OFFLINE = { isOnline: false, lastSeenAt: undefined };

export function createWatching({ database: { kysely, clock }, apps, hub, processId, log }: WatchingOptions) {
  const watchers = new Map<Session, Told>();
  /** How many connections watch a user. */
  const watched = new Map<number, number>();
  let isLooking = false;
  let mustLookAgain = false;

  function count(id: number, by: 1 | -1): void {
    const now = (watched.get(id) ?? 0) + by;
    if (now > 0) watched.set(id, now);
    else watched.delete(id);
  }

  function drop(session: Session): void {
    for (const id of watchers.get(session)?.keys() ?? []) count(id, -1);
    watchers.delete(session);
  }

  async function look(): Promise<void> {
    const byApp = Map.groupBy(watchers.keys(), (session) => session.appId);
    for (const [appId, sessions] of byApp) {
      const ids = [...new Set(sessions.flatMap((session) => [...(watchers.get(session)?.keys() ?? [])]))];
      const app = await apps.find(appId);
      const standings = await findOnline(kysely, appId, ids, processId);
      const blockers = await findBlockers(kysely, appId, ids);
      for (const session of sessions)
        tell(session, new Set(ids), standings, app?.presence === true, (id) =>
          blockers.some((each) => each.ownerId === id && each.blockedId === session.identityId),
        );
    }
  }

  function tell(
    session: Session,
    looked: ReadonlySet<number>,
    standings: ReadonlyMap<number, Standing>,
    isShown: boolean,
    isBlockedBy: (id: number) => boolean,
  ): void {
    const told = watchers.get(session);
    if (!told || session.isClosed) return;
    for (const [id, before] of Array.from(told)) {
      const standing = standings.get(id);
      if (!standing) {
        // Erased, unless it has not been looked for yet.
        if (before?.isOnline !== true || !looked.has(id)) continue;
        told.set(id, { ...before, isOnline: false });
        session.tell((viewer) =>
          presenceFrame(viewer, session.appId, before.user, { online: false, lastSeenAt: undefined }),
        );
        continue;
      }
      if (standing.mergedInto !== undefined) {
        told.delete(id);
        count(id, -1);
        if (!told.has(standing.mergedInto)) {
          told.set(standing.mergedInto, before);
          count(standing.mergedInto, 1);
          mustLookAgain = true;
        }
        continue;
      }
      const isVisible = isShown && !standing.isHidden && !isBlockedBy(id);
      const { isOnline, ...seen } = isVisible
        ? { isOnline: standing.isElsewhere || hub.has(id), lastSeenAt: standing.lastSeenAt }
        : OFFLINE;
      if (isOnline === before?.isOnline) continue;
      told.set(id, { isOnline, user: standing.user });
      // When it left is written down a little later.
      const lastSeenAt = isVisible && before?.isOnline ? clock.now() : seen.lastSeenAt;
      const { user } = standing;
      session.tell((viewer) => presenceFrame(viewer, session.appId, user, { online: isOnline, lastSeenAt }));
    }
  }

  /** Looks whether anything has changed, and tells of it. */
  async function check(): Promise<void> {
    if (watchers.size === 0) return;
    if (isLooking) {
      mustLookAgain = true;
      return;
    }
    isLooking = true;
    try {
      do {
        mustLookAgain = false;
        await look();
      } while (mustLookAgain);
    } finally {
      isLooking = false;
    }
  }

  return {
    check,

    /** A connection watches these from now on, and is told of each how it is now. */
    async watch(session: Session, users: readonly User[]): Promise<void> {
      drop(session);
      if (users.length === 0 || session.isClosed) return;
      const told: Told = new Map(users.map(({ id }) => [id, undefined]));
      watchers.set(session, told);
      for (const id of told.keys()) count(id, 1);
      await check();
    },

    /** A user has come or gone here. */
    moved(appId: AppId, id: number): void {
      if (watched.has(id))
        check().catch((error: unknown) => log(`app ${appId}: who is online could not be told`, error));
    },

    left: drop,
  };
}
