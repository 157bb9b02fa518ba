// The acts that change who is who: register, adopt, rename, erase.
// Invariant: every act is decided by the database, by its unique keys and row locks, whatever races.

import { ImidError } from '../errors.ts';
import { makeUuid, uuidToRegisteredId, type AppId, type Name, type RegisteredId } from '../ids.ts';
import { isDanglingReference, violatedUnique } from '../store/constraints.ts';
import type { Database } from '../store/database.ts';
import { insertAuditEvents } from '../store/audit.ts';
import { clearMessages, findErasures } from '../store/erasures.ts';
import type { Hashes } from '../store/former_names.ts';
import {
  findUsersByName,
  isCalled,
  registerNames,
  type NewRegistration,
  type User,
} from '../store/identities.ts';
import { eraseUser, renameUsers, settleNames } from '../store/name_changes.ts';
import { attemptEach, rerun, transact } from '../store/transact.ts';
import { createAdoption } from './adoption.ts';
import { imIdTaken, notAsDemanded, otherImId, taken, usedAsUid } from './conflicts.ts';
import type { Directory, Found } from './directory.ts';
import type { Lookups } from './lookups.ts';
import { toRounds, again, type Registered, type Registration } from './registrations.ts';
import { nobody, requireScheme, type AppSchemes, type Called } from './schemes.ts';

export type Registry = ReturnType<typeof createRegistry>;

export interface Rename {
  user: User;
  name: Name;
  /** Where the name stands in the request. */
  pointer: string;
  /** What the user must be called when it is renamed. */
  from?: Called | undefined;
}

/** A user that is gone, by its row and those that were merged into it. */
export interface Erased {
  id: number;
  rowIds: readonly number[];
}

export interface RegistryOptions {
  database: Database;
  directory: Directory;
  lookups: Lookups;
  hashes: Hashes;
}

export function createRegistry({ database, directory, lookups, hashes }: RegistryOptions) {
  const { kysely, pool, clock } = database;
  const adoption = createAdoption({ database, directory, lookups, hashes });
  const outcomes: Record<Registered['status'] | 'refused', number> = {
    created: 0,
    adopted: 0,
    existing: 0,
    refused: 0,
  };
  const mint = (): RegisteredId => uuidToRegisteredId(makeUuid(clock.now()));

  /**
   * Registers many, each name once, none with another's name to adopt: all in one statement, or, where that runs into
   * an imId that is taken, in halves. Those that are there already are adopted, and that is noted, in a second one.
   */
  async function registerAll(
    appId: AppId,
    wanted: readonly Registration[],
    actor: string,
    adopts = false,
  ): Promise<(Registered | ImidError)[]> {
    if (wanted.length === 0) return [];
    const registrations = wanted.map(({ userId, adopt, imId = mint(), createdAt }) => ({
      name: userId,
      imId,
      adopt: adopts && adopt !== false,
      createdAt,
    }));
    const act = adopts ? adoptNames(appId, registrations, actor) : insertNames(appId, registrations);
    const changed = await act.catch((error: unknown) => {
      if (isDanglingReference(error)) throw new ImidError('not_found', 'There is no such app.');
      if (violatedUnique(error) === 'identity__im_id') return undefined;
      throw error;
    });
    if (!changed) {
      if (wanted.length === 1) return [imIdTaken()];
      const half = Math.ceil(wanted.length / 2);
      const first = await registerAll(appId, wanted.slice(0, half), actor, adopts);
      return [...first, ...(await registerAll(appId, wanted.slice(half), actor, adopts))];
    }
    const byName = new Map(
      changed.map(({ user, isNew }) => [
        user.name,
        { user, createdAt: user.createdAt, status: isNew ? 'created' : 'adopted' } as Registered,
      ]),
    );
    const restNames = wanted.map(({ userId }) => userId).filter((userId) => !byName.has(userId));
    const holders = restNames.length > 0 ? await findUsersByName(pool, appId, restNames) : undefined;
    const results = wanted.map(
      (registration) =>
        byName.get(registration.userId) ?? resultOf(registration, holders?.get(registration.userId)),
    );
    const nameNow = ({ userId }: Registration): Name => holders?.get(userId)?.name ?? userId;
    const isToAdopt = (place: number): boolean =>
      !adopts && results[place] === undefined && nameNow(wanted[place]!) === wanted[place]!.userId;
    const second = [...wanted.keys()].filter(isToAdopt);
    const registered = await registerAll(
      appId,
      second.map((place) => wanted[place]!),
      actor,
      true,
    );
    for (const [i, place] of second.entries()) results[place] = registered[i];
    for (const [place, registration] of wanted.entries()) {
      // Its user was merged into one that has another name; or nobody has the name, so it was given up just now, or another
      // line of the statement was in the way.
      const userId = nameNow(registration);
      results[place] ??= (await registerAll(appId, [{ ...registration, userId }], actor, adopts))[0]!;
    }
    return results as (Registered | ImidError)[];
  }

  const insertNames = (appId: AppId, registrations: readonly NewRegistration[]) =>
    rerun(() => registerNames(kysely, appId, registrations));

  async function adoptNames(appId: AppId, registrations: readonly NewRegistration[], actor: string) {
    const changed = await transact(kysely, async (trx) => {
      const registered = await registerNames(trx, appId, registrations);
      const adopted = registered.filter(({ isNew }) => !isNew).map(({ user }) => user.name);
      await insertAuditEvents(trx, toEvents(appId, adopted, { actor, action: 'identity.adopt' }));
      return registered;
    });
    lookups.forget();
    return changed;
  }

  const toEvents = (appId: AppId, names: readonly Name[], act: { actor: string; action: string }) =>
    names.map((name) => ({ ...act, appId, subjectHash: hashes.ofName(appId, name) }));

  /** What to answer for a name that registering left as it was; undefined when that isn't why. */
  function resultOf(
    { adopt, imId }: Registration,
    holder: User | undefined,
  ): Registered | ImidError | undefined {
    if (!holder) return undefined;
    if (holder.imId === undefined) return adopt === false ? usedAsUid() : undefined;
    if (imId !== undefined && imId !== holder.imId) return otherImId();
    return { user: { ...holder, imId: holder.imId }, status: 'existing' };
  }

  /** The same renames by the rows that the users have now, after one was merged. Throws `not_found`. */
  async function findAgain(app: AppSchemes, renames: readonly Rename[]): Promise<Rename[]> {
    const users = await Promise.all(renames.map(({ user }) => directory.findRow(app.id, user.id)));
    const seen = new Set<number>();
    return renames.map((rename, i) => {
      const user = users[i];
      if (!user) throw nobody();
      if (seen.has(user.id))
        throw new ImidError('conflict', 'Two of these users were merged into one.', {
          errors: [{ in: 'body', pointer: rename.pointer, detail: 'is of a user that stands here already' }],
        });
      seen.add(user.id);
      return { ...rename, user };
    });
  }

  /** Those that want a name which somebody has who isn't renamed along with them. */
  async function findTaken<T extends { user: Pick<Found, 'id'>; name: Name }>(
    app: AppSchemes,
    wanted: readonly T[],
  ): Promise<T[]> {
    const holders = await findUsersByName(
      pool,
      app.id,
      wanted.map(({ name }) => name),
    );
    const moving = new Set(wanted.map(({ user }) => user.id));
    return wanted.filter(({ user, name }) => {
      const holder = holders.get(name);
      if (!holder || holder.id === user.id) return false;
      // One of several names of a user, which only that user itself can take as its own, stays when the user moves.
      return !moving.has(holder.id) || holder.name !== name;
    });
  }

  return {
    /** How many registrations came to what, since the start. */
    outcomes: outcomes as Readonly<typeof outcomes>,

    /** Registers a userId, with a fresh imId unless it has one. Throws `scheme_disabled`, `conflict`. */
    async register(
      app: AppSchemes,
      registration: Registration,
      actor: string,
    ): Promise<Registered & { createdAt: Date }> {
      for (;;) {
        const [registered] = await this.registerMany(app, [registration], actor);
        if (registered instanceof ImidError) throw registered;
        const { user, createdAt = (await directory.findRow(app.id, user.id))?.createdAt } = registered!;
        if (createdAt) return { ...registered!, createdAt };
        // It was erased in between.
      }
    },

    /**
     * Registers many, in order: each comes to a result of its own, and one that fails stops no other. Nothing is
     * ever overwritten, so that the same again ends in the same state. Who is adopted is noted in the audit trail. Throws
     * `scheme_disabled`.
     */
    async registerMany(
      app: AppSchemes,
      wanted: readonly Registration[],
      actor: string,
    ): Promise<(Registered | ImidError)[]> {
      requireScheme(app, 'registered');
      const results: (Registered | ImidError)[] = [];
      for (const { plain, adoptions } of toRounds(wanted, mint)) {
        const registered = await registerAll(
          app.id,
          plain.map(({ registration }) => registration),
          actor,
        );
        for (const [i, { places }] of plain.entries())
          for (const place of places)
            results[place] = place === places[0] ? registered[i]! : again(registered[i]!);
        const adopted = await adoption.adoptAll(
          app.id,
          adoptions.map(({ adoption: each }) => each),
          actor,
        );
        for (const [i, { place }] of adoptions.entries()) results[place] = adopted[i]!;
      }
      for (const result of results) outcomes[result instanceof ImidError ? 'refused' : result.status] += 1;
      return results;
    },

    /**
     * Gives users other names, all or none: they may swap or follow one another. Each rename has its row already.
     * The former names are free when this resolves. Throws `not_found`, `conflict`, naming the fields, and
     * `precondition_failed`.
     */
    async rename(app: AppSchemes, renames: readonly Rename[]): Promise<User[]> {
      if (renames.some(({ user, from }) => from && !isCalled(user, from))) throw notAsDemanded();
      const wanted = renames.filter(({ user, name }) => user.name !== name);
      if (wanted.length === 0) return renames.map(({ user }) => user);
      try {
        const renamed = await transact(kysely, (trx) =>
          renameUsers(
            trx,
            app.id,
            wanted.map(({ user, name, from }) => ({ id: user.id, name, from })),
            hashes,
          ),
        );
        if (!renamed) return await this.rename(app, await findAgain(app, renames));
        lookups.forget();
        await settleNames(kysely, app.id, renamed);
        const byId = new Map(renamed.users.map((user) => [user.id, user]));
        return renames.map(({ user }) => byId.get(user.id) ?? user);
      } catch (error) {
        if (violatedUnique(error) === 'identity__name')
          throw taken((await findTaken(app, wanted)).map(({ pointer }) => pointer));
        throw error;
      }
    },

    findTaken,

    /**
     * Erases a user, and blanks what it sent if that is asked for; its name is free, and its tokens are over, when this
     * resolves. Its messages are to be cleared away then. Throws `not_found`.
     */
    async erase(
      app: AppSchemes,
      user: Found,
      how: { blanksContent: boolean; actor: string },
    ): Promise<Erased> {
      // One that has no row yet gets it first, so that what was issued for its uid until now is over as well.
      const row = user.id === undefined ? await directory.resolve(app, { uid: user.name }) : user;
      const erased = await transact(kysely, async (trx) => {
        const erasure = await eraseUser(trx, app.id, row.id, { hashes, blanksContent: how.blanksContent });
        const act = { appId: app.id, actor: how.actor, action: 'identity.erase' };
        const subjectHashes = erasure?.subjectHashes ?? [];
        await insertAuditEvents(
          trx,
          subjectHashes.map((subjectHash) => ({ ...act, subjectHash })),
        );
        return erasure;
      });
      lookups.forget();
      if (!erased) throw nobody();
      await settleNames(kysely, app.id, erased);
      return { id: row.id, rowIds: erased.erasedIds };
    },

    /** Clears away what is left of an erased user's messages. */
    async clear(app: AppSchemes, { rowIds }: Erased): Promise<void> {
      for (const erased of await findErasures(kysely, { appId: app.id, ids: rowIds }))
        await clearMessages(kysely, erased);
    },

    /** Goes on with erasing where a process that ended left off. */
    clearAll: async (): Promise<void> =>
      attemptEach(await findErasures(kysely), (erased) => clearMessages(kysely, erased)),
  };
}
