// Who is who: from addresses and tokens to users.
// Invariant: what is answered is what the database says; a composed user needs no row to be one.

import { ImidError } from '../errors.ts';
import { parseImId, type AppId, type ImId, type Name } from '../ids.ts';
import { isDanglingReference } from '../store/constraints.ts';
import type { Database } from '../store/database.ts';
import { findFormerHolders, findHolderAt, findHolderOfImId, type Hashes } from '../store/former_names.ts';
import {
  countUsers,
  findUsers,
  findUsersByImId,
  findUsersByName,
  insertUsers,
  streamRegisteredUsers,
  type User,
} from '../store/identities.ts';
import { rerun } from '../store/transact.ts';
import { nobody, readAddress, type Address, type AppSchemes, type Target } from './schemes.ts';

export type { User } from '../store/identities.ts';

/** What a look-up finds: a user that has a row, or a composed one that needs none yet. */
export type Found =
  | User
  | { readonly id: undefined; readonly name: Name; readonly imId: undefined; readonly createdAt: undefined };

/** What a token says about whom it acts for. */
export interface TokenSubject {
  sub: ImId;
  issuedAt: Date;
}

export type Directory = ReturnType<typeof createDirectory>;

export function createDirectory({ database, hashes }: { database: Database; hashes: Hashes }) {
  const { kysely } = database;

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

  /** Gives names that have no row one. Throws `not_found` when the app is gone. */
  async function insertNames(appId: AppId, names: readonly Name[]): Promise<void> {
    try {
      await rerun(() => insertUsers(kysely, appId, [...new Set(names)]));
    } catch (error) {
      if (isDanglingReference(error)) throw new ImidError('not_found', 'There is no such app.');
      throw error;
    }
  }

  return {
    lookUp,
    claim,
    insertNames,

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
        const user = await findHolderOfImId(
          kysely,
          appId,
          parsed.imId,
          hashes.ofImId(appId, parsed.imId),
          token.issuedAt,
        );
        if (user) return user;
      } else if (parsed?.appId === appId) {
        const find = () =>
          findHolderAt(kysely, appId, parsed.uid, hashes.ofName(appId, parsed.uid), token.issuedAt);
        let holder = await find();
        while (holder === 'unused') {
          await insertNames(appId, [parsed.uid]);
          holder = await find();
        }
        if (holder !== 'gone') return holder;
      }
      throw new ImidError('token_revoked', 'The user this token was issued for is gone.');
    },

    list: (appId: AppId, afterId: number, limit: number): Promise<User[]> =>
      findUsers(kysely, appId, afterId, limit),

    /** Every registered user, as they all were at one moment, in portions. */
    async *exportAll(appId: AppId): AsyncGenerator<User[]> {
      yield* streamRegisteredUsers(await database.openLongConnection(), appId);
    },

    formerHolders: (appId: AppId, name: Name) => findFormerHolders(kysely, appId, hashes.ofName(appId, name)),

    count: (appId: AppId) => countUsers(kysely, appId),
  };
}

/** A composed user that has no row yet; everybody else who isn't there is nobody. */
function ghost(target: Target): Found | ImidError {
  if (target.by === 'imId' || target.registeredOnly) return nobody();
  return { id: undefined, name: target.name, imId: undefined, createdAt: undefined };
}

function attempt<T>(read: () => T): T | ImidError {
  try {
    return read();
  } catch (error) {
    if (error instanceof ImidError) return error;
    throw error;
  }
}
