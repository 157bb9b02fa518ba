// Who is who: from addresses and tokens to users.
// Invariant: what is answered is what the database says; a composed user needs no row to be one.

import { ImidError } from '../errors.ts';
import { parseImId, type AppId, type ImId, type Name } from '../ids.ts';
import { coalesce } from '../store/coalesced.ts';
import { isDanglingReference } from '../store/constraints.ts';
import type { Database } from '../store/database.ts';
import {
  findFormerHolders,
  findHoldersAt,
  findHoldersOfImIds,
  findLastHolders,
  type Hashes,
  type Holder,
  type HolderAsk,
  type ImIdAsk,
} from '../store/former_names.ts';
import { findUser, insertUsers, type DatedUser, type User } from '../store/identities.ts';
import {
  countUsers,
  findUsers,
  streamRegisteredUsers,
  type Filter,
  type PageStart,
} from '../store/listing.ts';
import { rerun } from '../store/transact.ts';
import type { Lookups } from './lookups.ts';
import { nobody, readAddress, SYSTEM_NAME, type Address, type AppSchemes, type Target } from './schemes.ts';

export type { DatedUser, User } from '../store/identities.ts';
export type { Filter } from '../store/listing.ts';

/** What a look-up finds: a user that has a row, or a composed one that needs none yet. */
export type Found = User | { readonly id: undefined; readonly name: Name; readonly imId: undefined };

/** What a token says about whom it acts for, and on which device it is used. */
export interface TokenSubject {
  sub: ImId;
  issuedAt: Date;
  deviceId: string | undefined;
}

const HOLDER_QUERIES = { maxActs: 2, maxAsks: 200 };

export type Directory = ReturnType<typeof createDirectory>;

export interface DirectoryOptions {
  database: Database;
  lookups: Lookups;
  hashes: Hashes;
}

export function createDirectory({ database, lookups, hashes }: DirectoryOptions) {
  const { kysely, pool } = database;
  // Many connect at once when a process has ended.
  const findHolderAt = coalesce(
    (asks: readonly HolderAsk[]) => findHoldersAt(pool, asks, hashes),
    HOLDER_QUERIES,
  );
  const findHolderOfImId = coalesce(
    (asks: readonly ImIdAsk[]) => findHoldersOfImIds(pool, asks, hashes),
    HOLDER_QUERIES,
  );

  /** Reads addresses and finds their users; each answer stands at its address's place, an error in its own. */
  async function findAll(
    app: AppSchemes,
    addresses: readonly Address[],
    find: Lookups['find'] = lookups.find,
  ): Promise<(Found | ImidError)[]> {
    const read = addresses.map((address) => attempt(() => readAddress(app, address)));
    const targets = read.filter((target): target is Target => !(target instanceof ImidError));
    const users = await find(app.id, targets);
    let next = 0;
    return read.map((target) => (target instanceof ImidError ? target : (users[next++] ?? ghost(target))));
  }

  /**
   * Looks addresses up, by what was true within the last second. A composed user that nobody has used yet is found as
   * well, since any uid is a user.
   */
  async function lookUp(app: AppSchemes, addresses: readonly Address[]): Promise<(Found | ImidError)[]> {
    if (!app.schemes.includes('registered') && !app.hasAliases) {
      // An address says all by itself.
      return addresses.map((address) => attempt(() => ghost(readAddress(app, address))));
    }
    return findAll(app, addresses, lookups.findRecent);
  }

  /** As `lookUp`, and where nobody has a name now, finds the user who had it last. */
  async function lookUpFormer(
    app: AppSchemes,
    addresses: readonly Address[],
  ): Promise<(ImidError | (Found & { hadName?: true }))[]> {
    const found = await findAll(app, addresses, lookups.findRecent);
    const names = addresses.map((address, i) => (isNobody(found[i]!) ? nameOf(app, address) : undefined));
    const wanted = [...new Set(names.filter((name) => name !== undefined))];
    const users = await findLastHolders(pool, app.id, wanted, hashes);
    const byName = new Map(wanted.map((name, i) => [name, users[i]]));
    return found.map((user, i) => {
      const name = names[i];
      const former = name === undefined ? undefined : byName.get(name);
      if (!former || (addresses[i]!.userId !== undefined && former.imId === undefined)) return user;
      return { ...former, hadName: true };
    });
  }

  /** Finds the users of addresses, giving composed ones that nobody has used yet their row. */
  async function claim(app: AppSchemes, addresses: readonly Address[]): Promise<(User | ImidError)[]> {
    for (;;) {
      const found = await findAll(app, addresses);
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
    lookUpFormer,
    claim,
    insertNames,

    /** As `lookUp`, always with the rows that there are. */
    lookUpRows: (app: AppSchemes, addresses: readonly Address[]): Promise<(Found | ImidError)[]> =>
      findAll(app, addresses),

    /** As `lookUp`, of one address. Throws `not_found`, `scheme_disabled`. */
    async find(app: AppSchemes, address: Address): Promise<Found> {
      const [found] = await findAll(app, [address]);
      if (found instanceof ImidError) throw found;
      return found!;
    },

    /** As `claim`, of one address. Throws `not_found`, `scheme_disabled`. */
    async resolve(app: AppSchemes, address: Address): Promise<User> {
      const [user] = await claim(app, [address]);
      if (user instanceof ImidError) throw user;
      return user!;
    },

    /** The user in whose name the app itself sends. Throws `not_found` when the app is gone. */
    async resolveSystem(appId: AppId): Promise<User> {
      for (;;) {
        const [user] = await lookups.find(appId, [{ by: 'name', name: SYSTEM_NAME, registeredOnly: false }]);
        if (user) return user;
        await insertNames(appId, [SYSTEM_NAME]);
      }
    },

    /**
     * The user that a token acts for: whoever held its name when it was issued, whatever that user is called now.
     * Throws `token_revoked` when that user is gone, when nobody held the name and somebody took it since, and when what
     * the user, or the device, was issued at that time was revoked.
     */
    async resolveHolder(appId: AppId, { sub, issuedAt: instant, deviceId }: TokenSubject): Promise<User> {
      const parsed = parseImId(sub);
      let holder: Holder = 'gone';
      if (parsed?.scheme === 'registered') {
        holder = await findHolderOfImId({ appId, imId: parsed.imId, instant, deviceId });
      } else if (parsed?.appId === appId) {
        const find = () => findHolderAt({ appId, name: parsed.uid, instant, deviceId });
        holder = await find();
        while (holder === 'unused') {
          await insertNames(appId, [parsed.uid]);
          holder = await find();
        }
      }
      if (holder === 'revoked') throw new ImidError('token_revoked', 'The token was revoked.');
      if (typeof holder === 'string')
        throw new ImidError('token_revoked', 'The user this token was issued for is gone.');
      return holder;
    },

    /** The user of a row, also if it was merged into another one since; undefined once it is gone. */
    findRow: (appId: AppId, id: number): Promise<DatedUser | undefined> => findUser(pool, appId, id),

    /** A user with the time its row was made, if it has one. */
    async date(appId: AppId, user: Found): Promise<Found & { createdAt?: Date }> {
      return (user.id !== undefined && (await findUser(pool, appId, user.id))) || user;
    },

    list: (appId: AppId, filter: Filter, after: PageStart, limit: number): Promise<DatedUser[]> =>
      findUsers(kysely, appId, filter, after, limit),

    /** Every registered user, as they all were at one moment, in portions. */
    async *exportAll(appId: AppId): AsyncGenerator<DatedUser[]> {
      yield* streamRegisteredUsers(await database.openLongConnection(), appId);
    },

    formerHolders: (appId: AppId, name: Name) => findFormerHolders(kysely, appId, hashes.ofName(appId, name)),

    count: (appId: AppId) => countUsers(kysely, appId),
  };
}

function isNobody(user: Found | ImidError): boolean {
  return user instanceof ImidError ? user.code === 'not_found' : user.id === undefined;
}

/** The name that an address holds, if it is one of this app. */
function nameOf(app: AppSchemes, address: Address): Name | undefined {
  const target = attempt(() => readAddress(app, address));
  return target instanceof ImidError || target.by === 'imId' ? undefined : target.name;
}

/** A composed user that has no row yet; everybody else who isn't there is nobody. */
function ghost(target: Target): Found | ImidError {
  if (target.by === 'imId' || target.registeredOnly) return nobody();
  return { id: undefined, name: target.name, imId: undefined };
}

function attempt<T>(read: () => T): T | ImidError {
  try {
    return read();
  } catch (error) {
    if (error instanceof ImidError) return error;
    throw error;
  }
}
