// Who is who: from addresses and tokens to users, and the acts that change names: register, adopt, rename, erase.
// Invariant: every act is decided by the database; what is kept here in memory is only ever a hint.

import { createHmac } from 'node:crypto';
import { ImidError } from '../errors.ts';
import { makeUuid, parseImId, uuidToRegisteredId, type AppId, type ImId, type Name } from '../ids.ts';
import { isDanglingReference, violatedUnique } from '../store/constraints.ts';
import type { Database } from '../store/database.ts';
import {
  eraseUser,
  findFormerHolders,
  findHolderAt,
  renameUser,
  type NameHash,
} from '../store/former_names.ts';
import {
  countUsers,
  findUsers,
  findUsersByImId,
  findUsersByName,
  insertUsers,
  markRegistered,
  registerName,
  type User,
} from '../store/identities.ts';
import { nobody, readAddress, requireScheme, type Address, type AppSchemes, type Target } from './schemes.ts';

export type { User } from '../store/identities.ts';

/** What a look-up finds: a user that has a row, or a composed one that needs none yet. */
export type Found = User | { readonly id: undefined; readonly name: Name; readonly imId: undefined; readonly createdAt: undefined };

/** What registering did. */
export interface Registered {
  user: User;
  /** False: the userId was registered before. */
  created: boolean;
}

/** What a token says about whom it acts for. */
export interface TokenSubject {
  sub: ImId;
  issuedAt: Date;
}

export type Registry = ReturnType<typeof createRegistry>;

export function createRegistry({ database, nameKey }: { database: Database; nameKey: Buffer }) {
  const { kysely, clock } = database;
  const hash: NameHash = (appId, name) => createHmac('sha256', nameKey).update(`${appId}:${name}`).digest();

  /** Finds the users of many targets in at most two queries; undefined where there is none. */
  async function findTargets(appId: AppId, targets: readonly Target[]): Promise<(User | undefined)[]> {
    const names = new Set<Name>();
    const imIds = new Set<User['imId'] & string>();
    for (const target of targets) {
      if (target.by === 'name') names.add(target.name);
      else imIds.add(target.imId);
    }
    const [named, minted] = await Promise.all([
      names.size > 0 ? findUsersByName(kysely, appId, [...names]) : [],
      imIds.size > 0 ? findUsersByImId(kysely, appId, [...imIds]) : [],
    ]);
    const byName = new Map(named.map((user) => [user.name, user]));
    const byImId = new Map(minted.map((user) => [user.imId, user]));
    return targets.map((target) => {
      if (target.by === 'imId') return byImId.get(target.imId);
      const user = byName.get(target.name);
      return target.registeredOnly && user?.imId === undefined ? undefined : user;
    });
  }

  /** Reads addresses and finds their users; each answer stands at its address's place, an error in its own. */
  async function findAll(
    app: AppSchemes,
    addresses: readonly Address[],
    atNobody: (target: Target) => Found | ImidError,
  ): Promise<(Found | ImidError)[]> {
    const read = addresses.map((address) => attempt(() => readAddress(app, address)));
    const targets = read.filter((target): target is Target => !(target instanceof ImidError));
    const users = await findTargets(app.id, targets);
    let next = 0;
    return read.map((target) => (target instanceof ImidError ? target : (users[next++] ?? atNobody(target))));
  }

  /** Looks addresses up. A composed user that nobody has used yet is found as well, since any uid is a user. */
  async function lookUp(app: AppSchemes, addresses: readonly Address[]): Promise<(Found | ImidError)[]> {
    if (!app.schemes.includes('registered')) {
      // Composed only: an address says all by itself.
      return addresses.map((address) => attempt(() => ghost(readAddress(app, address))));
    }
    return findAll(app, addresses, ghost);
  }

  /** Finds the users of addresses, giving composed ones that nobody has used yet their row. */
  async function claim(app: AppSchemes, addresses: readonly Address[]): Promise<(User | ImidError)[]> {
    for (;;) {
      const found = await findAll(app, addresses, ghost);
      const unused = found.filter((user) => !(user instanceof ImidError) && user.id === undefined) as Found[];
      if (unused.length === 0) return found as (User | ImidError)[];
      await insertNames(
        app.id,
        unused.map((user) => user.name),
      );
    }
  }

  async function insertNames(appId: AppId, names: readonly Name[]): Promise<void> {
    try {
      await insertUsers(kysely, appId, [...new Set(names)]);
    } catch (error) {
      if (isDanglingReference(error)) throw new ImidError('not_found', 'There is no such app.');
      throw error;
    }
  }

  /** Takes the user of uid `from`, not registered, and gives it the name `to` and an imId. */
  async function adopt(appId: AppId, from: Name, to: Name): Promise<Registered> {
    for (;;) {
      const [holder] = await findUsersByName(kysely, appId, [to]);
      if (holder) {
        const formers = await findFormerHolders(kysely, appId, hash(appId, from));
        if (holder.imId !== undefined && formers.some((former) => former.user.id === holder.id))
          return { user: holder, created: false };
        throw taken('userId');
      }
      await insertNames(appId, [from]);
      const [adopted] = await findUsersByName(kysely, appId, [from]);
      if (!adopted) continue;
      if (adopted.imId !== undefined)
        throw new ImidError('conflict', 'The user to adopt is registered already; rename it instead.', {
          errors: [{ in: 'body', pointer: '#/adopt/uid', detail: 'is the userId of a registered user' }],
        });
      const imId = uuidToRegisteredId(makeUuid(clock.now()));
      try {
        const renamed = await kysely.transaction().execute(async (trx) => {
          const marked = await markRegistered(trx, appId, adopted.id, imId);
          return marked ? renameUser(trx, appId, adopted.id, to, hash, clock.now()) : undefined;
        });
        if (!renamed) continue; // somebody else registered or erased it just now
        await clock.reach(renamed.instant);
        return { user: renamed.user, created: true };
      } catch (error) {
        if (violatedUnique(error) !== 'identity__name') throw error;
      }
    }
  }

  return {
    lookUp,
    claim,

    /** As `lookUp`, always with the rows that there are. */
    lookUpRows: (app: AppSchemes, addresses: readonly Address[]): Promise<(Found | ImidError)[]> =>
      findAll(app, addresses, ghost),

    /** As `lookUp`, of one address. Throws `not_found`, `scheme_disabled`. */
    async find(app: AppSchemes, address: Address): Promise<Found> {
      const [found] = await findAll(app, [address], ghost);
      if (found instanceof ImidError) throw found;
      return found!;
    },

    /** As `claim`, of one address. Throws `not_found`, `scheme_disabled`. */
    async resolve(app: AppSchemes, address: Address): Promise<User> {
      const [user] = await claim(app, [address]);
      if (user instanceof ImidError) throw user;
      return user!;
    },

    /**
     * The user that a token acts for: whoever held its name when it was issued, whatever that user is called now.
     * Throws `token_revoked` when that user is gone, or nobody held the name and somebody took it since.
     */
    async resolveHolder(appId: AppId, token: TokenSubject): Promise<User> {
      const parsed = parseImId(token.sub);
      if (parsed?.scheme === 'registered') {
        const [user] = await findUsersByImId(kysely, appId, [parsed.imId]);
        if (user) return user;
      } else if (parsed?.appId === appId) {
        const find = () => findHolderAt(kysely, appId, parsed.uid, hash(appId, parsed.uid), token.issuedAt);
        let holder = await find();
        while (holder === 'unused') {
          await insertNames(appId, [parsed.uid]);
          holder = await find();
        }
        if (holder !== 'gone') return holder;
      }
      throw new ImidError('token_revoked', 'The user this token was issued for is gone.');
    },

    /**
     * Registers a userId, with a fresh imId unless it has one. `adopt` says what to do where it is in use as a uid:
     * true takes that user over, false refuses; `{uid}` takes that other user over and gives it this name.
     * Throws `scheme_disabled`, `conflict`.
     */
    async register(app: AppSchemes, userId: Name, how: boolean | { uid: Name }): Promise<Registered> {
      requireScheme(app, 'registered');
      if (typeof how === 'object' && how.uid !== userId) return adopt(app.id, how.uid, userId);
      const imId = uuidToRegisteredId(makeUuid(clock.now()));
      const user = await registerName(kysely, app.id, userId, imId, how !== false);
      if (!user)
        throw new ImidError('conflict', 'This userId is in use as a uid, and adopt is false.', {
          errors: [{ in: 'body', pointer: '#/userId', detail: 'is in use as a uid' }],
        });
      return { user, created: user.imId === imId };
    },

    /** Gives a user another name; its former one is free when this resolves. Throws `not_found`, `conflict`. */
    async rename(app: AppSchemes, user: Found, name: Name, field: 'uid' | 'userId'): Promise<User> {
      const row = user.id === undefined ? await this.resolve(app, { uid: user.name }) : user;
      if (row.name === name) return row;
      try {
        const renamed = await kysely
          .transaction()
          .execute((trx) => renameUser(trx, app.id, row.id, name, hash, clock.now()));
        if (!renamed) throw nobody();
        await clock.reach(renamed.instant);
        return renamed.user;
      } catch (error) {
        if (violatedUnique(error) === 'identity__name') throw taken(field);
        throw error;
      }
    },

    /** Erases a user; its name is free, and its tokens are over, when this resolves. Throws `not_found`. */
    async erase(app: AppSchemes, user: Found): Promise<{ id: number }> {
      // One that has no row yet gets it first, so that what was issued for its uid until now is over as well.
      const row = user.id === undefined ? await this.resolve(app, { uid: user.name }) : user;
      const instant = await kysely.transaction().execute((trx) => eraseUser(trx, app.id, row.id, hash, clock.now()));
      if (!instant) throw nobody();
      await clock.reach(instant);
      return { id: row.id };
    },

    list: (appId: AppId, afterId: number, limit: number): Promise<User[]> => findUsers(kysely, appId, afterId, limit),

    formerHolders: (appId: AppId, name: Name) => findFormerHolders(kysely, appId, hash(appId, name)),

    count: (appId: AppId) => countUsers(kysely, appId),
  };
}

/** A composed user that has no row yet; everybody else who isn't there is nobody. */
function ghost(target: Target): Found | ImidError {
  if (target.by === 'imId' || target.registeredOnly) return nobody();
  return { id: undefined, name: target.name, imId: undefined, createdAt: undefined };
}

function taken(field: 'uid' | 'userId'): ImidError {
  return new ImidError('conflict', `Somebody has this ${field} already.`, {
    errors: [{ in: 'body', pointer: `#/${field}`, detail: 'is taken' }],
  });
}

function attempt<T>(read: () => T): T | ImidError {
  try {
    return read();
  } catch (error) {
    if (error instanceof ImidError) return error;
    throw error;
  }
}
