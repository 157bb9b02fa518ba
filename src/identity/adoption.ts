// Takes users over who are in use under another uid, registers them and gives them the userId as their name: many at
// once, since each transaction that changes names takes a while to settle.

import type { ImidError } from '../errors.ts';
import type { AppId } from '../ids.ts';
import { insertAuditEvents } from '../store/audit.ts';
import { violatedUnique } from '../store/constraints.ts';
import type { Database, Executor } from '../store/database.ts';
import { findFormerIds, type Hashes } from '../store/former_names.ts';
import { findUsersBy, findUsersByName, markRegistered } from '../store/identities.ts';
import { lockNames, renameUsers, settleNames, type NameChange } from '../store/name_changes.ts';
import { transact } from '../store/transact.ts';
import { imIdTaken, registeredAlready, taken } from './conflicts.ts';
import type { Directory } from './directory.ts';
import type { Lookups } from './lookups.ts';
import type { Adoption, Registered } from './registrations.ts';

export interface AdoptionOptions {
  database: Database;
  directory: Directory;
  lookups: Lookups;
  hashes: Hashes;
}

export function createAdoption({ database, directory, lookups, hashes }: AdoptionOptions) {
  const { kysely, pool } = database;

  /** Adopts those that nothing stands in the way of, in one transaction; the others are left out. */
  async function adoptFree(
    appId: AppId,
    wanted: readonly Adoption[],
    actor: string,
  ): Promise<Map<Adoption, Registered>> {
    const results = new Map<Adoption, Registered>();
    const userIds = wanted.map(({ userId }) => userId);
    const uids = wanted.map(({ uid }) => uid);
    const holders = await findUsersByName(pool, appId, userIds);
    const formerIds = await findFormerIds(pool, appId, uids, hashes);
    for (const [i, adoption] of wanted.entries()) {
      const holder = holders.get(adoption.userId);
      if (holder?.imId !== undefined && formerIds[i]!.includes(holder.id))
        results.set(adoption, { user: { ...holder, imId: holder.imId }, status: 'existing' });
    }
    const free = wanted.filter(({ userId }) => !holders.has(userId));
    if (free.length === 0) return results;
    await directory.insertNames(
      appId,
      free.map(({ uid }) => uid),
    );
    const users = await findUsersByName(
      pool,
      appId,
      free.map(({ uid }) => uid),
    );
    const byRow = new Map<number, Adoption>();
    for (const adoption of free) {
      const user = users.get(adoption.uid);
      if (user && user.imId === undefined && !byRow.has(user.id)) byRow.set(user.id, adoption);
    }
    for (const [adoption, registered] of await adoptRows(appId, [...byRow], actor))
      results.set(adoption, registered);
    return results;
  }

  /** Gives rows their imIds and names; where one of these is somebody's, in halves, to leave only that one out. */
  async function adoptRows(
    appId: AppId,
    rows: readonly (readonly [id: number, adoption: Adoption])[],
    actor: string,
  ): Promise<[Adoption, Registered][]> {
    if (rows.length === 0) return [];
    const byRow = new Map(rows);
    const act = async (trx: Executor): Promise<NameChange | undefined> => {
      const locked = await lockNames(trx, appId, [...byRow.keys()]);
      const adopted = locked
        .filter((row) => byRow.has(row.id) && row.merged_into === null && row.im_id === null)
        .map(({ id }) => ({ id, name: byRow.get(id)!.userId, imId: byRow.get(id)!.imId }));
      if (adopted.length === 0) return undefined;
      await markRegistered(trx, appId, adopted);
      const renamed = await renameUsers(trx, appId, adopted, hashes);
      await insertAuditEvents(
        trx,
        (renamed ? adopted : []).map(({ id }) => ({
          appId,
          actor,
          action: 'identity.adopt',
          subjectHash: hashes.ofName(appId, byRow.get(id)!.uid),
        })),
      );
      return renamed;
    };
    try {
      const renamed = await transact(kysely, act);
      if (!renamed) return [];
      lookups.forget();
      await settleNames(kysely, appId, renamed);
      return renamed.users.map((user) => {
        const adoption = byRow.get(user.id)!;
        const { imId } = adoption;
        return [adoption, { user: { ...user, imId }, createdAt: user.createdAt, status: 'adopted' }];
      });
    } catch (error) {
      if (violatedUnique(error) === undefined) throw error;
      if (rows.length === 1) return [];
      const half = Math.ceil(rows.length / 2);
      const first = await adoptRows(appId, rows.slice(0, half), actor);
      return [...first, ...(await adoptRows(appId, rows.slice(half), actor))];
    }
  }

  async function adoptAlone(
    appId: AppId,
    adoption: Adoption,
    actor: string,
  ): Promise<Registered | ImidError> {
    for (;;) {
      const conflict = await findConflict(appId, adoption);
      if (conflict) return conflict;
      const registered = (await adoptFree(appId, [adoption], actor)).get(adoption);
      if (registered) return registered;
      // Somebody else registered, merged or erased it just now, or took the name.
    }
  }

  async function findConflict(appId: AppId, { uid, userId, imId }: Adoption): Promise<ImidError | undefined> {
    const { byName, byImId } = await findUsersBy(pool, appId, [uid, userId], [imId]);
    const holder = byName.get(userId);
    if (holder) {
      const [formerIds] = await findFormerIds(pool, appId, [uid], hashes);
      return holder.imId !== undefined && formerIds!.includes(holder.id) ? undefined : taken(['#/userId']);
    }
    if (byName.get(uid)?.imId !== undefined) return registeredAlready();
    return byImId.has(imId) ? imIdTaken() : undefined;
  }

  return {
    /** Adopts many, none with a name or imId of another's; each comes to a result of its own. */
    async adoptAll(
      appId: AppId,
      wanted: readonly Adoption[],
      actor: string,
    ): Promise<(Registered | ImidError)[]> {
      if (wanted.length === 0) return [];
      const done = await adoptFree(appId, wanted, actor);
      const results: (Registered | ImidError)[] = [];
      for (const adoption of wanted)
        results.push(done.get(adoption) ?? (await adoptAlone(appId, adoption, actor)));
      return results;
    },
  };
}
