// Registering, rehearsed: what each registration would come to, in order, as those before it would have left things.
// Nothing is changed. It decides as the registry does; the conflicts are the same ones.

import type { ImidError } from '../errors.ts';
import type { Name, RegisteredId } from '../ids.ts';
import type { Database } from '../store/database.ts';
import { findFormerIds, type Hashes } from '../store/former_names.ts';
import { openStaging, type Staged, type StagedName, type StagedUser } from '../store/staging.ts';
import { imIdTaken, otherImId, registeredAlready, taken, usedAsUid } from './conflicts.ts';
import { adoptedUid, type Registration } from './registrations.ts';
import { requireScheme, type AppSchemes } from './schemes.ts';

/** What registering would do, with the user that it would take over. */
export type Rehearsed =
  | { status: 'created' | 'existing' }
  | { status: 'adopted'; uid: Name; user: Pick<StagedUser, 'createdAt' | 'lastSeenAt' | 'messages'> };

export interface Rehearsal {
  /** Results in order; can be called again and again, for one long list. */
  registerMany(wanted: readonly Registration[]): Promise<(Rehearsed | ImidError)[]>;
  close(): Promise<void>;
}

/** Begins a rehearsal, on a connection of its own. Throws `scheme_disabled`. */
export type BeginRehearsal = (app: AppSchemes) => Promise<Rehearsal>;

/** What the registrations find, and what those before them would have made of it. */
interface Scene extends Staged {
  changed: Staged;
  /** Of those that registrations bring along, the ones that are somebody's. */
  imIds: Set<RegisteredId>;
  /** Who gave the uids up that are to be adopted, before all this. */
  formerIds: Map<Name, number[]>;
  makeUser: (name: Name) => StagedUser;
}

export function createRehearsals({
  database,
  hashes,
}: {
  database: Database;
  hashes: Hashes;
}): BeginRehearsal {
  return async (app) => {
    requireScheme(app, 'registered');
    const staging = await openStaging(await database.openLongConnection());
    let lastId = 0;
    const makeUser = (name: Name): StagedUser => ({
      id: (lastId -= 1),
      name,
      isRegistered: false,
      messages: 0,
    });

    /** Names and whom they stand for, with what those are called themselves. */
    async function findStaged(names: ReadonlySet<Name>): Promise<Staged> {
      const staged = await staging.findNames(app.id, [...names]);
      const others = [...staged.users.values()].map(({ name }) => name).filter((name) => !names.has(name));
      if (others.length === 0) return staged;
      const more = await staging.findNames(app.id, others);
      return { users: staged.users, names: new Map([...staged.names, ...more.names]) };
    }

    async function setScene(wanted: readonly Registration[]): Promise<Scene> {
      const uids = [...new Set(wanted.flatMap((each) => adoptedUid(each) ?? []))];
      const formerIds = uids.length > 0 ? await findFormerIds(database.pool, app.id, uids, hashes) : [];
      const userIds = wanted.map(({ userId }) => userId);
      const imIds = wanted.flatMap(({ imId }) => imId ?? []);
      return {
        ...(await findStaged(new Set([...userIds, ...uids]))),
        changed: { names: new Map(), users: new Map() },
        imIds: imIds.length > 0 ? await staging.findImIds(app.id, imIds) : new Set(),
        formerIds: new Map(uids.map((uid, i) => [uid, formerIds[i]!])),
        makeUser,
      };
    }

    return {
      close: staging.close,
      async registerMany(wanted) {
        const scene = await setScene(wanted);
        const results = wanted.map((registration) => {
          const uid = adoptedUid(registration);
          return uid === undefined ? register(scene, registration) : adoptAs(scene, uid, registration);
        });
        if (scene.changed.users.size > 0) await staging.put(scene.changed);
        return results;
      },
    };
  };
}

function register(scene: Scene, { userId, adopt, imId }: Registration): Rehearsed | ImidError {
  const holder = holderOf(scene, userId);
  if (holder?.isRegistered)
    return imId !== undefined && imId !== holder.imId ? otherImId() : { status: 'existing' };
  if (holder && adopt === false) return usedAsUid();
  if (imId !== undefined && scene.imIds.has(imId)) return imIdTaken();
  mark(scene, holder ?? scene.makeUser(userId), imId);
  return holder ? { status: 'adopted', uid: userId, user: holder } : { status: 'created' };
}

function adoptAs(scene: Scene, uid: Name, { userId, imId }: Registration): Rehearsed | ImidError {
  const holder = holderOf(scene, userId);
  if (holder) {
    const formerIds = [...scene.names.get(uid)!.formerIds, ...scene.formerIds.get(uid)!];
    return holder.isRegistered && formerIds.includes(holder.id)
      ? { status: 'existing' }
      : taken(['#/userId']);
  }
  const user = holderOf(scene, uid) ?? scene.makeUser(uid);
  if (user.isRegistered) return registeredAlready();
  if (imId !== undefined && scene.imIds.has(imId)) {
    put(scene, user);
    return imIdTaken();
  }
  const { formerIds } = scene.names.get(user.name)!;
  changeName(scene, user.name, { userId: undefined, formerIds: [...formerIds, user.id] });
  mark(scene, { ...user, name: userId }, imId);
  return { status: 'adopted', uid, user };
}

function holderOf(scene: Scene, name: Name): StagedUser | undefined {
  const { userId } = scene.names.get(name)!;
  return userId === undefined ? undefined : scene.users.get(userId);
}

function mark(scene: Scene, user: StagedUser, imId: RegisteredId | undefined): void {
  if (imId !== undefined) scene.imIds.add(imId);
  put(scene, { ...user, isRegistered: true, imId });
}

function put(scene: Scene, user: StagedUser): void {
  scene.users.set(user.id, user);
  scene.changed.users.set(user.id, user);
  changeName(scene, user.name, { ...scene.names.get(user.name)!, userId: user.id });
}

function changeName(scene: Scene, name: Name, staged: StagedName): void {
  scene.names.set(name, staged);
  scene.changed.names.set(name, staged);
}
