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

/** What a connection was told of a user last; undefined: nothing yet. */
type Told = Map<number, { isOnline: boolean; user: User } | undefined>;

export function createWatching({ database: { kysely, clock }, apps, hub, processId, log }: WatchingOptions) {
  const watchers = new Map<Session, Told>();
  /** The other way round: who watches a user. */
  const watched = new Map<number, Set<Session>>();
  /** Of whom is to be looked whether anything has changed. */
  let asked: Set<number> | 'all' | undefined;
  let isLooking = false;

  function add(session: Session, id: number): void {
    const ofUser = watched.get(id);
    if (ofUser) ofUser.add(session);
    else watched.set(id, new Set([session]));
  }

  function remove(session: Session, id: number): void {
    const ofUser = watched.get(id);
    ofUser?.delete(session);
    if (ofUser?.size === 0) watched.delete(id);
  }

  function drop(session: Session): void {
    for (const id of idsOf(session)) remove(session, id);
    watchers.delete(session);
  }

  const idsOf = (session: Session): number[] => [...(watchers.get(session)?.keys() ?? [])];

  function ask(ids: Iterable<number> | 'all'): void {
    asked = ids === 'all' || asked === 'all' ? 'all' : new Set(asked).union(new Set(ids));
  }

  async function look(of: ReadonlySet<number> | 'all'): Promise<void> {
    const sessions =
      of === 'all' ? watchers.keys() : new Set([...of].flatMap((id) => [...(watched.get(id) ?? [])]));
    for (const [appId, ofApp] of Map.groupBy(sessions, (session) => session.appId)) {
      const theirs = new Set(ofApp.flatMap(idsOf));
      const ids = of === 'all' ? theirs : theirs.intersection(of);
      const app = await apps.find(appId);
      const standings = await findOnline(kysely, appId, [...ids], processId);
      const blockers = await findBlockers(kysely, appId, [...ids]);
      const blocks = new Set(blockers.map(({ ownerId, blockedId }) => `${ownerId}:${blockedId}`));
      const isVisibleTo = ({ identityId }: Session, id: number): boolean =>
        app?.presence === true && !standings.get(id)?.isHidden && !blocks.has(`${id}:${identityId}`);
      for (const session of ofApp)
        for (const id of idsOf(session)) if (ids.has(id)) tell(session, id, standings.get(id), isVisibleTo);
    }
  }

  function tell(
    session: Session,
    id: number,
    standing: Standing | undefined,
    isVisibleTo: (session: Session, id: number) => boolean,
  ): void {
    const told = watchers.get(session);
    // Of what it can't be told now, it is told when it has been welcomed by the user it was merged into.
    if (!told?.has(id) || !session.isWelcome) return;
    const before = told.get(id);
    if (!standing || standing.mergedInto !== undefined) {
      told.delete(id);
      remove(session, id);
    }
    if (!standing) {
      if (before?.isOnline) show(session, before.user, { online: false, lastSeenAt: undefined });
    } else if (standing.mergedInto !== undefined) {
      if (told.has(standing.mergedInto)) return;
      told.set(standing.mergedInto, before);
      add(session, standing.mergedInto);
      ask([standing.mergedInto]);
    } else {
      const isVisible = isVisibleTo(session, id);
      const isOnline = isVisible && (standing.isElsewhere || hub.has(id));
      if (isOnline === before?.isOnline) return;
      const { user } = standing;
      told.set(id, { isOnline, user });
      // When it left is written down a little later.
      const seenAt = before ? clock.now() : standing.lastSeenAt;
      show(session, user, { online: isOnline, lastSeenAt: isVisible ? seenAt : undefined });
    }
  }

  function show(session: Session, user: User, how: { online: boolean; lastSeenAt: Date | undefined }): void {
    session.tell((viewer) => presenceFrame(viewer, session.appId, user, how));
  }

  /** Looks whether anything has changed, and tells of it. */
  async function check(ids: Iterable<number> | 'all' = 'all'): Promise<void> {
    if (watchers.size === 0) return;
    ask(ids);
    if (isLooking) return;
    isLooking = true;
    try {
      while (asked) {
        const of = asked;
        asked = undefined;
        await look(of);
      }
    } finally {
      isLooking = false;
    }
  }

  return {
    check: () => check(),

    /** A connection watches these from now on, and is told of each how it is now. */
    async watch(session: Session, users: readonly User[]): Promise<void> {
      drop(session);
      if (users.length === 0 || session.isClosed) return;
      const told: Told = new Map(users.map(({ id }) => [id, undefined]));
      watchers.set(session, told);
      for (const id of told.keys()) add(session, id);
      await check(told.keys());
    },

    /** A user has come or gone here. */
    moved(appId: AppId, id: number): void {
      if (watched.has(id))
        check([id]).catch((error: unknown) => log(`app ${appId}: who is online could not be told`, error));
    },

    left: drop,
  };
}
