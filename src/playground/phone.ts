// One phone: a user's program. It uses the client library as any app would, and knows nothing of the API key: tokens come
// from the backend.

import { createClient, type Client, type Party, type State } from '../client/index.ts';
import type { Backend, Scheme, User } from './backend.ts';
import { createChats, keyOf, type Peer } from './chats.ts';
import { watchToken, type Passed } from './sockets.ts';

const TYPING_SHOWN_MS = 2_500;

export interface Claims {
  scheme: Scheme;
  sub: string;
  exp: number;
}

export interface PhoneOptions {
  url: string;
  scheme: Scheme;
  backend: Backend;
  onChange: () => void;
  onPassed: (passed: Passed) => void;
}

export type Phone = ReturnType<typeof createPhone>;

export function createPhone({ url, scheme, backend, onChange, onPassed }: PhoneOptions) {
  let client: Client | undefined;
  let chats = createChats();
  let user: User | undefined;
  let me: Party | undefined;
  let claims: Claims | undefined;
  let state: State = 'closed';
  let isForeground = true;
  let selected: Peer | undefined;
  let fault = '';
  let said = 0;
  let watching = '';
  let held: Promise<unknown> = Promise.resolve();
  const online = new Map<string, boolean>();
  const typing = new Map<string, ReturnType<typeof setTimeout>>();

  async function issueToken(to: User): Promise<string> {
    const token = await backend.issueToken(to, scheme);
    claims = decode(token);
    watchToken(token, onPassed);
    return token;
  }

  function open(as: User, first: string | undefined): Client {
    const getToken = async (): Promise<string> => {
      const token = first ?? (await issueToken(as));
      first = undefined;
      return token;
    };
    const opened = createClient({ url, getToken, backoff: { baseMs: 300 } });
    opened.on('state', (change) => {
      ({ state } = change);
      fault = change.error?.message ?? '';
      onChange();
    });
    opened.on('message', async (message) => {
      typing.delete(keyOf(message.from));
      if (chats.add(message, me)) await load();
      changed();
    });
    opened.on('read', (read) => {
      chats.hearRead(read);
      onChange();
    });
    opened.on('presence', (presence) => {
      online.set(keyOf(presence.user), presence.online);
      onChange();
    });
    opened.on('typing', ({ from }) => {
      const key = keyOf(from);
      clearTimeout(typing.get(key));
      typing.set(
        key,
        setTimeout(() => typing.delete(key) && onChange(), TYPING_SHOWN_MS),
      );
      onChange();
    });
    opened.on('error', ({ message }) => {
      fault = message;
      onChange();
    });
    return opened;
  }

  /** Who everybody is now, and all that was said. */
  async function load(): Promise<void> {
    const from = client;
    if (from?.state !== 'open') return;
    const [profile, contacts, history, conversations] = await Promise.all([
      from.profile(),
      from.contacts(),
      from.history({ limit: 1000 }),
      from.conversations(),
    ]);
    if (from !== client) return;
    me = 'uid' in profile ? { uid: profile.uid } : { imId: profile.imId };
    chats.replace({
      contacts: contacts.items,
      messages: history.items,
      conversations: conversations.items,
      me,
    });
    const peers = chats.peers();
    selected =
      peers.find(({ number }) => number !== undefined && number === selected?.number) ??
      peers.find(({ key }) => key === selected?.key) ??
      peers[0];
    const watched = peers.map(({ key }) => key).join();
    if (watched !== watching) from.watch(peers.map(({ party }) => party));
    watching = watched;
    changed();
  }

  /** Marks what is in view as read. */
  function changed(): void {
    const last = isForeground && selected ? chats.readAll(selected.key) : undefined;
    if (last !== undefined) client?.markRead(selected!.party, last);
    onChange();
  }

  // The library follows the page: coming back to it must not bring a phone back that is in the background.
  document.addEventListener('visibilitychange', () =>
    setTimeout(() => client?.setForeground(isForeground && !document.hidden)),
  );

  return {
    scheme,
    get state() {
      return state;
    },
    get user() {
      return user;
    },
    get me() {
      return me;
    },
    get claims() {
      return claims;
    },
    get isForeground() {
      return isForeground;
    },
    get selected() {
      return selected;
    },
    get fault() {
      return fault;
    },
    get unread() {
      return chats.peers().reduce((sum, { key }) => sum + chats.countUnread(key), 0);
    },
    peers: () =>
      chats.peers().map((peer) => ({
        ...peer,
        isOnline: online.get(peer.key) ?? false,
        unread: chats.countUnread(peer.key),
      })),
    bubbles: () =>
      (selected ? chats.of(selected.key) : []).map((bubble) => ({ ...bubble, isRead: chats.isRead(bubble) })),
    get isPeerTyping() {
      return selected !== undefined && typing.has(selected.key);
    },

    /** Whom the service refuses a token, the phone keeps who is there. */
    async logIn(as: User): Promise<void> {
      const token = await issueToken(as);
      await client?.logout();
      user = as;
      me = undefined;
      chats = createChats();
      online.clear();
      watching = '';
      selected = undefined;
      client = open(as, token);
      await client.connect();
      client.setForeground(isForeground);
      await load();
    },
    load,

    select(key: string): void {
      selected = chats.peers().find((peer) => peer.key === key) ?? selected;
      fault = '';
      changed();
    },
    /** Somebody who is no contact: in the composed scheme, any uid is somebody. */
    chatWith(party: Party): void {
      chats.meet(party);
      this.select(keyOf(party));
    },
    type(): void {
      if (selected) client?.typing(selected.party);
    },

    /** Nothing is said meanwhile. */
    holdUntil(done: Promise<unknown>): void {
      held = done.catch(() => {});
    },

    async say(text: string): Promise<void> {
      await held;
      if (!client || !selected) return;
      const { party } = selected;
      const id = `own-${(said += 1)}`;
      chats.addOwn(id, party, text);
      onChange();
      try {
        const sent = await client.send(party, { text });
        chats.settle(id, sent.messageId, sent.seq);
        fault = '';
      } catch (error) {
        chats.refuse(id);
        fault = (error as Error).message;
      }
      onChange();
    },

    setForeground(to: boolean): void {
      isForeground = to;
      client?.setForeground(to);
      changed();
    },
  };
}

/** What anybody can read of a token without a key. */
function decode(token: string): Claims {
  const [, payload = ''] = token.split('.');
  const bytes = atob(payload.replaceAll('-', '+').replaceAll('_', '/'));
  const text = new TextDecoder().decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)));
  return JSON.parse(text) as Claims;
}
