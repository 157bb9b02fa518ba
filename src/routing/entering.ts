// Who is connected to this process: lets connections in while there is room and what they act by counts, and out again.
// Invariant: a device has one connection here, the one with the newer token, and of the same token the newer one.

import { ImidError } from '../errors.ts';
import type { AppId } from '../ids.ts';
import type { Connections } from './connections.ts';
import type { Hub } from './hub.ts';
import type { Limits } from './limits.ts';
import type { Admitted, Session } from './session.ts';
import type { Watch } from './trust.ts';

export interface EnteringOptions {
  hub: Hub;
  watch: Pick<Watch, 'check' | 'left'>;
  watching: { moved(appId: AppId, id: number): void; left(session: Session): void };
  connections: Pick<Connections, 'close'>;
  limits: Pick<Limits, 'connectionsPerUser' | 'connectionsPerApp'>;
  log: (message: string, error: unknown) => void;
}

export function createEntering({ hub, watch, watching, connections, limits, log }: EnteringOptions) {
  /** False, and closed, where its device has a connection with a newer token. */
  function takesDevice(session: Session): boolean {
    for (const other of hub.of(session.identityId)) {
      if (other === session || other.deviceId !== session.deviceId) continue;
      const isOlder = other.tokenAt > session.tokenAt;
      (isOlder ? session : other).close('replaced');
      if (isOlder) return false;
    }
    return true;
  }

  return {
    /** Throws `rate_limited` where one more connection would be too many; one that replaces another always has room. */
    requireRoom({ claims: { appId }, user }: Admitted, deviceId: string | undefined): void {
      const { connectionsPerUser, connectionsPerApp } = limits;
      for (const session of hub.of(user.id)) if (session.deviceId === deviceId) return;
      if (hub.countOf(user.id) >= connectionsPerUser)
        throw new ImidError('rate_limited', `A user may have ${connectionsPerUser} connections at once.`);
      if (hub.countIn(appId) >= connectionsPerApp)
        throw new ImidError('rate_limited', `An app may have ${connectionsPerApp} connections at once.`);
    },

    /** Resolves when the session has started, or is closed. */
    enter(session: Session): Promise<void> {
      hub.add(session);
      watching.moved(session.appId, session.identityId);
      // Revoked while it was looked at.
      if (!watch.check(session) || !takesDevice(session)) return Promise.resolve();
      return session.start().catch((error: unknown) => {
        log('a connection could not be opened', error);
        session.close('unavailable');
      });
    },

    /** The session has another token. Closes it where that was revoked while it was looked at. */
    changeToken(session: Session, formerJti: string): void {
      hub.changeToken(session, formerJti);
      watch.check(session);
    },

    /** It has ended. */
    leave(session: Session): void {
      hub.remove(session);
      watching.left(session);
      watching.moved(session.appId, session.identityId);
      watch.left(session);
      connections.close(session);
    },

    /** It is no longer a connection of its user, and enters again as one of another. */
    leaveUser(session: Session): void {
      hub.remove(session);
      connections.close(session);
    },

    /** Closes those whose devices have connected elsewhere. */
    closeReplaced(connectionIds: readonly string[]): void {
      const gone = new Set(connectionIds);
      for (const session of hub.all()) if (gone.has(session.connectionId)) session.close('replaced');
    },

    /** Closes every connection of an app that is gone. */
    disconnectApp(appId: AppId): void {
      for (const session of hub.all()) if (session.appId === appId) session.close('tokenRevoked');
    },
  };
}
