// Who watches whom: tells connections when users that they watch come and go. What happens here is told at once; what happens
// on another process when it is looked for, each second at so many users that nobody has to wait for it.

import type { AppId, Name } from '../ids.ts';
import type { Apps } from '../identity/apps.ts';
import type { Found, User } from '../identity/directory.ts';
import { findBlockers } from '../store/blocks.ts';
import type { Database } from '../store/database.ts';
import { findUsersByName } from '../store/identities.ts';
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

/** Who is watched: a user's row, or, of a composed one that nobody has used yet, its app and name. */
type Watched = number | `${AppId}:${Name}`;
/** What a connection was told last; undefined: nothing yet. */
type Told = Map<Watched, { isOnline: boolean; user: Pick<User, 'name' | 'imId'> } | undefined>;
type Ask = ReadonlySet<Watched>;

/** How many are looked at in a turn; with more, what happens elsewhere is told later than within a second. */
const LOOK_AT = 2_000;

export function createWatching({ database, apps, hub, processId, log }: WatchingOptions) {
  const { kysely, pool, clock } = database;
  const watchers = new Map<Session, Told>();
  /** The other way round: who watches a user. */
  const watched = new Map<Watched, Set<Session>>();
  /** Of whom is to be looked whether anything has changed. */
  let asked: Set<Watched> = new Set();
  /** Who is still to be looked at until all were. */
  let round: Watched[] = [];
  let isLooking = false;

  const toldOf = (session: Session): Watched[] => [...(watchers.get(session)?.keys() ?? [])];

  function add(session: Session, whom: Watched): void {
    const ofUser = watched.get(whom);
    if (ofUser) ofUser.add(session);
    else watched.set(whom, new Set([session]));
  }

  function remove(session: Session, whom: Watched): void {
    const ofUser = watched.get(whom);
    ofUser?.delete(session);
    if (ofUser?.size === 0) watched.delete(whom);
  }

  function drop(session: Session): void {
    for (const whom of toldOf(session)) remove(session, whom);
    watchers.delete(session);
  }

  async function look(at: Ask): Promise<void> {
    const sessions = new Set([...at].flatMap((whom) => [...(watched.get(whom) ?? [])]));
    for (const [appId, ofApp] of Map.groupBy(sessions, (session) => session.appId)) {
      const theirs = new Set(ofApp.flatMap(toldOf)).intersection(at);
      const ids = [...theirs].filter((whom) => typeof whom === 'number');
      const names = [...theirs].filter((whom) => typeof whom === 'string').map(nameOf);
      const app = await apps.find(appId);
      const [standings, blockers, used] = await Promise.all([
        findOnline(kysely, appId, ids, processId),
        findBlockers(kysely, appId, ids),
        names.length > 0 ? findUsersByName(pool, appId, names) : new Map<Name, User>(),
      ]);
      const blocks = new Set(blockers.map(({ ownerId, blockedId }) => `${ownerId}:${blockedId}`));
      const isVisibleTo = ({ identityId }: Session, id: number): boolean =>
        app?.presence === true && !standings.get(id)?.isHidden && !blocks.has(`${id}:${identityId}`);
      for (const session of ofApp)
        for (const whom of toldOf(session))
          if (!theirs.has(whom)) continue;
          else if (typeof whom === 'number') tell(session, whom, standings.get(whom), isVisibleTo);
          else tellUnused(session, whom, used.get(nameOf(whom)));
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
    if (!standing) {
      told.delete(id);
      remove(session, id);
      if (before?.isOnline) show(session, before.user, { online: false, lastSeenAt: undefined });
    } else if (standing.mergedInto !== undefined) watchInstead(session, id, standing.mergedInto);
    else {
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

  function tellUnused(session: Session, whom: Watched & string, user: User | undefined): void {
    const told = watchers.get(session);
    if (!told?.has(whom) || !session.isWelcome) return;
    if (user) return watchInstead(session, whom, user.id);
    if (told.get(whom)) return;
    const unused = { name: nameOf(whom), imId: undefined };
    told.set(whom, { isOnline: false, user: unused });
    show(session, unused, { online: false, lastSeenAt: undefined });
  }

  function watchInstead(session: Session, whom: Watched, id: number): void {
    const told = watchers.get(session)!;
    const before = told.get(whom);
    told.delete(whom);
    remove(session, whom);
    if (told.has(id)) return;
    told.set(id, before);
    add(session, id);
    asked.add(id);
  }

  function show(
    session: Session,
    user: Pick<User, 'name' | 'imId'>,
    how: { online: boolean; lastSeenAt: Date | undefined },
  ): void {
    session.tell((viewer) => presenceFrame(viewer, session.appId, user, how));
  }

  /** Looks whether anything has changed with these, and tells of it. */
  async function check(whom: Iterable<Watched>): Promise<void> {
    asked = asked.union(new Set(whom));
    if (isLooking) return;
    isLooking = true;
    try {
      while (asked.size > 0) {
        const at = asked;
        asked = new Set();
        await look(at);
      }
    } finally {
      isLooking = false;
    }
  }

  return {
    /** To be called each second. */
    async check(): Promise<void> {
      if (round.length === 0) round = [...watched.keys()];
      await check(round.splice(0, LOOK_AT));
    },

    /** A connection watches these from now on, and is told of each how it is now. */
    async watch(session: Session, users: readonly Found[]): Promise<void> {
      drop(session);
      if (users.length === 0 || session.isClosed) return;
      const told: Told = new Map(
        users.map(({ id, name }) => [id ?? (`${session.appId}:${name}` as const), undefined]),
      );
      watchers.set(session, told);
      for (const whom of told.keys()) add(session, whom);
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

function nameOf(whom: Watched & string): Name {
  return whom.slice(whom.indexOf(':') + 1) as Name;
}
