// Who is who: from addresses and tokens to users, and the acts that change names: register, adopt, rename, erase.
// Invariant: every act is decided by the database; what is kept here in memory is only ever a hint.

import { createHmac } from 'node:crypto';
import { ImidError } from '../errors.ts';
import {
  makeUuid,
  parseImId,
  uuidToRegisteredId,
  type AppId,
  type ImId,
  type Name,
  type RegisteredId,
} from '../ids.ts';
import { isDanglingReference, violatedUnique } from '../store/constraints.ts';
import type { Database } from '../store/database.ts';
import {
  eraseUser,
  findFormerHolders,
  findHolderAt,
  findHolderOfImId,
  renameUser,
  type NameHash,
} from '../store/former_names.ts';
import { transact } from '../store/transact.ts';
import {
  countUsers,
  findUsers,
  findUsersByImId,
  findUsersByName,
  insertUsers,
  markRegistered,
  registerNames,
  streamRegisteredUsers,
  type User,
} from '../store/identities.ts';
import { nobody, readAddress, requireScheme, type Address, type AppSchemes, type Target } from './schemes.ts';

export type { User } from '../store/identities.ts';

/** What a look-up finds: a user that has a row, or a composed one that needs none yet. */
export type Found =
  | User
  | { readonly id: undefined; readonly name: Name; readonly imId: undefined; readonly createdAt: undefined };

/** What registering did: made a new user, took over one that was composed, or found it registered. */
export interface Registered {
  user: User & { readonly imId: RegisteredId };
  status: 'created' | 'adopted' | 'existing';
}

export interface Registration {
  userId: Name;
  /** What to do where the userId is in use as a uid: take that user over, or refuse; `{uid}` takes that one over. */
  adopt: boolean | { uid: Name };
  /** Brought along from elsewhere; else a fresh one is minted. */
  imId?: RegisteredId | undefined;
  createdAt?: Date | undefined;
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

  const mint = (): RegisteredId => uuidToRegisteredId(makeUuid(clock.now()));

  /** Registers many, each name once, none with another's name to adopt: all in one statement, or one by one. */
  async function registerAll(
    appId: AppId,
    wanted: readonly Registration[],
  ): Promise<(Registered | ImidError)[]> {
    const changed = await registerNames(
      kysely,
      appId,
      wanted.map(({ userId, adopt, imId = mint(), createdAt }) => ({
        name: userId,
        imId,
        adopt: adopt !== false,
        createdAt,
      })),
    ).catch(async (error: unknown) => {
      if (violatedUnique(error) !== 'identity__im_id') throw error;
      return wanted.length === 1 ? undefined : [];
    });
    if (!changed) return [imIdTaken()];
    const byName = new Map(
      changed.map(({ user, isNew }) => [
        user.name,
        { user, status: isNew ? 'created' : 'adopted' } as Registered,
      ]),
    );
    const rest = wanted.filter(({ userId }) => !byName.has(userId));
    const holders = new Map<Name, User>();
    if (rest.length > 0)
      for (const user of await findUsersByName(
        kysely,
        appId,
        rest.map(({ userId }) => userId),
      ))
        holders.set(user.name, user);
    const results: (Registered | ImidError)[] = [];
    for (const registration of wanted) {
      const done = byName.get(registration.userId) ?? judge(registration, holders.get(registration.userId));
      // Nobody has the name, so it was given up just now, or another line of the statement was in the way.
      results.push(done ?? (await registerAll(appId, [registration]))[0]!);
    }
    return results;
  }

  /** What to answer for a name that registering left as it was; undefined when that isn't why. */
  function judge(
    { adopt, imId }: Registration,
    holder: User | undefined,
  ): Registered | ImidError | undefined {
    if (!holder) return undefined;
    if (holder.imId === undefined)
      return adopt === false
        ? new ImidError('conflict', 'This userId is in use as a uid, and adopt is false.', {
            errors: [{ in: 'body', pointer: '#/userId', detail: 'is in use as a uid' }],
          })
        : undefined;
    if (imId !== undefined && imId !== holder.imId)
      return new ImidError('conflict', 'This userId is registered with another imId.');
    return { user: { ...holder, imId: holder.imId }, status: 'existing' };
  }

  /** Takes the user of uid `from`, not registered, and gives it the name `to` and an imId. */
  async function adoptAs(appId: AppId, from: Name, to: Name, imId: RegisteredId): Promise<Registered> {
    for (;;) {
      const [holder] = await findUsersByName(kysely, appId, [to]);
      if (holder) {
        const formers = await findFormerHolders(kysely, appId, hash(appId, from));
        if (holder.imId !== undefined && formers.some((former) => former.user.id === holder.id))
          return { user: { ...holder, imId: holder.imId }, status: 'existing' };
        throw taken('userId');
      }
      await insertNames(appId, [from]);
      const [adopted] = await findUsersByName(kysely, appId, [from]);
      if (!adopted) continue;
      if (adopted.imId !== undefined)
        throw new ImidError('conflict', 'The user to adopt is registered already; rename it instead.', {
          errors: [{ in: 'body', pointer: '#/adopt/uid', detail: 'is the userId of a registered user' }],
        });
      try {
        const renamed = await transact(kysely, async (trx) => {
          const marked = await markRegistered(trx, appId, adopted.id, imId);
          return marked ? renameUser(trx, appId, adopted.id, to, hash, clock.now()) : undefined;
        });
        if (!renamed) continue; // somebody else registered or erased it just now
        await clock.reach(renamed.instant);
        return { user: { ...renamed.user, imId }, status: 'adopted' };
      } catch (error) {
        const violated = violatedUnique(error);
        if (violated === 'identity__im_id') throw imIdTaken();
        if (violated !== 'identity__name') throw error;
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
        const user = await findHolderOfImId(
          kysely,
          appId,
          parsed.imId,
          hash(appId, parsed.imId),
          token.issuedAt,
        );
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

    /** Registers a userId, with a fresh imId unless it has one. Throws `scheme_disabled`, `conflict`. */
    async register(app: AppSchemes, registration: Registration): Promise<Registered> {
      const [registered] = await this.registerMany(app, [registration]);
      if (registered instanceof ImidError) throw registered;
      return registered!;
    },

    /**
     * Registers many, in order: each comes to a result of its own, and one that fails stops no other. Nothing is
     * ever overwritten, so that the same again ends in the same state. Throws `scheme_disabled`.
     */
    async registerMany(
      app: AppSchemes,
      wanted: readonly Registration[],
    ): Promise<(Registered | ImidError)[]> {
      requireScheme(app, 'registered');
      const results: (Registered | ImidError)[] = [];
      let batch = new Map<Name, Registration>();
      const flush = async (): Promise<void> => {
        if (batch.size > 0) results.push(...(await registerAll(app.id, [...batch.values()])));
        batch = new Map();
      };
      for (const registration of wanted) {
        const { userId, adopt: how, imId = mint() } = registration;
        if (typeof how === 'object' && how.uid !== userId) {
          await flush();
          results.push(await adoptAs(app.id, how.uid, userId, imId).catch(asResult));
        } else {
          if (batch.has(userId)) await flush();
          batch.set(userId, registration);
        }
      }
      await flush();
      return results;
    },

    /** Gives a user another name; its former one is free when this resolves. Throws `not_found`, `conflict`. */
    async rename(app: AppSchemes, user: Found, name: Name, field: 'uid' | 'userId'): Promise<User> {
      const row = user.id === undefined ? await this.resolve(app, { uid: user.name }) : user;
      if (row.name === name) return row;
      try {
        const renamed = await transact(kysely, (trx) =>
          renameUser(trx, app.id, row.id, name, hash, clock.now()),
        );
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
      const instant = await transact(kysely, (trx) => eraseUser(trx, app.id, row.id, hash, clock.now()));
      if (!instant) throw nobody();
      await clock.reach(instant);
      return { id: row.id };
    },

    list: (appId: AppId, afterId: number, limit: number): Promise<User[]> =>
      findUsers(kysely, appId, afterId, limit),

    /** Every registered user, as they all were at one moment, in portions. */
    exportAll: (appId: AppId): AsyncGenerator<User[]> => streamRegisteredUsers(kysely, appId),

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

function imIdTaken(): ImidError {
  return new ImidError('conflict', 'Another user has this imId.');
}

function asResult(error: unknown): ImidError {
  if (error instanceof ImidError) return error;
  throw error;
}

function attempt<T>(read: () => T): T | ImidError {
  try {
    return read();
  } catch (error) {
    return asResult(error);
  }
}
