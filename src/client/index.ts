// The client library of imid, for browsers and for Node: keeps one user of an app connected, hands over what comes once and
// in order, and sends what is to be sent until it is on disk. Depends on nothing but WebSocket and fetch.

import { createAcks } from './acks.ts';
import { createBackoff } from './backoff.ts';
import type { Address, Client, ClientOptions, Me, Outgoing, Sent, StateChange, Welcome } from './contract.ts';
import { ImidError } from './errors.ts';
import { createInbox, type Place } from './inbox.ts';
import { createListeners } from './listeners.ts';
import { createOutbox } from './outbox.ts';
import { followPage, hasPage, isPageVisible } from './page.ts';
import { createQueries } from './queries.ts';
import { createRest } from './rest.ts';
import { createSession, type Frame } from './session.ts';
import { createShelf } from './shelf.ts';
import { createSignals } from './signals.ts';
import { createTokens } from './tokens.ts';

export type {
  Address,
  Client,
  ClientOptions,
  Contact,
  Conversation,
  Events,
  Failed,
  Listener,
  Me,
  Message,
  Outgoing,
  Page,
  PageOptions,
  Party,
  Presence,
  PushText,
  Read,
  Recalled,
  Reset,
  Sent,
  State,
  StateChange,
  Store,
  TokenReason,
  Typing,
  Welcome,
} from './contract.ts';
export { ImidError, type Code, type LibraryCode, type ServiceCode } from './errors.ts';
export { webStore, type WebStorage } from './web_store.ts';

/** A client of one user; of another user, after `logout()`. Does nothing until `connect()`. */
export function createClient(options: ClientOptions): Client {
  const { getToken, from, timeoutMs = 10_000, silenceMs = 25_000 } = options;
  const url = options.url.replace(/\/+$/, '');
  const listeners = createListeners();
  const { fail } = listeners;
  const tokens = createTokens({ getToken, timeoutMs });
  const rest = createRest({ url, tokens, timeoutMs });
  const shelf = createShelf(options.store, fail);
  const outbox = createOutbox({
    shelf,
    backoff: createBackoff(options.backoff),
    write: (text) => session.send(text),
    onFailed: (failed) => inbox.pass('failed', failed),
  });
  const inbox = createInbox({ hand: listeners.hand, onHandled: () => acks.plan() });
  const acks = createAcks({ inbox, shelf, write: (text) => session.send(text) });
  const write = (frame: object): void => session.send(JSON.stringify(frame));
  const signals = createSignals({ write, isOpen: () => session.state === 'open' });
  let isForeground = isPageVisible();
  let me: Me | undefined;
  let restoring: Promise<void> | undefined;
  let unfollowPage: (() => void) | undefined;

  const session = createSession({
    ...options,
    url,
    timeoutMs,
    silenceMs,
    tokens,
    rest,
    fail,
    tell: changed,
    prepare: () => (restoring ??= restore()),
    findPlace: () => inbox.place ?? (from === 'beginning' ? { seq: 0 } : {}),
    isForeground: () => isForeground,
    onWelcome: welcomed,
    onFrame: receive,
    onEnd() {
      inbox.interrupt();
      outbox.interrupt();
    },
  });

  async function restore(): Promise<void> {
    const kept = await shelf.load();
    const place = kept.find(([key]) => key === 'place')?.[1];
    if (place !== undefined && !inbox.place) inbox.place = JSON.parse(place) as Place;
    outbox.restore(kept);
  }

  function changed(change: StateChange): void {
    if (change.state === 'open') {
      outbox.open();
      signals.open();
    }
    void listeners.hand('state', change);
  }

  function welcomed(welcome: Welcome, after: number | undefined, sub: string | undefined): void {
    const { place } = inbox;
    // Somebody else has logged in, without a logout before: what the one before wanted to say isn't theirs.
    if (place && place.epoch !== welcome.epoch && place.sub !== sub)
      outbox.failAll(new ImidError('other_user', 'Another user wanted to send this.'));
    ({ me } = welcome);
    inbox.begin(welcome, after, sub);
    acks.begin(welcome.acked);
  }

  function receive({ type, ...event }: Frame): void {
    const seq = event['seq'] as number;
    let isNext = true;
    if (type === 'sent') {
      outbox.settle(event as unknown as Sent);
      isNext = inbox.take(type, event, seq);
    } else if (type === 'message' || type === 'recalled') isNext = inbox.take(type, event, seq);
    else if (type === 'skip') isNext = inbox.take('message', event, seq, true);
    else if (type === 'read' || type === 'typing' || type === 'presence') inbox.pass(type, event);
    else if (type === 'error') {
      const error = new ImidError(event['code'] as string, event['detail'] as string);
      if (!outbox.refuse(event['id'] as string, error)) fail(error);
    } // else a pong, or of a later version
    if (!isNext) session.renew('a seq is missing');
  }

  function setForeground(to: boolean): void {
    if (to === isForeground) return;
    isForeground = to;
    write({ type: 'state', state: to ? 'foreground' : 'background' });
    if (to) session.nudge();
    else acks.flush(); // the page may be gone at any moment
  }

  function add(outgoing: Outgoing): Promise<Sent> {
    const adding = (async () => outbox.add(outgoing))();
    adding.catch(() => {}); // whoever doesn't wait for it hears of it by `failed`
    return adding;
  }

  async function close(error: ImidError): Promise<void> {
    unfollowPage?.();
    unfollowPage = undefined;
    acks.flush();
    await session.close(error);
  }

  return {
    get state() {
      return session.state;
    },
    get me() {
      return me;
    },
    get acked() {
      return inbox.place?.seq ?? 0;
    },
    get outbox() {
      return outbox.outgoing;
    },

    connect() {
      if (!unfollowPage) {
        unfollowPage = followPage({ onVisibility: setForeground, onOnline: () => session.nudge() });
        if (hasPage) isForeground = isPageVisible();
      }
      return session.connect();
    },
    close: () => close(new ImidError('cancelled', 'The app has closed the connection.')),
    async logout() {
      const error = new ImidError('logged_out', 'The user has logged out.');
      tokens.forget();
      const closing = close(error);
      outbox.failAll(error);
      inbox.forget();
      acks.forget();
      signals.forget();
      session.forget();
      me = undefined;
      restoring = undefined;
      await Promise.all([closing, shelf.clear()]);
    },

    on: listeners.on,

    send: (to, content, { id = createId(), push } = {}) =>
      add({ type: 'send', id, to: to as Address, content, ...(push && { push }) }),
    recall: (messageId) => add({ type: 'recall', id: createId(), messageId }),
    cancel: async (id) => outbox.fail(id, new ImidError('cancelled', 'The app has taken it back.')),

    markRead: signals.markRead,
    typing: signals.typing,
    watch: signals.watch,
    setForeground,

    ...createQueries(rest),
  };
}

/** One that no other device makes. Not `randomUUID`, which pages have over https alone. */
function createId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (each) =>
    each.toString(16).padStart(2, '0'),
  ).join('');
}
