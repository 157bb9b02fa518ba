// What one phone has of its inbox, as conversations. Peers are kept by the form in which they are shown, and that changes
// when they are adopted or renamed: then all of it comes anew.

import type { Contact, Conversation, Message, Party, Read } from '../client/index.ts';

export interface Bubble {
  /** The messageId; of an own message that is not on disk yet, its id. */
  id: string;
  /** Whose chat it is in; undefined: it is from the app itself, and in all of them. */
  peer: string | undefined;
  isMine: boolean;
  text: string;
  /** Its place in the inbox; Infinity: not on disk yet. */
  seq: number;
}

export interface Peer {
  party: Party;
  key: string;
  displayName: string;
  /** The customer's own number of it. */
  number: number | undefined;
}

export const keyOf = (party: Party): string => JSON.stringify(party);

export const addressText = (party: Party): string =>
  'uid' in party ? party.uid : 'imId' in party ? party.imId : 'nobody';

export function createChats() {
  let contacts: Peer[] = [];
  const strangers = new Map<string, Peer>();
  const bubbles = new Map<string, Bubble>();
  /** By chat: up to which seq of this inbox the other side, and this one, has read. */
  const theirRead = new Map<string, number>();
  const myRead = new Map<string, number>();

  const inOrder = (): Bubble[] => [...bubbles.values()].toSorted((a, b) => a.seq - b.seq);

  function meet(party: Party): boolean {
    const key = keyOf(party);
    if (contacts.some((peer) => peer.key === key) || strangers.has(key)) return false;
    strangers.set(key, { party, key, displayName: '', number: undefined });
    return true;
  }

  function readUpTo(map: Map<string, number>, peer: string, messageId: string): void {
    map.set(peer, Math.max(map.get(peer) ?? 0, bubbles.get(messageId)?.seq ?? 0));
  }

  return {
    /** Contacts first, then those who have written, or were written to, without being one. */
    peers: (): Peer[] => [...contacts, ...strangers.values()],
    meet,

    /** True: from somebody whom nobody knows by this form. */
    add({ messageId, seq, from, to, content }: Message, me: Party | undefined): boolean {
      const isMine = me !== undefined && keyOf(from) === keyOf(me);
      const party = isMine ? to : from;
      const isFromApp = 'system' in party;
      const { text = JSON.stringify(content) } = (content ?? {}) as { text?: string };
      const peer = isFromApp ? undefined : keyOf(party);
      bubbles.set(messageId, { id: messageId, peer, isMine, text, seq });
      return !isFromApp && meet(party);
    },

    addOwn(id: string, party: Party, text: string): void {
      bubbles.set(id, { id, peer: keyOf(party), isMine: true, text, seq: Infinity });
    },
    settle(id: string, messageId: string, seq: number): void {
      const bubble = bubbles.get(id);
      bubbles.delete(id);
      if (bubble && !bubbles.has(messageId)) bubbles.set(messageId, { ...bubble, id: messageId, seq });
    },
    refuse: (id: string): boolean => bubbles.delete(id),

    hearRead({ with: party, from, messageId }: Read): void {
      readUpTo(keyOf(from) === keyOf(party) ? theirRead : myRead, keyOf(party), messageId);
    },
    /** What is to be marked as read, if anything is. */
    readAll(peer: string): string | undefined {
      const last = inOrder().findLast((bubble) => bubble.peer === peer && !bubble.isMine);
      if (!last || last.seq <= (myRead.get(peer) ?? 0)) return undefined;
      myRead.set(peer, last.seq);
      return last.id;
    },

    /** All of it anew, as everybody is called now. What has come in since stays. */
    replace(from: {
      contacts: Contact[];
      messages: Message[];
      conversations: Conversation[];
      me: Party;
    }): void {
      contacts = from.contacts.map(({ displayName = '', data, ...party }) => ({
        party,
        key: keyOf(party),
        displayName,
        number: (data as { number?: number } | undefined)?.number,
      }));
      strangers.clear();
      const end = from.messages.at(-1)?.seq ?? 0;
      for (const { id, seq } of bubbles.values()) if (seq <= end) bubbles.delete(id);
      for (const message of from.messages) this.add(message, from.me);
      for (const { peer } of bubbles.values()) if (peer) meet(JSON.parse(peer) as Party);
      for (const { with: party, read, theirRead: theirs } of from.conversations) {
        if (read) readUpTo(myRead, keyOf(party), read.messageId);
        if (theirs) readUpTo(theirRead, keyOf(party), theirs.messageId);
      }
    },

    of: (peer: string): Bubble[] => inOrder().filter((bubble) => (bubble.peer ?? peer) === peer),
    isRead: ({ peer, seq }: Bubble): boolean => seq <= (theirRead.get(peer ?? '') ?? 0),
    countUnread: (peer: string): number =>
      inOrder().filter(
        (bubble) => bubble.peer === peer && !bubble.isMine && bubble.seq > (myRead.get(peer) ?? 0),
      ).length,
  };
}
