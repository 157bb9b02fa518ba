// Conversations as their users see them, and who is told when one is read: the reader's other connections, and the other side.

import { ImidError } from '../errors.ts';
import type { AppId } from '../ids.ts';
import {
  bringUpToDate,
  countUnread,
  findConversations,
  findReading,
  markRead,
  type Conversation,
} from '../store/conversations.ts';
import type { Database } from '../store/database.ts';
import { readFrame } from './frames.ts';
import type { Hub } from './hub.ts';
import { readPair, writePair, type Rings } from './rings.ts';
import type { Session } from './session.ts';

export type { Conversation } from '../store/conversations.ts';

export interface ConversationsOptions {
  database: Database;
  hub: Hub;
  rings: Pick<Rings, 'tellHoldersOf'>;
}

interface Owner {
  appId: AppId;
  id: number;
}

export type Conversations = ReturnType<typeof createConversations>;

export function createConversations({ database: { kysely }, hub, rings }: ConversationsOptions) {
  /** Tells the connections here of how far a user has read; `except` is the one that said so. */
  async function show(owner: Owner, peerId: number, except?: Session): Promise<void> {
    const sessions = [...hub.of(owner.id), ...(peerId === owner.id ? [] : hub.of(peerId))];
    if (sessions.every((session) => session === except)) return;
    const reading = await findReading(kysely, owner, peerId);
    if (!reading) return;
    const { mark, isWithheld, ...who } = reading;
    for (const session of sessions)
      if (session !== except && (session.identityId === owner.id || !isWithheld))
        session.tell((viewer) =>
          readFrame(viewer, owner.appId, { ...who, ...mark }, session.identityId === owner.id),
        );
  }

  return {
    async unread(owner: Owner): Promise<number> {
      await bringUpToDate(kysely, owner);
      return countUnread(kysely, owner);
    },

    /** A page, the newest first; `beforeSeq`: those whose newest message is older. */
    async list(owner: Owner, beforeSeq: number, limit: number): Promise<Conversation[]> {
      await bringUpToDate(kysely, owner);
      return findConversations(kysely, owner, beforeSeq, limit);
    },

    /** A session has read a conversation up to a message. Throws `not_found` where it isn't one of the conversation. */
    async read(session: Session, peerId: number, messageId: string): Promise<void> {
      const owner = { appId: session.appId, id: session.identityId };
      const mark = await markRead(kysely, owner, peerId, messageId);
      if (mark === 'unknown')
        throw new ImidError('not_found', 'There is no such message in this conversation.');
      if (mark === 'before') return;
      await show(owner, peerId, session);
      rings.tellHoldersOf([owner, { appId: owner.appId, id: peerId }], 'read', writePair(owner, peerId));
    },

    /** Another process tells that somebody has read. */
    async hear(ids: readonly string[]): Promise<void> {
      for (const each of ids) await show(...readPair(each));
    },
  };
}
