// Connections are open for as long as what they act by counts: closes them when it doesn't any more, and all of them when
// this process can't know.

import type { News, Revocation } from '../tokens/revocations.ts';
import type { Hub } from './hub.ts';
import type { Session } from './session.ts';

/** What counts, as far as this process knows. */
export interface Trust {
  /** Whether a connection acts by something that was revoked since it was looked at. */
  ends(session: Session): boolean;
  /** Looks for what was revoked; tells of it by itself. */
  follow(): Promise<void>;
  /** Starts over, with another state of the database. */
  reload(): Promise<void>;
  /** What needs doing from time to time. */
  tend(): Promise<void>;
  /** This process has been without news for so long that it trusts nobody. */
  readonly isBlind: boolean;
}

/** How often it is looked whether this process is blind. */
const SIGHT_MS = 1_000;

export type Watch = ReturnType<typeof watchTrust>;

export function watchTrust(hub: Hub, trust: Trust) {
  /** By the rows that were merged into another one: those that went along. */
  const moved = new Map<number, Set<Session>>();

  /** False, and closed, where a session acts by what counts no more. */
  function check(session: Session): boolean {
    if (!trust.ends(session)) return true;
    session.close('tokenRevoked');
    return false;
  }

  /** Those that may act by something that was revoked. */
  function holdersOf(revocation: Revocation): Iterable<Session> {
    if (revocation.jti !== undefined) return hub.ofToken(revocation.jti);
    // It may have been revoked before the user was merged.
    if (revocation.identityId !== undefined)
      return [...hub.of(revocation.identityId), ...(moved.get(revocation.identityId) ?? [])];
    return hub.all();
  }

  const watching = setInterval(() => {
    if (trust.isBlind) for (const session of hub.all()) session.close('unavailable');
  }, SIGHT_MS);
  watching.unref();

  return {
    check,

    closeRevoked({ revoked, hasOtherKeys }: News): void {
      for (const session of hasOtherKeys ? hub.all() : revoked.flatMap((each) => [...holdersOf(each)]))
        check(session);
    },

    /** The user of a session was merged into another one. */
    moved(session: Session, formerId: number): void {
      const along = moved.get(formerId);
      if (along) along.add(session);
      else moved.set(formerId, new Set([session]));
    },

    left(session: Session): void {
      if (session.identityIds.size === 1) return;
      for (const id of session.identityIds) {
        const along = moved.get(id);
        if (along?.delete(session) && along.size === 0) moved.delete(id);
      }
    },

    stop: (): void => clearInterval(watching),
  };
}
