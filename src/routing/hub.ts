// Indexes the open connections of this process by user, and nothing else.

import type { AppId, Scheme } from '../ids.ts';
import type { Session } from './session.ts';

export class Hub {
  readonly #sessions = new Map<number, Set<Session>>();

  add(session: Session): void {
    const ofUser = this.#sessions.get(session.identityId);
    if (ofUser) ofUser.add(session);
    else this.#sessions.set(session.identityId, new Set([session]));
  }

  remove(session: Session): void {
    const ofUser = this.#sessions.get(session.identityId);
    if (ofUser?.delete(session) && ofUser.size === 0) this.#sessions.delete(session.identityId);
  }

  of(identityId: number): Iterable<Session> {
    return this.#sessions.get(identityId) ?? [];
  }

  *all(): Iterable<Session> {
    for (const ofUser of this.#sessions.values()) yield* ofUser;
  }

  count(appId: AppId): Record<Scheme, number> {
    const count = { composed: 0, registered: 0 };
    for (const session of this.all()) if (session.appId === appId) count[session.scheme] += 1;
    return count;
  }
}
