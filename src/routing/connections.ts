// The connections of this process, written down where the others find them: so that they ring it, that a device has one
// connection on all of them together, and that presence is everybody's. Opened and closed many at a time.

import type { CloseReason } from '../errors.ts';
import type { Database } from '../store/database.ts';
import { coalesce } from '../store/coalesced.ts';
import {
  deleteConnections,
  findReplaced,
  markConnections,
  openConnections,
  restoreConnections,
  type NewConnection,
  type OpenedConnection,
} from '../store/connections.ts';
import { markWhole } from '../store/devices.ts';
import { rerun } from '../store/transact.ts';
import type { ConnectionState } from './frames.ts';
import type { Rings } from './rings.ts';

export interface ConnectionsOptions {
  database: Database;
  processId: string;
  rings: Pick<Rings, 'tell'>;
  log: (message: string, error: unknown) => void;
}

/** What of a session is written down. */
export interface Connected extends Omit<NewConnection, 'id' | 'isForeground'> {
  readonly connectionId: string;
  readonly state: ConnectionState;
  readonly isClosed: boolean;
  close(reason: CloseReason): void;
}

export type Connections = ReturnType<typeof createConnections>;

const LIMITS = { maxActs: 2, maxAsks: 100 };
/** What changes later is written later. */
const IN_TURN = { maxActs: 1, maxAsks: 100 };

export function createConnections({ database: { kysely, pool }, processId, rings, log }: ConnectionsOptions) {
  const opening = coalesce(openAll, LIMITS);
  const marking = coalesce(async (all: readonly NewConnection[]) => {
    await markConnections(pool, lastOfEach(all));
    return all.map(() => undefined);
  }, IN_TURN);
  const closing = coalesce(async (all: readonly NewConnection[]) => {
    await rerun(() => deleteConnections(pool, all));
    return all.map(() => undefined);
  }, LIMITS);
  const underWay = new Set<Promise<void>>();
  /** What of connections that are there, and of those that have ended, could not be written, as while Postgres was gone. */
  const unmarked = new Set<Connected>();
  const unclosed = new Set<NewConnection>();
  /** By id: what ends while it is still being opened is closed after that. */
  const openings = new Map<string, Promise<OpenedConnection | undefined>>();
  /** By device: a later one waits for the one before, so that they are written down in the order in which they came. */
  const openingDevices = new Map<string, Promise<unknown>>();

  async function openAll(asked: readonly NewConnection[]): Promise<(OpenedConnection | undefined)[]> {
    const opened = new Map<string, OpenedConnection>();
    // A device is taken in once by a statement.
    for (let left = asked; left.length > 0;) {
      const first = [...new Map(left.toReversed().map((each) => [keyOf(each), each])).values()];
      // Whoever was taken in before may be gone by now.
      for (const { id } of first) opened.delete(id);
      for (const [id, each] of await rerun(() => openConnections(pool, processId, first)))
        opened.set(id, each);
      const isOpen = ({ id, isAnonymous }: NewConnection): boolean =>
        isAnonymous || !opened.has(id) || opened.get(id)!.acked !== undefined;
      const done = new Set(first.filter(isOpen));
      left = left.filter((each) => !done.has(each));
    }
    for (const { former } of opened.values()) tellReplaced(former);
    return asked.map(({ id }) => opened.get(id));
  }

  function tellReplaced(former: OpenedConnection['former']): void {
    if (former && former.processId !== processId) rings.tell(former.processId, 'replaced', [former.id]);
  }

  async function openAfter(
    before: Promise<unknown>,
    session: Connected,
  ): Promise<OpenedConnection | undefined> {
    const connection = describe(session);
    await before.catch(() => {}); // that is somebody else's failure
    return session.isClosed ? undefined : opening(connection);
  }

  function track(act: Promise<void>, onError: (error: unknown) => void): void {
    const tracked = act.catch(onError).finally(() => underWay.delete(tracked));
    underWay.add(tracked);
  }

  /** `isAgain`: that it failed has been said. */
  function mark(session: Connected, isAgain = false): void {
    track(marking(describe(session)), (error) => {
      unmarked.add(session);
      if (!isAgain) log('the state of a connection could not be written', error);
    });
  }

  function forget(connection: NewConnection, isAgain = false): void {
    const opened = openings.get(connection.id)?.catch(() => undefined);
    const closed = opened ? opened.then(() => closing(connection)) : closing(connection);
    track(closed, (error) => {
      unclosed.add(connection);
      if (!isAgain) log('the end of a connection could not be written', error);
    });
  }

  return {
    /** Where a connecting device stands; undefined when its user is gone, or merged into another one. */
    async open(session: Connected): Promise<OpenedConnection | undefined> {
      const device = keyOf(session);
      const { state, jti } = session;
      const before = openingDevices.get(device);
      const opened = before ? openAfter(before, session) : opening(describe(session));
      openings.set(session.connectionId, opened);
      openingDevices.set(device, opened);
      try {
        const standing = await opened;
        // Of one that was another user's before, it may have changed while there was nothing to write it to.
        if (session.state !== state || session.jti !== jti) mark(session);
        return standing;
      } finally {
        if (openingDevices.get(device) === opened) openingDevices.delete(device);
        if (openings.get(session.connectionId) === opened) openings.delete(session.connectionId);
      }
    },

    /** A connection is shown all there is up to a seq; so is whichever of its device comes next. */
    markWhole: (session: Connected, seq: number): Promise<void> =>
      rerun(() => markWhole(kysely, { ...describe(session), seq })),

    /** Writes down that a connection has gone to the background, or back, or uses another scheme. */
    mark: (session: Connected): void => mark(session),

    close: (session: Connected): void => forget(describe(session)),

    /** Writes down what could not be written before. */
    writeRest(): void {
      for (const session of unmarked) if (!session.isClosed) mark(session, true);
      unmarked.clear(); // what fails again comes in later
      for (const connection of unclosed) forget(connection, true);
      unclosed.clear();
    },

    /** Writes connections down again that Postgres has forgotten, and closes those that were replaced meanwhile. */
    async restore(sessions: Iterable<Connected>): Promise<void> {
      const all = [...sessions];
      for (let i = 0; i < all.length; i += 1_000) {
        const open = new Map(
          all.slice(i, i + 1_000).flatMap((each) => (each.isClosed ? [] : [[each, describe(each)] as const])),
        );
        const restored = await rerun(() =>
          restoreConnections(pool, processId, lastOfEach([...open.values()])),
        );
        for (const former of restored.values()) tellReplaced(former);
        for (const [session, connection] of open) {
          if (session.isClosed || session.identityId !== connection.identityId) forget(connection);
          else if (!restored.has(connection.id)) session.close('replaced');
        }
      }
    },

    /** Those whose devices have another connection by now, on whichever process. */
    async findReplaced(sessions: Iterable<Connected>): Promise<string[]> {
      const open = [...sessions].filter(({ connectionId }) => !openings.has(connectionId)).map(describe);
      return open.length === 0 ? [] : findReplaced(pool, open);
    },

    /** Resolves when all that has ended until now is written down. */
    async settle(): Promise<void> {
      await Promise.all(underWay);
    },
  };
}

function describe(session: Connected): NewConnection {
  const { appId, identityId, deviceId, connectionId, scheme, state, tokenAt, jti, isAnonymous } = session;
  const isForeground = state === 'foreground';
  return { appId, identityId, deviceId, id: connectionId, scheme, isForeground, tokenAt, jti, isAnonymous };
}

const keyOf = ({ identityId, deviceId }: Pick<NewConnection, 'identityId' | 'deviceId'>): string =>
  `${identityId}:${deviceId}`;

function lastOfEach(all: readonly NewConnection[]): NewConnection[] {
  return [...new Map(all.map((each) => [keyOf(each), each])).values()];
}
