// Keeps connections with their users: finds out what became of a user, and moves its connections to the one it was merged into.

import type { Directory, User } from '../identity/directory.ts';
import type { Database } from '../store/database.ts';
import { findPositions } from '../store/identities.ts';
import type { Session } from './session.ts';

export interface FollowingOptions {
  database: Database;
  directory: Directory;
  /** A connection is no longer that of the user it was. */
  leave: (session: Session) => void;
  /** It is that of another one now, and to be started again. */
  enter: (session: Session, formerId: number) => void;
}

export function createFollowing({ database: { kysely }, directory, leave, enter }: FollowingOptions) {
  function move(session: Session, user: User): void {
    if (session.isClosed) return;
    leave(session);
    const { identityId: formerId } = session;
    session.moveTo(user);
    enter(session, formerId);
  }

  /** Finds the user of a session, and moves the session there if its own was merged into that one. */
  async function follow(session: Session): Promise<User | undefined> {
    const user = await directory.findRow(session.appId, session.identityId);
    if (user && user.id !== session.identityId) move(session, user);
    return user;
  }

  return {
    move,
    follow,

    /** Makes good what was not announced here, and closes the connections of users that are gone. */
    async checkPositions(sessions: Iterable<Session>): Promise<void> {
      const rows = Array.from(sessions, (session) => ({
        session,
        appId: session.appId,
        id: session.identityId,
      }));
      if (rows.length === 0) return;
      const positions = await findPositions(kysely, rows);
      for (const { session, id } of rows) {
        if (session.identityId !== id) continue; // moved meanwhile
        const position = positions.get(id);
        if (!position || (position.mergedInto !== undefined && !(await follow(session))))
          session.close('tokenRevoked');
        else if (position.mergedInto === undefined) session.onPosition(position.lastSeq);
      }
    },
  };
}
