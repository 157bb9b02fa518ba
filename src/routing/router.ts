// Routes: from whom a client or backend means to the inboxes, and from the inboxes to the open connections.
// Invariant: a message is acknowledged only when it is committed, and shown only after that.

import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { asImidError, ImidError } from '../errors.ts';
import type { AppId, Name, Scheme } from '../ids.ts';
import type { App, Apps } from '../identity/apps.ts';
import type { Directory, User } from '../identity/directory.ts';
import { readAddress, requireScheme, type Address } from '../identity/schemes.ts';
import type { Database } from '../store/database.ts';
import { findDevices, markSeen, openDevice } from '../store/devices.ts';
import { findPositions } from '../store/identities.ts';
import { findInboxEntries, findLastSeq, findSentMessages } from '../store/messages.ts';
import { findEpoch } from '../store/service.ts';
import { rerun } from '../store/transact.ts';
import { createAcks, type Acks } from './acks.ts';
import type { PushText } from './frames.ts';
import { Hub } from './hub.ts';
import { Session, type Admitted, type ConnectRequest, type Peer, type Routes } from './session.ts';
import { Writer, type Announce, type Located, type Outcome, type Unit } from './writer.ts';

export type { InboxEntry } from '../store/messages.ts';

export interface Presence {
  online: boolean;
  foreground: boolean;
  devices: { deviceId: string; connected: boolean; state?: 'foreground' | 'background'; lastSeenAt?: Date }[];
  lastSeenAt?: Date;
}

export interface RouterOptions {
  database: Database;
  apps: Apps;
  directory: Directory;
  /** Checks a token and finds whom it acts for. */
  admit: (token: string) => Promise<Admitted>;
  log: (message: string, error: unknown) => void;
  maxQueuedMessages?: number | undefined;
}

export interface SendRequest {
  from: Address;
  /** A list gets an outcome each, also if it is a list of one. */
  to: Address | readonly Address[];
  /** JSON text. */
  content: string;
  id: string;
  push?: PushText | undefined;
}

const EPOCH_LENGTH = 22;
const POSITION_CHECK_MS = 1_000;
const MAX_HINTS = 100_000;

export type Router = Awaited<ReturnType<typeof createRouter>>;

export async function createRouter(options: RouterOptions) {
  const { database, apps, directory, admit, log } = options;
  const { kysely, pool, clock } = database;
  const databaseEpoch = await findEpoch(kysely);
  // Of the database and the inbox, so that a uid that is erased and used again doesn't look like the same run.
  const epochOf = (identityId: number): string =>
    createHash('sha256').update(`${databaseEpoch}:${identityId}`).digest('base64url').slice(0, EPOCH_LENGTH);
  const hub = new Hub();
  const acks: Acks = createAcks(database, log);
  const announce: Announce = (identityId, entry) => {
    for (const session of hub.of(identityId)) session.onEntry(entry);
  };
  const writer = new Writer(database, announce, options.maxQueuedMessages);
  /** Where a name or an imId led to last time. Only a hint: storing a message checks it under the inbox's lock. */
  const hints = new LRUCache<string, Located>({ max: MAX_HINTS });

  /** What is being written down about connections that have ended. */
  const leaving = new Set<Promise<void>>();

  const checking = setInterval(() => void checkPositions(), POSITION_CHECK_MS);
  checking.unref();
  let isChecking = false;

  /** Makes good what was not announced here, and closes the connections of users that are gone. */
  async function checkPositions(): Promise<void> {
    if (isChecking) return;
    isChecking = true;
    try {
      const rows = [...hub.all()].map((session) => ({
        session,
        appId: session.appId,
        id: session.identityId,
      }));
      if (rows.length === 0) return;
      const positions = await findPositions(kysely, rows);
      for (const { session, id } of rows) {
        if (session.identityId !== id) continue; // moved meanwhile
        const position = positions.get(id);
        if (!position || (position.mergedInto !== undefined && !(await follow(session))))
          session.close('tokenRevoked');
        else if (position.mergedInto === undefined) session.onPosition(position.lastSeq);
      }
    } catch (error) {
      log('positions could not be checked', error);
    } finally {
      isChecking = false;
    }
  }

  /** Finds the user of a session, and moves the session there if its own was merged into that one. */
  async function follow(session: Session): Promise<User | undefined> {
    const user = await directory.findRow(session.appId, session.identityId);
    if (user && user.id !== session.identityId) moveSession(session, user);
    return user;
  }

  function moveSession(session: Session, user: User): void {
    if (session.isClosed) return;
    hub.remove(session);
    if (!session.isAnonymous) closeReplaced(user.id, session.deviceId);
    session.moveTo(user);
    hub.add(session);
    void start(session);
  }

  function start(session: Session): Promise<void> {
    return session.start().catch((error: unknown) => {
      log('a connection could not be opened', error);
      session.close('unavailable');
    });
  }

  /** A device has one connection: the newest. */
  function closeReplaced(identityId: number, deviceId: string): void {
    for (const other of hub.of(identityId)) if (other.deviceId === deviceId) other.close('replaced');
  }

  /** Finds whom addresses mean; `anew` looks past the hints. */
  async function locate(
    app: App,
    addresses: readonly Address[],
    anew: boolean,
  ): Promise<(Located | ImidError)[]> {
    const found = addresses.map((address) => (anew ? undefined : readHint(app, address)));
    const open = addresses.filter((_, i) => found[i] === undefined);
    if (open.length === 0) return found as (Located | ImidError)[];
    const users = await directory.claim(app, open);
    let next = 0;
    return found.map((hint, i) => {
      if (hint) return hint;
      const user = users[next++]!;
      if (user instanceof ImidError) return user;
      const name = nameIn(app, addresses[i]!);
      const located = { id: user.id, expectedName: name === undefined ? undefined : user.name };
      // A name lent by a user that was merged can't be checked when storing, and is looked up each time.
      if (name === undefined || name === user.name) hints.set(hintKey(app, addresses[i]!), located);
      else hints.delete(hintKey(app, addresses[i]!));
      return located;
    });
  }

  function readHint(app: App, address: Address): Located | ImidError | undefined {
    try {
      readAddress(app, address); // the schemes may have changed since
    } catch (error) {
      return asImidError(error);
    }
    return hints.get(hintKey(app, address));
  }

  async function prepare(
    app: App,
    findSender: (anew: boolean) => Promise<Located>,
    to: Address | readonly Address[],
    message: { id: string; content: string; push?: PushText | undefined },
  ): Promise<Unit> {
    const addresses = Array.isArray(to) ? (to as Address[]) : [to as Address];
    const find = async (anew: boolean) => {
      const sender = await findSender(anew);
      const recipients = (await locate(app, addresses, anew)).map(asRecipientError);
      return { sender, recipients };
    };
    const found = await find(false);
    const isToNobody = found.recipients.some((recipient) => recipient instanceof ImidError);
    return {
      appId: app.id,
      clientId: message.id,
      isList: Array.isArray(to),
      // Whoever got it may be gone since, and the same id is still answered the same.
      known: isToNobody ? await findSentMessages(pool, app.id, found.sender.id, message.id) : [],
      content: message.content,
      push: message.push && JSON.stringify(message.push),
      ...found,
      relocate: () => find(true),
    };
  }

  const routes: Routes = {
    epochOf,
    acks,
    admit,
    now: () => clock.now(),
    write: (unit) => writer.write(unit),
    readInbox: (appId, identityId, after, limit) => findInboxEntries(pool, appId, identityId, after, limit),

    async openDevice({ appId, identityId }, deviceId) {
      if (deviceId === undefined) {
        const lastSeq = await findLastSeq(pool, appId, identityId);
        return lastSeq === undefined ? undefined : { lastSeq, acked: lastSeq, isKnown: false };
      }
      await acks.settle(identityId, deviceId);
      const device = await rerun(() => openDevice(kysely, appId, identityId, deviceId));
      const lastSeq = device && (await findLastSeq(pool, appId, identityId));
      return lastSeq === undefined ? undefined : { lastSeq, acked: device!.acked, isKnown: !device!.isNew };
    },

    follow,

    async prepareSend(session, frame) {
      const app = await apps.resolve(session.appId);
      requireScheme(app, session.scheme);
      const findSender = async (anew: boolean): Promise<Located> => {
        if (anew && !(await follow(session)))
          throw new ImidError('token_revoked', 'The user of this connection is gone.');
        return { id: session.identityId, expectedName: undefined };
      };
      return prepare(app, findSender, frame.to, frame);
    },

    leave(session) {
      hub.remove(session);
      const deviceId = session.isAnonymous ? undefined : session.deviceId;
      const left = markSeen(kysely, session.appId, session.identityId, deviceId)
        .catch((error: unknown) => log('when a user was seen last could not be written', error))
        .finally(() => leaving.delete(left));
      leaving.add(left);
    },

    note(error, session) {
      if (error.code === 'unavailable')
        log(`connection ${session.connectionId}: ${error.message}`, error.cause ?? error);
    },
  };

  return {
    epochOf,
    readInbox: routes.readInbox,
    connections: (appId: AppId): Record<Scheme, number> => hub.count(appId),

    /** Opens a connection; it ends when the peer does, or with a close code. */
    open(
      peer: Peer,
      admitted: Admitted,
      request: ConnectRequest,
    ): { session: Session; started: Promise<void> } {
      const session = new Session(routes, peer, admitted, request);
      if (!session.isAnonymous) closeReplaced(session.identityId, session.deviceId);
      hub.add(session);
      return { session, started: start(session) };
    },

    /** Closes every connection of a user that is gone. */
    disconnect(identityId: number): void {
      for (const session of hub.of(identityId)) session.close('tokenRevoked');
    },

    /** Goes on as `user` with every connection of a row that was merged into it. */
    moveSessions(fromId: number, user: User): void {
      for (const session of hub.of(fromId)) moveSession(session, user);
    },

    /** Shows the connections of a user what has come to its inbox otherwise than by a send. */
    async announce(appId: AppId, identityId: number): Promise<void> {
      const lastSeq = await findLastSeq(pool, appId, identityId);
      if (lastSeq !== undefined) for (const session of hub.of(identityId)) session.onPosition(lastSeq);
    },

    /** Closes every connection of an app that is gone. */
    disconnectApp(appId: AppId): void {
      for (const session of hub.all()) if (session.appId === appId) session.close('tokenRevoked');
    },

    /** Sends for a backend. Throws where the sender can't be found; recipients have an outcome each. */
    async send(app: App, request: SendRequest): Promise<Outcome> {
      const findSender = async (anew: boolean): Promise<Located> => {
        const [sender] = await locate(app, [request.from], anew);
        if (!(sender instanceof ImidError)) return sender!;
        const errors = [{ in: 'body' as const, pointer: '#/from', detail: sender.message }];
        throw new ImidError(sender.code, sender.message, { errors });
      };
      return writer.write(await prepare(app, findSender, request.to, request));
    },

    async presence(appId: AppId, users: readonly User[]): Promise<Presence[]> {
      const stored = await findDevices(
        kysely,
        appId,
        users.map((user) => user.id),
      );
      return users.map((user) => {
        const sessions = [...hub.of(user.id)];
        const devices: Presence['devices'] = sessions.map(({ deviceId, state }) => ({
          deviceId,
          connected: true,
          state,
        }));
        for (const device of stored.get(user.id)?.devices ?? [])
          if (!sessions.some((session) => session.deviceId === device.id))
            devices.push({ deviceId: device.id, connected: false, lastSeenAt: device.lastSeenAt });
        const lastSeenAt = sessions.length > 0 ? clock.now() : stored.get(user.id)?.lastSeenAt;
        return {
          online: sessions.length > 0,
          foreground: sessions.some((session) => session.state === 'foreground'),
          devices,
          ...(lastSeenAt ? { lastSeenAt } : {}),
        };
      });
    },

    /** Finishes what is being stored, then closes every connection for a restart. */
    async drain(): Promise<void> {
      clearInterval(checking);
      await writer.drain();
      for (const session of hub.all()) session.close('draining');
      await writer.drain();
      await acks.settleAll();
      await Promise.all(leaving);
    },
  };
}

function nameIn(app: App, address: Address): Name | undefined {
  const target = readAddress(app, address);
  return target.by === 'name' ? target.name : undefined;
}

function hintKey(app: App, address: Address): string {
  // A userId must not lead to a user that is a uid only, so the two have hints of their own.
  if (address.uid !== undefined) return `${app.id}:u:${address.uid}`;
  if (address.userId !== undefined) return `${app.id}:r:${address.userId}`;
  return `${app.id}:i:${address.imId}`;
}

/** What is not found when it is looked up is an unknown recipient when it is sent to. */
function asRecipientError(located: Located | ImidError): Located | ImidError {
  if (!(located instanceof ImidError) || located.code !== 'not_found') return located;
  return new ImidError('unknown_recipient', located.message);
}
