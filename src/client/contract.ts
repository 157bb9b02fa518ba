// What the library and an app say to each other: the options, the events, what is sent and what comes of it.

import type { ImidError } from './errors.ts';

/** Names a user, in whichever way the app knows it: exactly one of the three. */
export type Address = { uid: string } | { userId: string } | { imId: string };

/**
 * A user as this one is shown it, in the form of the own scheme: `{uid}` or `{imId}`. `{erased: true}` stands for somebody
 * who is gone, `{system: true}` for the customer's backend. Of the first two, each can be written to as it is.
 */
export type Party = { uid: string } | { imId: string } | { erased: true } | { system: true };

/** Who the token acts for. */
export type Me = { scheme: 'composed'; uid: string } | { scheme: 'registered'; imId: string };

/** What a message brings along for its push; false: there is to be none. */
export type PushText =
  | false
  | {
      title?: string;
      body?: string;
      /** For the app. */
      data?: Record<string, string>;
      priority?: 'high' | 'normal';
      /** For how long the provider keeps it for a device that is out of reach. */
      ttlSeconds?: number;
    };

/** A message that is on disk, in the inboxes of both. */
export interface Sent {
  /** The sender's own id of it. */
  id: string;
  messageId: string;
  /** Its place in the sender's inbox. */
  seq: number;
  /** When it was stored, ISO 8601, by the clock of the service. */
  at: string;
}

export interface Message {
  /** Its place in the inbox of this user: 1, 2, 3, without a gap. */
  seq: number;
  messageId: string;
  from: Party;
  to: Party;
  /** Any JSON; null in a message that was recalled. */
  content: unknown;
  at: string;
  recalled?: true;
  /** In `history()`: it is no message, but takes back the one with this messageId. */
  recalls?: string;
}

export interface Recalled {
  seq: number;
  /** Of the message that is gone. */
  messageId: string;
  from: Party;
  to: Party;
  at: string;
}

export interface Read {
  /** The other side of the conversation. */
  with: Party;
  /** Who has read it: the other side, or this user on another device. */
  from: Party;
  /** The last message that is read. */
  messageId: string;
  at: string;
}

export interface Typing {
  from: Party;
}

export interface Presence {
  user: Party;
  online: boolean;
  /** Absent where nobody knows, or may know. */
  lastSeenAt?: string;
}

/** The first that a connection is told. */
export interface Welcome {
  connectionId: string;
  me: Me;
  device: string;
  /** Of which count the seqs are: with another epoch they mean something else. */
  epoch: string;
  /** The last in the inbox. */
  seq: number;
  /** Up to where the service knows this device to have handled the inbox. */
  acked: number;
  /** It goes on where it was. */
  resumed: boolean;
}

/**
 * - `closed`: not connected, and stays so until `connect()`: before the first one, after `close()` or `logout()`, and
 *   where coming back makes no sense. `error` says why in the last case.
 * - `connecting`: on the way.
 * - `open`: connected.
 * - `waiting`: comes back by itself, after `retryInMs`. `error` says why it isn't connected: `no_network`,
 *   `token_expired`, `unavailable`, ...
 */
export type State = 'closed' | 'connecting' | 'open' | 'waiting';

export interface StateChange {
  state: State;
  error?: ImidError;
  /** With `waiting`. */
  retryInMs?: number;
  /** With `open`. */
  welcome?: Welcome;
}

/** What waits in the outbox: a message, or the recall of one. */
export type Outgoing =
  | { type: 'send'; id: string; to: Address; content: unknown; push?: PushText }
  | { type: 'recall'; id: string; messageId: string };

/** What was refused for good, and is out of the outbox. */
export interface Failed {
  outgoing: Outgoing;
  error: ImidError;
}

/** Why everything that was handled before is void. */
export interface Reset {
  /** The epoch that counts from now on. */
  epoch: string;
  /** Who the user is from now on. */
  me: Me;
}

/**
 * All that may come, by name. Everything is handed over one after the other, in the order in which it came: a listener that
 * gives back a promise holds up what is behind it, but for `state` and `error`, which never wait.
 */
export interface Events {
  /** Where the connection stands. */
  state: StateChange;
  /**
   * A message, of this user's other devices too. Acked when its listeners are done with it: one that throws or rejects gets
   * it, and what is behind it, again with the next connection. Without that each is handed over once, but for a reload.
   */
  message: Message;
  /** A message of this client is on disk: what `send()` resolves with, also for those of before a reload. */
  sent: Sent;
  /** A message of this client was refused for good: what `send()` rejects with, also for those of before a reload. */
  failed: Failed;
  /** The content of a message is gone. */
  recalled: Recalled;
  /** A conversation is read: by the other side, or by this user on another device. */
  read: Read;
  /** Somebody is typing to this user, now. */
  typing: Typing;
  /** Of somebody who is watched. */
  presence: Presence;
  /**
   * The inbox is another one, after a restored backup or a merge of users: drop all that came before; it comes anew, from
   * the beginning.
   */
  reset: Reset;
  /** What went wrong and is nobody's answer: an error that the service tells, a listener that threw, a store that fails. */
  error: ImidError;
}

export type Listener<Name extends keyof Events> = (event: Events[Name]) => unknown;

/**
 * Why a token is asked for: the first one, before the old one expires, since the service has said that it is expired, or
 * that it won't take it.
 */
export type TokenReason = 'first' | 'expiring' | 'expired' | 'refused';

/**
 * What outlives a reload: texts by their keys. A `Map` is one, which outlives nothing; `webStore()` makes one of
 * `localStorage`. One store is one user's: give each its own.
 */
export interface Store {
  entries(): Iterable<[string, string]> | Promise<Iterable<[string, string]>>;
  set(key: string, value: string): unknown;
  delete(key: string): unknown;
}

export interface ClientOptions {
  /** Where imid is, such as `https://imid.example`. */
  url: string;
  /**
   * Gets a token for the user who is logged in, from the customer's own server. Never asked twice at once; what comes after
   * `logout()`, or after `timeoutMs`, is dropped. A rejection, or what is no token, is tried again, later;
   * `null` says that nobody is logged in.
   */
  getToken: (ask: { reason: TokenReason; signal: AbortSignal }) => Promise<string | null>;
  /**
   * Which installation this is, for pushes, and so that the service knows where it was. Without one, each connection is a
   * device of its own, which is right for tabs: of two connections with the same id, the service closes one, with
   * `replaced`.
   */
  deviceId?: string | undefined;
  /** Where the outbox, and how far the inbox was handled, outlive a reload. What takes longer than `timeoutMs` has failed. */
  store?: Store | undefined;
  /**
   * Where an inbox begins that this client knows nothing of: behind what the device has acked, which for a new one is the
   * end (default), or at its very beginning.
   */
  from?: 'acked' | 'beginning' | undefined;
  /** In milliseconds: the longest wait before trying again is `baseMs` (1000), doubled each time, up to `maxMs` (30,000). */
  backoff?: { baseMs?: number; maxMs?: number } | undefined;
  /** How many messages leave the outbox in a second, at most (900): the service ends a connection that says too much. */
  sendsPerSecond?: number | undefined;
  /** In milliseconds: how long the service, or `getToken`, may take to answer (10,000). */
  timeoutMs?: number | undefined;
  /** In milliseconds: after how much silence it is asked whether anybody is there (25,000). */
  silenceMs?: number | undefined;
}

/** A conversation, as a list of them shows it. */
export interface Conversation {
  with: Party;
  last: Message;
  unread: number;
  /** How far this user has read. */
  read?: { messageId: string; at: string };
  /** How far the other side has read. */
  theirRead?: { messageId: string; at: string };
}

export type Contact = Party & { displayName?: string; data?: unknown };

export interface Page<Item> {
  items: Item[];
  /** Asks for the next page; absent at the end. */
  nextCursor?: string;
}

export interface PageOptions {
  /** Up to 1000; 100 unless asked. */
  limit?: number;
  cursor?: string;
}

export interface Client {
  readonly state: State;
  /** Who the user is; undefined before the first connection. */
  readonly me: Me | undefined;
  /** Up to where the inbox was handled. */
  readonly acked: number;
  /** What is not on disk yet, in its order. */
  readonly outbox: readonly Outgoing[];

  /**
   * Connects, and from then on keeps connected. Resolves at the first welcome, however long that takes; rejects where coming
   * back makes no sense. Once more: tries at once.
   */
  connect(): Promise<Welcome>;
  /**
   * Disconnects, and keeps everything: what is not sent yet waits for the next `connect()`. Nothing runs any more; but where
   * nobody is at the other end, Node itself keeps the socket for a while, so end a program by `process.exit()`.
   */
  close(): Promise<void>;
  /** Disconnects, and forgets everything, in the store too; what is not sent yet is rejected with `logged_out`. */
  logout(): Promise<void>;

  /**
   * Hears of each event by that name. Gives back what ends that. Listen before `connect()`: a message that nobody listens for
   * is handled.
   */
  on<Name extends keyof Events>(name: Name, listener: Listener<Name>): () => void;

  /**
   * Sends a message, at once or when it is connected again. Resolves when it is on disk, rejects when the service refuses
   * it; with the same `id`, it is safe to call again at any time.
   */
  send(to: Address | Party, content: unknown, options?: { id?: string; push?: PushText }): Promise<Sent>;
  /** Takes back an own message, for everybody, while the app's `recallSeconds` last. */
  recall(messageId: string): Promise<Sent>;
  /** Takes something out of the outbox; false where it isn't there any more. It may have arrived all the same. */
  cancel(id: string): Promise<boolean>;

  /** All of the conversation up to this message is read: said now, or with the next connection. */
  markRead(who: Address | Party, messageId: string): void;
  /** Shows that one is typing, every two seconds at most; nothing comes of it when not connected. */
  typing(to: Address | Party): void;
  /** Whose presence to hear of, up to 200, instead of those before. */
  watch(users: readonly (Address | Party)[]): void;
  /** Whether somebody is looking: follows the page's visibility, where there is a page. */
  setForeground(isForeground: boolean): void;

  /** Conversations, the newest first. */
  conversations(options?: PageOptions): Promise<Page<Conversation>>;
  /** Messages of the inbox behind a seq. */
  history(options?: { after?: number; limit?: number }): Promise<{ items: Message[]; epoch: string }>;
  /** The list that the customer's server keeps for this user. */
  contacts(options?: PageOptions): Promise<Page<Contact>>;
  /** Whom this user has blocked. */
  blocked(): Promise<Page<Party>>;
  /** Blocks these, and nobody else. */
  block(users: readonly (Address | Party)[]): Promise<void>;
  /** Who the token acts for, how many messages are unread, and whether others may see the presence. */
  profile(): Promise<Me & { unread?: number; presence?: boolean }>;
  /** Whether others may see the presence of this user. */
  sharePresence(isShared: boolean): Promise<void>;
}
