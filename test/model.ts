// Who is who, as simple as it can be said: the model that the service is held against. One user is one object; names and
// imIds are maps to it. No times, no transactions, no caches.

import type { Scheme } from '../src/ids.ts';

export interface ModelUser {
  name: string;
  imId: string | undefined;
  inbox: ModelMessage[];
  /** Set once it is merged: whoever refers to this one means that one. */
  mergedInto?: ModelUser;
}

/** Null: erased. */
type Party = ModelUser | null;

export interface ModelMessage {
  from: Party;
  to: Party;
  content: unknown;
}

/** Whom a token acts for: a user, whoever uses its name first, or nobody any more. */
export interface ModelToken {
  token: string;
  scheme: Scheme;
  holder: { user: ModelUser } | { unused: string } | 'gone';
}

export type Refusal = 'scheme_disabled' | 'not_found' | 'unknown_recipient' | 'conflict' | 'invalid_request';

/** An address, of a name or of an imId that was given out. */
export type ModelAddress = { uid: string } | { userId: string } | { imId: string };

export class Model {
  readonly appId: string;
  schemes: Scheme[] = ['composed', 'registered'];
  /** Every name that leads to somebody now, those of merged users included. */
  readonly names = new Map<string, ModelUser>();
  readonly imIds = new Map<string, ModelUser>();
  /** Who had a name before, the last one last; null for somebody erased. */
  readonly former = new Map<string, Party[]>();
  readonly tokens: ModelToken[] = [];

  constructor(appId: string) {
    this.appId = appId;
  }

  holder(name: string): ModelUser | undefined {
    return this.names.get(name);
  }

  /** As an address is read: a name in a scheme, or a refusal. */
  find(address: ModelAddress): ModelUser | { unused: string } | Refusal {
    if ('imId' in address) {
      if (!address.imId.startsWith('im_'))
        return this.find({ uid: address.imId.slice(this.appId.length + 1) });
      if (!this.schemes.includes('registered')) return 'scheme_disabled';
      return this.imIds.get(address.imId) ?? 'not_found';
    }
    if ('uid' in address) {
      if (!this.schemes.includes('composed')) return 'scheme_disabled';
      return this.names.get(address.uid) ?? { unused: address.uid };
    }
    if (!this.schemes.includes('registered')) return 'scheme_disabled';
    const user = this.names.get(address.userId);
    return user?.imId === undefined ? 'not_found' : user;
  }

  /** As `find`; a uid that nobody has used is a user from now on. */
  claim(address: ModelAddress): ModelUser | Refusal {
    const found = this.find(address);
    return typeof found === 'object' && 'unused' in found ? this.create(found.unused) : found;
  }

  create(name: string): ModelUser {
    const user: ModelUser = { name, imId: undefined, inbox: [] };
    this.names.set(name, user);
    for (const token of this.tokens)
      if (typeof token.holder === 'object' && 'unused' in token.holder && token.holder.unused === name)
        token.holder = { user };
    return user;
  }

  mint(user: ModelUser, imId: string): void {
    user.imId = imId;
    this.imIds.set(imId, user);
  }

  /** Whether nobody else stands in the way of these users having these names, all at once. */
  canRename(renames: ReadonlyMap<ModelUser, string>): boolean {
    for (const [user, name] of renames) {
      const holder = this.names.get(name);
      if (holder === undefined || holder === user) continue;
      if (holder.name !== name || !renames.has(holder)) return false;
    }
    return true;
  }

  rename(renames: ReadonlyMap<ModelUser, string>): void {
    const changes = [...renames].filter(([user, name]) => user.name !== name);
    for (const [user] of changes) {
      this.give(user.name, user);
      this.names.delete(user.name);
    }
    for (const [user, name] of changes) {
      // What was its other name is its own now.
      if (this.names.get(name) === user) this.give(name, user);
      user.name = name;
      this.names.set(name, user);
      for (const token of this.tokens)
        if (typeof token.holder === 'object' && 'unused' in token.holder && token.holder.unused === name)
          token.holder = 'gone';
    }
  }

  merge(from: ModelUser, into: ModelUser): void {
    this.give(from.name, into);
    if (into.imId === undefined) into.imId = from.imId;
    for (const [name, user] of this.names) if (user === from) this.names.set(name, into);
    for (const [imId, user] of this.imIds) if (user === from) this.imIds.set(imId, into);
    into.inbox.push(...from.inbox.filter((message) => !into.inbox.includes(message)));
    for (const message of from.inbox) {
      if (message.from === from) message.from = into;
      if (message.to === from) message.to = into;
    }
    for (const parties of this.former.values())
      parties.forEach((party, i) => party === from && (parties[i] = into));
    for (const token of this.tokens)
      if (typeof token.holder === 'object' && 'user' in token.holder && token.holder.user === from)
        token.holder = { user: into };
    from.mergedInto = into;
  }

  erase(user: ModelUser, blanksContent: boolean): void {
    for (const [name, holder] of this.names)
      if (holder === user) {
        this.give(name, null);
        this.names.delete(name);
      }
    for (const [imId, holder] of this.imIds) if (holder === user) this.imIds.delete(imId);
    for (const message of user.inbox) {
      if (message.from === user) {
        message.from = null;
        if (blanksContent) message.content = null;
      }
      if (message.to === user) message.to = null;
    }
    for (const parties of this.former.values())
      parties.forEach((party, i) => party === user && (parties[i] = null));
    for (const token of this.tokens)
      if (typeof token.holder === 'object' && 'user' in token.holder && token.holder.user === user)
        token.holder = 'gone';
  }

  send(from: ModelUser, to: ModelUser, content: unknown): void {
    const message = { from, to, content };
    from.inbox.push(message);
    if (to !== from) to.inbox.push(message);
  }

  /** Every form known, as backends are shown it. */
  describe(party: Party): object {
    if (party === null) return { erased: true };
    return this.schemes.includes('registered') && party.imId !== undefined
      ? { imId: party.imId, userId: party.name }
      : { imId: `${this.appId}:${party.name}`, uid: party.name };
  }

  /** What a client is told it is. */
  me(user: ModelUser, scheme: Scheme): object {
    return scheme === 'composed'
      ? { scheme, uid: user.name }
      : { scheme, imId: user.imId ?? `${this.appId}:${user.name}` };
  }

  lastFormer(name: string): Party | undefined {
    return this.former.get(name)?.at(-1);
  }

  private give(name: string, to: Party): void {
    this.former.set(name, [...(this.former.get(name) ?? []), to]);
  }
}
