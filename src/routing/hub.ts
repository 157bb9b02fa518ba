// Indexes the open connections of this process by user and by token, and nothing else.

import type { AppId, Scheme } from '../ids.ts';
import type { Session } from './session.ts';

export class Hub {
  readonly #sessions = new Map<number, Set<Session>>();
  /** By the jti that counts now; a set only where several share one. */
  readonly #ofTokens = new Map<string, Session | Set<Session>>();
  readonly #counts = new Map<AppId, number>();

  add(session: Session): void {
    const ofUser = this.#sessions.get(session.identityId);
    if (ofUser) ofUser.add(session);
    else this.#sessions.set(session.identityId, new Set([session]));
    this.#addToken(session.jti, session);
    this.#counts.set(session.appId, this.countIn(session.appId) + 1);
  }

  remove(session: Session): void {
    const ofUser = this.#sessions.get(session.identityId);
    if (!ofUser?.delete(session)) return;
    if (ofUser.size === 0) this.#sessions.delete(session.identityId);
    this.#removeToken(session.jti, session);
    const count = this.countIn(session.appId) - 1;
    if (count > 0) this.#counts.set(session.appId, count);
    else this.#counts.delete(session.appId);
  }

  /** The token of a session is another one now. */
  changeToken(session: Session, formerJti: string): void {
    if (!this.#sessions.get(session.identityId)?.has(session)) return;
    this.#removeToken(formerJti, session);
    this.#addToken(session.jti, session);
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

  ofToken(jti: string): Iterable<Session> {
    const held = this.#ofTokens.get(jti);
    if (held === undefined) return [];
    return held instanceof Set ? held : [held];
  }

  *all(): Iterable<Session> {
    for (const ofUser of this.#sessions.values()) yield* ofUser;
  }

  count(appId: AppId): Record<Scheme, number> {
    const count = { composed: 0, registered: 0 };
    for (const session of this.all()) if (session.appId === appId) count[session.scheme] += 1;
    return count;
  }

  #addToken(jti: string, session: Session): void {
    const held = this.#ofTokens.get(jti);
    if (held instanceof Set) held.add(session);
    else this.#ofTokens.set(jti, held === undefined ? session : new Set([held, session]));
  }

  #removeToken(jti: string, session: Session): void {
    const held = this.#ofTokens.get(jti);
    if (held === session) this.#ofTokens.delete(jti);
    else if (held instanceof Set && held.delete(session) && held.size === 0) this.#ofTokens.delete(jti);
  }
}
