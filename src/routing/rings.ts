// What processes tell each other: that something has moved, by its id. Who hears it reads Postgres. A ring may get lost,
// and nothing depends on it but how soon something is seen: whatever is told here is found out within a second anyway.

import type { AppId } from '../ids.ts';
import { coalesce } from '../store/coalesced.ts';
import { findHolders } from '../store/connections.ts';
import type { Database } from '../store/database.ts';
import { MAX_NOTE_BYTES, type Bell } from './bell.ts';
import type { Meters } from './meters.ts';

/** What is told, and the ids that come with it. */
export interface Facts {
  /** Rows of users whose inboxes have moved. */
  inbox: number;
  /** Rows of users that were erased, or merged into another one. */
  user: number;
  /** Connections whose device has got another one. */
  replaced: string;
  /** Apps that were changed or deleted. */
  app: AppId;
  /** API keys that were revoked. */
  key: string;
  /** Tokens were revoked, or the signing keys changed; no ids. */
  trust: never;
  /** Processes that are here now. */
  process: string;
  /** Users have other names; no ids. */
  names: never;
  /** Rows of users who block others than before. */
  blocks: number;
  /** Rows of users that were merged into another one. */
  merged: number;
  /** Somebody has read, or is writing: a pair of users. */
  read: string;
  typing: string;
}

export type Listeners = { [K in keyof Facts]: (ids: Facts[K][]) => void };

/** What is told by the rows of users alone. */
type OfUsers = 'inbox' | 'user' | 'blocks';

interface Row {
  appId: AppId;
  id: number;
}

/** Who of an app does something, and the row of the other one, as `Facts` have it. */
export function writePair({ appId, id }: Row, otherId: number): string {
  return `${appId}:${id}:${otherId}`;
}

export function readPair(pair: string): [who: Row, otherId: number] {
  const [appId, id, otherId] = pair.split(':').map(Number) as [AppId, number, number];
  return [{ appId, id }, otherId];
}

export interface RingsOptions {
  database: Database;
  processId: string;
  meters: Pick<Meters, 'rang' | 'heard'>;
  log: (message: string, error: unknown) => void;
}

export type Rings = ReturnType<typeof createRings>;

/** Ids in a note, at most: a UUID with its quotes and comma is 39 bytes. */
const MAX_IDS = Math.floor((MAX_NOTE_BYTES - 100) / 39);

export function createRings({ database: { pool, clock }, processId, meters, log }: RingsOptions) {
  let bell: Bell | undefined;
  let listeners: Listeners | undefined;
  let others: ReadonlySet<string> = new Set();

  function tell<K extends keyof Facts>(to: string, fact: K, ids: readonly Facts[K][]): void {
    const at = clock.now().getTime();
    let from = 0;
    do {
      const note = JSON.stringify({ at, fact, ids: ids.slice(from, from + MAX_IDS) });
      bell?.ring([{ processId: to, note }]);
      meters.rang(fact);
      from += MAX_IDS;
    } while (from < ids.length);
  }

  const tellHolders = coalesce(
    async (asked: readonly { fact: OfUsers; rows: Row[] }[]) => {
      for (const fact of ['inbox', 'user', 'blocks'] as const) {
        const rows = new Map(
          asked.flatMap((ask) => (ask.fact === fact ? ask.rows : [])).map((row) => [row.id, row]),
        );
        if (rows.size === 0) continue;
        const holders = await findHolders(pool, processId, [...rows.values()]);
        for (const [holder, held] of Map.groupBy(holders, (each) => each.processId))
          tell(
            holder,
            fact,
            held.map((each) => each.identityId),
          );
      }
      return asked.map(() => undefined);
    },
    { maxActs: 1, maxAsks: 1_000 },
  );

  return {
    /** Tells one process. */
    tell,

    /** Tells every other process. */
    tellAll<K extends keyof Facts>(fact: K, ids: readonly Facts[K][]): void {
      for (const other of others) tell(other, fact, ids);
    },

    /** Tells the processes that hold connections of these users. */
    tellHolders(fact: OfUsers, rows: Iterable<Row>): void {
      if (others.size === 0) return;
      tellHolders({ fact, rows: Array.from(rows, ({ appId, id }) => ({ appId, id })) }).catch(
        (error: unknown) => log('other processes could not be told of what has moved', error),
      );
    },

    /** Tells the processes that hold connections of one of these users of something else than the user. */
    tellHoldersOf<K extends keyof Facts>(users: readonly Row[], fact: K, id: Facts[K]): void {
      if (others.size === 0) return;
      findHolders(pool, processId, users).then(
        (holders) => {
          for (const holder of new Set(holders.map((each) => each.processId))) tell(holder, fact, [id]);
        },
        (error: unknown) => log('other processes could not be told', error),
      );
    },

    /** Something was rung for this process. */
    hear(note: string): void {
      const { at, fact, ids } = JSON.parse(note) as { at: number; fact: keyof Facts; ids: never[] };
      // One of a newer version may tell what this one doesn't know.
      const isKnown = listeners !== undefined && Object.hasOwn(listeners, fact);
      if (isKnown) listeners![fact](ids);
      const lagSeconds = (clock.now().getTime() - at) / 1_000;
      if (Number.isFinite(lagSeconds)) meters.heard(isKnown ? fact : 'other', lagSeconds);
    },

    /** The other processes that are there now. */
    set others(now: Iterable<string>) {
      others = new Set(now);
    },

    get others(): ReadonlySet<string> {
      return others;
    },

    /** Tells every other process that this one is here, and may be told things. */
    greet(): void {
      this.tellAll('process', [processId]);
    },

    /** What it is told with and who hears, once both are there. */
    begin(by: Bell, heardBy: Listeners): void {
      bell = by;
      listeners = heardBy;
    },
  };
}
