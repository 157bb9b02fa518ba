// The client library of imid, for browsers and for Node: keeps one user of an app connected, hands over what comes once and
// in order, and sends what is to be sent until it is on disk. Depends on nothing but WebSocket and fetch. This comment is the
// guide of docs/client.md.

/**
# The client library

`imid/client` keeps one user of an app connected: it gets tokens, comes back after whatever cut it off, hands over what
comes once and in order, and sends what is to be sent until it is on disk. It runs in browsers (Chrome and Edge from 119 on,
Firefox from 121, Safari from 17.4) and in Node from 22 on, with nothing but their own `WebSocket` and `fetch`; both schemes
go through the same calls.

```ts
import { createClient, webStore } from 'imid/client';

const client = createClient({
  url: 'https://imid.example',
  // Asks your own server, which knows who is logged in, and gets a token from imid with its API key.
  async getToken({ signal }) {
    const response = await fetch('/chat-token', { method: 'POST', signal });
    if (response.status === 401) return null; // nobody is logged in
    if (!response.ok) throw new Error(`no token: ${response.status}`); // it is tried again later
    return response.text();
  },
  store: webStore('alice'),
});

client.on('message', ({ from, content, messageId }) => show(from, content, messageId));
client.on('state', ({ state, error }) => showState(state, error?.code));
await client.connect();

const { messageId } = await client.send({ uid: 'bob' }, { text: 'hello' }); // or { imId: 'im_…' }
```

`npm run build:client` writes it to `dist/client`, as ES modules with their types, which a page can import as they are.

## Sending

`send()` resolves when the message is on disk, in both inboxes, however often the connection was lost meanwhile. What the
service refuses for good (`unknown_recipient`, `payload_too_large`, ...) rejects with an `ImidError` of that `code`. What can't
be sent now waits in the outbox, in its order; with a `store` it outlives a reload, and the `sent` and `failed` events tell of
it where the promise is gone. It is safe to call again with the same `id`: it is stored once.

## Receiving

`message` events come in the order of `seq`, without gaps. A listener may give back a promise: the next one waits for it, and
what it isn't done with isn't acked, so that it comes again: after a reload, with the next connection, on the next start of the
device. Since a message can so come twice, keep them by `messageId`. The user's own messages from other devices come
as well; those of this client do only where it can't know that it sent them, after a reload or where their answer was lost.
A listener that is slower than what comes holds up no more than 5000: the rest waits at the service.

While the app is in the background (`setForeground`, which follows the page's visibility), messages come as ever, but nothing is
acked: so the service pushes them to the device, if it is bound to a provider of push. They are acked when the user comes back.

At `reset`, drop everything: the inbox is another one than before, and comes anew.

## Coming back

A lost connection is made again by itself, after a random part of a wait that doubles each time (`backoff`), and at once when the
network or the page comes back. The library asks every `silenceMs` whether somebody is there, since the pings of the
service are shown to no browser. Close codes decide by their range: below 4500 it comes back, from 4500 on, and where the
library itself is at fault, it is `closed` until the next `connect()`.

Why it isn't connected is told by the `error` of the `state` event. Browsers aren't told why a connection was refused; the
library asks `GET /v1/me`, and so tells a refused token from a lost network.

| code | state | what to do |
| --- | --- | --- |
| `no_network` | `waiting` | nothing |
| `token_expired`, `unavailable`, `rate_limited` | `waiting` | nothing |
| `no_token` | `waiting`, `closed` | nothing where `getToken` failed; log in where it gave `null` |
| `unauthorized`, `token_revoked` | `closed` | log in: a fresh token was refused, or what the user had is revoked |
| `forbidden`, `scheme_disabled` | `closed` | change the app's `allowedOrigins`, its schemes, or the `deviceId` |
| `replaced` | `closed` | say that it is used elsewhere; `connect()` when the user comes back here |
| `protocol_error`, `payload_too_large`, `invalid_request` | `closed` | update the library, or look at the `url` |

## Tokens

`getToken` is asked for the first token, again before that is over, when the service says that it is over or not good, and
by one at a time. The clock of the device doesn't matter: how long a token lives is counted from when it comes. Nobody
logged in is `null`; a rejection, or what is no token, is tried again later. After `logout()`, a token that comes late is dropped, and nothing of the user is left.

## Tabs and devices

Without a `deviceId`, every connection is a device of its own, which the service forgets at its end. That is right for pages:
each tab gets everything, and goes on where it was for as long as it lives; with a `store`, after a reload too. Tabs may share a
store: what one couldn't send any more the next one sends, and never twice. Give a `deviceId`, one for each installation, to an
app that is installed or wants pushes. Two connections with the same one don't fight: the later stays.

@packageDocumentation
*/

import { createAcks } from './acks.ts';
import { createBackoff } from './backoff.ts';
import type { Address, Client, ClientOptions, Me, Outgoing, Sent, StateChange, Welcome } from './contract.ts';
import { ImidError } from './errors.ts';
import { createInbox, readPlace } from './inbox.ts';
import { createListeners } from './listeners.ts';
import { readOptions } from './options.ts';
import { createOutbox } from './outbox.ts';
import { followPage, hasPage, isPageVisible } from './page.ts';
import { createQueries } from './queries.ts';
import { createRest } from './rest.ts';
import { createSession, type Frame } from './session.ts';
import { createShelf } from './shelf.ts';
import { createSignals } from './signals.ts';
import { createTokens } from './tokens.ts';

export type {
  Client,
  ClientOptions,
  Events,
  Listener,
  StateChange,
  State,
  TokenReason,
  Store,
  Address,
  Party,
  Me,
  Message,
  Sent,
  PushText,
  Outgoing,
  Failed,
  Recalled,
  Read,
  Typing,
  Presence,
  Reset,
  Welcome,
  Conversation,
  Contact,
  Page,
  PageOptions,
} from './contract.ts';
export { ImidError, type Code, type LibraryCode, type ServiceCode } from './errors.ts';
export { webStore, type WebStorage } from './web_store.ts';

/** A client of one user; of another user, after `logout()`. Does nothing until `connect()`. */
export function createClient(options: ClientOptions): Client {
  const checked = readOptions(options);
  const { url, getToken, from, backoff, sendsPerSecond, timeoutMs } = checked;
  const listeners = createListeners();
  const { fail } = listeners;
  const nextId = createIds();
  const tokens = createTokens({ getToken, timeoutMs });
  const rest = createRest({ url, tokens, timeoutMs });
  const shelf = createShelf(options.store, timeoutMs, fail);
  const outbox = createOutbox({
    shelf,
    backoff: createBackoff(backoff),
    sendsPerSecond,
    write: (text) => session.send(text),
    onFailed: (failed) => inbox.pass('failed', failed),
  });
  const inbox = createInbox({ hand: listeners.hand, onHandled: () => acks.plan() });
  const acks = createAcks({
    inbox,
    shelf,
    isForeground: () => isForeground,
    write: (text) => session.send(text),
  });
  const write = (frame: object): void => session.send(JSON.stringify(frame));
  const signals = createSignals({ write, isOpen: () => session.state === 'open', timeoutMs });
  let isForeground = isPageVisible();
  /** What the service has been told of that. */
  let told = isForeground;
  let me: Me | undefined;
  let restoring: Promise<void> | undefined;
  /** Counts those who have logged out. */
  let users = 0;
  let unfollowPage: (() => void) | undefined;

  const session = createSession({
    ...checked,
    tokens,
    rest,
    fail,
    tell: changed,
    prepare: () => Promise.all([(restoring ??= restore(users)), inbox.hasRoom()]),
    findPlace: () => inbox.place ?? (from === 'beginning' ? { seq: 0 } : {}),
    isForeground: () => (told = isForeground),
    onWelcome: welcomed,
    onFrame: receive,
    onEnd() {
      inbox.interrupt();
      outbox.interrupt();
    },
  });

  async function restore(forUser: number): Promise<void> {
    const kept = await shelf.load();
    if (forUser !== users) return; // who has logged out meanwhile
    inbox.restore(readPlace(kept.find(([key]) => key === 'place')?.[1]));
    outbox.restore(kept);
  }

  function changed(change: StateChange): void {
    if (change.state === 'open') {
      outbox.open();
      signals.open();
      tellForeground(); // it may have changed on the way
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
    signals.hear();
    let fault: string | undefined;
    if (type === 'sent') {
      outbox.settle(event as unknown as Sent);
      fault = inbox.take(type, event, seq);
    } else if (type === 'message' || type === 'recalled') fault = inbox.take(type, event, seq);
    else if (type === 'skip') fault = inbox.take('message', event, seq, true);
    else if (type === 'read' || type === 'typing' || type === 'presence') inbox.pass(type, event);
    else if (type === 'error') {
      const error = new ImidError(event['code'] as string, event['detail'] as string);
      if (!outbox.refuse(event['id'] as string, error)) fail(error);
    } // else a pong, or of a later version
    if (fault !== undefined) session.renew(fault);
  }

  function tellForeground(): void {
    if (session.state !== 'open' || told === isForeground) return;
    told = isForeground;
    write({ type: 'state', state: told ? 'foreground' : 'background' });
  }

  function setForeground(to: boolean): void {
    if (to === isForeground) return;
    if (!to) acks.flush(); // the page may be gone at any moment
    isForeground = to;
    tellForeground();
    if (!to) return;
    acks.plan();
    session.nudge();
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
    tokens.cancel(error);
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
      users += 1;
      await Promise.all([closing, shelf.clear()]);
    },

    on: listeners.on,

    send: (to, content, { id = nextId(), push } = {}) =>
      add({ type: 'send', id, to: to as Address, content, ...(push && { push }) }),
    recall: (messageId) => add({ type: 'recall', id: nextId(), messageId }),
    cancel: async (id) => outbox.fail(id, new ImidError('cancelled', 'The app has taken it back.')),

    markRead: signals.markRead,
    typing: signals.typing,
    watch: signals.watch,
    setForeground,

    ...createQueries(rest),
  };
}

/** Makes ids that no other device makes. Not by `randomUUID`, which pages have over https alone. */
function createIds(): () => string {
  const prefix = Array.from(crypto.getRandomValues(new Uint8Array(16)), (each) =>
    each.toString(16).padStart(2, '0'),
  ).join('');
  let count = 0;
  return () => `${prefix}-${(count += 1).toString(36)}`;
}
