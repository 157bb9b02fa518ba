// Looks users up, many at a time: what is asked for while a query is under way goes with the next one. What was found
// may be remembered for those who can do with an answer that was true within the last second.

import { LRUCache } from 'lru-cache';
import type { AppId } from '../ids.ts';
import type { Database } from '../store/database.ts';
import type { Uses } from '../store/fresh.ts';
import { findUsersBy, type User } from '../store/identities.ts';
import type { Target } from './schemes.ts';

/** So that with the time of the query itself, what another process changed is seen within a second. */
const MAX_AGE_MS = 900;
const MAX_REMEMBERED = 100_000;
/** Longer lists are not remembered: they are read in one go anyway, and would drive out what is asked for often. */
const MAX_REMEMBERED_AT_ONCE = 32;
/** Of one app at a time: while one is waited for, another one's answer is read. */
const MAX_QUERIES = 4;
/** What goes into one query, unless a single list is longer. */
const MAX_TARGETS = 1_000;

interface Waiting {
  targets: readonly Target[];
  resolve: (users: (User | undefined)[]) => void;
  reject: (error: unknown) => void;
}

export type Lookups = ReturnType<typeof createLookups>;

export interface LookupsOptions {
  database: Database;
  /** Told when this process has changed who somebody is. */
  onChange: () => void;
}

export function createLookups({ database: { pool }, onChange }: LookupsOptions) {
  const remembered = new LRUCache<string, User>({
    maxSize: MAX_REMEMBERED, // with a `max` it makes room for all of them at once
    sizeCalculation: () => 1,
    ttl: MAX_AGE_MS,
    ttlResolution: 10,
  });
  /** Counts what this process changed: what was asked before may be out of date, and isn't remembered. */
  let changes = 0;
  const uses: Uses = { hits: 0, misses: 0 };
  const queues = new Map<AppId, { waiting: Waiting[]; queries: number }>();

  function drop(): void {
    changes += 1;
    remembered.clear();
  }

  /** Finds the users of targets as they are now, in one query; undefined where there is none. */
  function find(appId: AppId, targets: readonly Target[]): Promise<(User | undefined)[]> {
    if (targets.length === 0) return Promise.resolve([]);
    const { promise, resolve, reject } = Promise.withResolvers<(User | undefined)[]>();
    let queue = queues.get(appId);
    if (!queue) queues.set(appId, (queue = { waiting: [], queries: 0 }));
    queue.waiting.push({ targets, resolve, reject });
    if (queue.queries < MAX_QUERIES) void query(appId, queue);
    return promise;
  }

  async function query(appId: AppId, queue: { waiting: Waiting[]; queries: number }): Promise<void> {
    queue.queries += 1;
    // What is asked for in the same turn of the event loop goes along.
    await Promise.resolve();
    while (queue.waiting.length > 0) {
      const batch = take(queue.waiting);
      try {
        const read = await readTargets(appId, batch);
        for (const { targets, resolve } of batch) resolve(targets.map(read));
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    queue.queries -= 1;
    if (queue.queries === 0) queues.delete(appId);
  }

  async function readTargets(
    appId: AppId,
    batch: readonly Waiting[],
  ): Promise<(target: Target) => User | undefined> {
    const names = new Set<User['name']>();
    const imIds = new Set<NonNullable<User['imId']>>();
    for (const { targets } of batch)
      for (const target of targets) {
        if (target.by === 'name') names.add(target.name);
        else imIds.add(target.imId);
      }
    const { byName, byImId } = await findUsersBy(pool, appId, [...names], [...imIds]);
    return (target) => {
      if (target.by === 'imId') return byImId.get(target.imId);
      const user = byName.get(target.name);
      return target.registeredOnly && user?.imId === undefined ? undefined : user;
    };
  }

  return {
    uses: uses as Readonly<Uses>,

    find,

    /** As `find`, but an answer may be one that was true within the last second. What this process did is seen at once. */
    async findRecent(appId: AppId, targets: readonly Target[]): Promise<(User | undefined)[]> {
      if (targets.length > MAX_REMEMBERED_AT_ONCE) return find(appId, targets);
      const found = targets.map((target) => remembered.get(keyOf(appId, target)));
      const missing = targets.filter((_, i) => !found[i]);
      uses.hits += targets.length - missing.length;
      uses.misses += missing.length;
      if (missing.length === 0) return found;
      const before = changes;
      const start = performance.now();
      const read = await find(appId, missing);
      let next = 0;
      return found.map((known, i) => {
        if (known) return known;
        const user = read[next++];
        if (user && changes === before) remembered.set(keyOf(appId, targets[i]!), user, { start });
        return user;
      });
    },

    /** To be called when this process has changed who somebody is. */
    forget(): void {
      drop();
      onChange();
    },

    /** To be called when another process has. */
    hear: drop,
  };
}

function take(waiting: Waiting[]): Waiting[] {
  let targets = 0;
  const end = waiting.findIndex((each, i) => (targets += each.targets.length) > MAX_TARGETS && i > 0);
  return waiting.splice(0, end < 0 ? waiting.length : end);
}

function keyOf(appId: AppId, target: Target): string {
  if (target.by === 'imId') return `${appId}/${target.imId}`;
  return `${appId}${target.registeredOnly ? '=' : ':'}${target.name}`;
}
