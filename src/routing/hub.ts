// Indexes the open connections of this process by user, and nothing else.

import type { AppId, Scheme } from '../ids.ts';
import type { Session } from './session.ts';

export class Hub {
  readonly #sessions = new Map<number, Set<Session>>();
  readonly #counts = new Map<AppId, number>();

  add(session: Session): void {
    const ofUser = this.#sessions.get(session.identityId);
    if (ofUser) ofUser.add(session);
    else this.#sessions.set(session.identityId, new Set([session]));
    this.#counts.set(session.appId, this.countIn(session.appId) + 1);
  }

  remove(session: Session): void {
    const ofUser = this.#sessions.get(session.identityId);
    if (!ofUser?.delete(session)) return;
    if (ofUser.size === 0) this.#sessions.delete(session.identityId);
    const count = this.countIn(session.appId) - 1;
    if (count > 0) this.#counts.set(session.appId, count);
    else this.#counts.delete(session.appId);
  }

  countIn(appId: AppId): number {
    return this.#counts.get(appId) ?? 0;
  }

  countOf(identityId: number): number {
    return this.#sessions.get(identityId)?.size ?? 0;
  }

  has(identityId: number): boolean {
    return this.#sessions.has(identityId);
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
