// Registering, rehearsed: what each registration would come to, in order, as those before it would have left things.
// Nothing is changed. It decides as the registry does; the conflicts are the same ones.

import type { ImidError } from '../errors.ts';
import type { Name, RegisteredId } from '../ids.ts';
import type { Database } from '../store/database.ts';
import { findFormerIds, type Hashes } from '../store/former_names.ts';
import { openStaging, type Holder, type StagedName } from '../store/staging.ts';
import { imIdTaken, otherImId, registeredAlready, taken, usedAsUid } from './conflicts.ts';
import { adoptedUid, type Registration } from './registrations.ts';
import { requireScheme, type AppSchemes } from './schemes.ts';

/** What registering would do, with the user that it would take over. */
export type Rehearsed =
  | { status: 'created' | 'existing' }
  | { status: 'adopted'; uid: Name; user: Pick<Holder, 'createdAt' | 'lastSeenAt' | 'messages'> };

export interface Rehearsal {
  /** Results in order; can be called again and again, for one long list. */
  registerMany(wanted: readonly Registration[]): Promise<(Rehearsed | ImidError)[]>;
  close(): Promise<void>;
}

/** Begins a rehearsal, on a connection of its own. Throws `scheme_disabled`. */
export type BeginRehearsal = (app: AppSchemes) => Promise<Rehearsal>;

/** What the registrations find, and what those before them would have made of it. */
interface Scene {
  names: Map<Name, StagedName>;
  changed: Map<Name, StagedName>;
  /** Of those that registrations bring along, the ones that are somebody's. */
  imIds: Set<RegisteredId>;
  /** Who gave the uids up that are to be adopted, before all this. */
  formerIds: Map<Name, number[]>;
  makeUser: () => Holder;
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
    const makeUser = (): Holder => ({ id: (lastId -= 1), isRegistered: false, messages: 0 });

    async function setScene(wanted: readonly Registration[]): Promise<Scene> {
      const uids = [...new Set(wanted.flatMap((each) => adoptedUid(each) ?? []))];
      const formerIds = uids.length > 0 ? await findFormerIds(database.pool, app.id, uids, hashes) : [];
      const userIds = wanted.map(({ userId }) => userId);
      const imIds = wanted.flatMap(({ imId }) => imId ?? []);
      return {
        names: await staging.findNames(app.id, [...new Set([...userIds, ...uids])]),
        changed: new Map(),
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
        if (scene.changed.size > 0) await staging.putNames(scene.changed);
        return results;
      },
    };
  };
}

function register(scene: Scene, { userId, adopt, imId }: Registration): Rehearsed | ImidError {
  const { holder } = scene.names.get(userId)!;
  if (holder?.isRegistered)
    return imId !== undefined && imId !== holder.imId ? otherImId() : { status: 'existing' };
  if (holder && adopt === false) return usedAsUid();
  if (imId !== undefined && scene.imIds.has(imId)) return imIdTaken();
  mark(scene, userId, holder ?? scene.makeUser(), imId);
  return holder ? { status: 'adopted', uid: userId, user: holder } : { status: 'created' };
}

function adoptAs(scene: Scene, uid: Name, { userId, imId }: Registration): Rehearsed | ImidError {
  const { holder } = scene.names.get(userId)!;
  const from = scene.names.get(uid)!;
  if (holder) {
    const isAdopted = [...from.formerIds, ...scene.formerIds.get(uid)!].includes(holder.id);
    return holder.isRegistered && isAdopted ? { status: 'existing' } : taken(['#/userId']);
  }
  if (from.holder?.isRegistered) return registeredAlready();
  const user = from.holder ?? scene.makeUser();
  if (imId !== undefined && scene.imIds.has(imId)) {
    change(scene, uid, { ...from, holder: user });
    return imIdTaken();
  }
  change(scene, uid, { holder: undefined, formerIds: [...from.formerIds, user.id] });
  mark(scene, userId, user, imId);
  return { status: 'adopted', uid, user };
}

/** Gives a name to a user, registered. */
function mark(scene: Scene, name: Name, user: Holder, imId: RegisteredId | undefined): void {
  if (imId !== undefined) scene.imIds.add(imId);
  change(scene, name, { ...scene.names.get(name)!, holder: { ...user, isRegistered: true, imId } });
}

function change(scene: Scene, name: Name, staged: StagedName): void {
  scene.names.set(name, staged);
  scene.changed.set(name, staged);
}
