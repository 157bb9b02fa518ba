// Routes: puts the stages together that lead from whom a client or backend means to the inboxes, and from the inboxes to the
// open connections.
// Invariant: a message is acknowledged only when it is committed, and shown only after that.

import type { ImidError } from '../errors.ts';
import type { AppId } from '../ids.ts';
import type { Apps } from '../identity/apps.ts';
import type { Directory, User } from '../identity/directory.ts';
import type { Database } from '../store/database.ts';
import { findLastSeq } from '../store/messages.ts';
import { createAcks } from './acks.ts';
import { createActs } from './acts.ts';
import { Asking, type Stages } from './asking.ts';
import type { Audience } from './batch.ts';
import type { ConnectRequest } from './beginning.ts';
import { createBlocking } from './blocking.ts';
import { createConnections } from './connections.ts';
import { createConversations } from './conversations.ts';
import { createEntering } from './entering.ts';
import { createFollowing } from './following.ts';
import { startHeartbeat } from './heartbeat.ts';
import { Hub } from './hub.ts';
import { createInboxes } from './inboxes.ts';
import type { Limits } from './limits.ts';
import { createLocator } from './locator.ts';
import type { Meters } from './meters.ts';
import type { Peer } from './peer.ts';
import { createPresence } from './presence.ts';
import { createRecalling } from './recalling.ts';
import type { Listeners, Rings } from './rings.ts';
import { createSending } from './sending.ts';
import { Session, type Admitted, type Routes } from './session.ts';
import type { Tracing } from './tracing.ts';
import type { Log } from './storing.ts';
import { watchTrust, type Trust } from './trust.ts';
import { createTyping } from './typing.ts';
import { createWatching } from './watching.ts';
import { Writer } from './writer.ts';

export type { Conversation } from './conversations.ts';

export interface RouterOptions {
  database: Database;
  processId: string;
  apps: Apps;
  directory: Directory;
  rings: Rings;
  meters: Meters;
  /** Checks a token and finds whom it acts for. */
  admit: (token: string, deviceId: string | undefined) => Promise<Admitted>;
  trust: Trust;
  log: Log;
  tracing: Tracing | undefined;
  limits: Limits;
  /** Something is to be pushed. */
  onPushDue: () => void;
  isTold: Audience['isTold'];
  maxQueuedMessages?: number | undefined;
  /** How often positions are checked, which makes good what rings have missed. */
  heartbeatMs?: number | undefined;
}

export type Router = Awaited<ReturnType<typeof createRouter>>;

export async function createRouter(options: RouterOptions) {
  const { database, processId, apps, directory, rings, meters, limits, tracing, admit, trust, log } = options;
  const { pool, clock } = database;
  const hub = new Hub();
  const watch = watchTrust(hub, trust);
  const acks = createAcks(database, log);
  const connections = createConnections({ database, processId, rings, log });
  const locator = createLocator({ directory, database });
  const conversations = createConversations({ database, hub, rings });
  const blocking = createBlocking({ database, hub, rings });
  const typing = createTyping({ database, directory, hub, rings });
  const watching = createWatching({ database, apps, hub, processId, log });
  const audience: Audience = {
    isTold: options.isTold,
    hears: (identityId) => hub.has(identityId),
    hear(identityId, entry) {
      for (const session of hub.of(identityId)) session.onEntry(entry);
    },
    moved(inboxes) {
      rings.tellHolders('inbox', inboxes);
      for (const { isDue } of inboxes)
        if (isDue) {
          options.onPushDue();
          break;
        }
    },
  };
  const entering = createEntering({ hub, watch, watching, connections, limits, log });
  const following = createFollowing({
    database,
    directory,
    leave: entering.leaveUser,
    enter(session, formerId) {
      watch.moved(session, formerId);
      void entering.enter(session);
    },
  });
  const { follow, checkPositions } = following;
  const { maxQueuedMessages } = options;
  const writer = new Writer({ database, audience, meters, tracing, log, maxQueuedMessages });
  const heartbeat = await startHeartbeat({
    database,
    processId,
    intervalMs: options.heartbeatMs,
    onOthers: (others) => (rings.others = others),
    onForgotten: () => connections.restore(hub.all()),
    async onEpoch() {
      // Whatever was remembered is of the database as it was before; clients come back and start over.
      writer.forget();
      locator.forget();
      for (const session of hub.all()) session.close('draining');
      await trust.reload();
    },
    check,
    log,
  });
  const inboxes = createInboxes({ database, heartbeat, blocking });
  const sending = createSending({ apps, locator, writer, meters, tracing, follow });
  const recall = createRecalling({
    database,
    onMoved(moved) {
      for (const { id } of moved) for (const session of hub.of(id)) session.onMoved();
      rings.tellHolders('inbox', moved);
    },
  });

  const routes: Routes = {
    epochOf: inboxes.epochOf,
    acks,
    connections,
    meters,
    follow,
    now: () => clock.now(),
    readInbox: inboxes.read,
    blocksOf: blocking.of,
    changeToken: entering.changeToken,
    leave: entering.leave,
    note,
  };

  const stages: Stages = {
    meters,
    tracing,
    admit,
    follow,
    sending,
    act: createActs({ apps, directory, conversations, typing, watching, recall, follow }),
    note,
  };

  /** Makes good whatever this process wasn't told. */
  async function check(): Promise<void> {
    connections.writeRest();
    await trust.follow();
    await checkPositions(hub.all());
    await watching.check();
    entering.closeReplaced(await connections.findReplaced(hub.all()));
    await trust.tend();
  }

  function note(error: ImidError, { connectionId }: Session, frameId?: string): void {
    if (error.code !== 'unavailable') return;
    const more = frameId === undefined ? undefined : { origin: `${connectionId}/${frameId}` };
    log(`connection ${connectionId}: ${error.message}`, error.cause ?? error, more);
  }

  function attempt(act: Promise<unknown>, what: string): void {
    act.catch((error: unknown) => log(what, error));
  }

  function tellBlockers(fromIds: readonly number[]): void {
    for (const id of fromIds) attempt(blocking.merged(id), 'it could not be read who is blocked');
  }

  return {
    inboxes,
    conversations,
    blocking,
    presence: createPresence({ database, hub, processId, watching }),
    send: sending.send,
    hintUses: locator.uses,

    /** How this process stands right now. */
    get state() {
      return {
        sessions: hub.all(),
        queue: writer.depth,
        heartbeatAgeSeconds: heartbeat.ageSeconds,
        isHeartbeatLate: heartbeat.isLate,
      };
    },

    requireRoom: entering.requireRoom,
    disconnectApp: entering.disconnectApp,
    closeRevoked: watch.closeRevoked,

    /** Opens a connection; it ends when the peer does, or with a close code. */
    open(
      peer: Peer,
      admitted: Admitted,
      request: ConnectRequest,
    ): { session: Session; asking: Asking; started: Promise<void> } {
      const session = new Session(routes, peer, admitted, request);
      const asking = new Asking(stages, session, peer);
      return { session, asking, started: entering.enter(session) };
    },

    /** Closes every connection of users that are gone. */
    disconnect(appId: AppId, identityIds: readonly number[]): void {
      for (const id of identityIds) for (const session of hub.of(id)) session.close('tokenRevoked');
      rings.tellHolders(
        'user',
        identityIds.map((id) => ({ appId, id })),
      );
    },

    /** Goes on as `user` with every connection of a row that was merged into it. */
    moveSessions(appId: AppId, fromId: number, user: User): void {
      for (const session of hub.of(fromId)) following.move(session, user);
      rings.tellHolders('user', [{ appId, id: fromId }]);
      tellBlockers([fromId]);
      rings.tellAll('merged', [fromId]);
    },

    /** Shows the connections of a user what has come to its inbox otherwise than by a send. */
    async announce(appId: AppId, identityId: number): Promise<void> {
      const lastSeq = await findLastSeq(pool, appId, identityId);
      if (lastSeq !== undefined) for (const session of hub.of(identityId)) session.onPosition(lastSeq);
      rings.tellHolders('inbox', [{ appId, id: identityId }]);
    },

    /** Looks for all that has moved while no rings were heard. */
    check,

    /** What is done when other processes tell that something has moved. */
    listeners: {
      process: (ids) => void (rings.others = rings.others.union(new Set(ids))),
      inbox(ids) {
        for (const id of ids) for (const session of hub.of(id)) session.onMoved();
      },
      user: (ids) =>
        void checkPositions(ids.flatMap((id) => [...hub.of(id)])).catch((error: unknown) =>
          log('positions could not be checked', error),
        ),
      replaced: entering.closeReplaced,
      blocks: (ids) => attempt(blocking.hear(ids), 'it could not be read who is blocked'),
      merged: tellBlockers,
      read: (ids) => attempt(conversations.hear(ids), 'it could not be told who has read'),
      typing: (ids) => attempt(typing.hear(ids), 'it could not be told who is writing'),
      trust: () =>
        void trust.follow().catch((error: unknown) => log('it could not be read what was revoked', error)),
      app(ids) {
        for (const id of ids)
          apps.find(id).then(
            (app) => app ?? entering.disconnectApp(id),
            (error: unknown) => log('an app could not be looked up', error),
          );
      },
    } satisfies Partial<Listeners>,

    /** Takes nothing more, finishes what is being stored, then closes every connection for a restart. */
    async drain(): Promise<void> {
      for (const session of hub.all()) session.stop();
      await writer.drain();
      for (const session of hub.all()) session.close('draining');
      await acks.settleAll();
      await connections.settle();
      watch.stop();
      await heartbeat.stop();
    },
  };
}
