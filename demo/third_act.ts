// The third act: a phone in the hand, in a pocket, with its app killed, opened again, and given to somebody else. What of it
// comes through the socket, and what as a push.

import { setTimeout } from 'node:timers/promises';
import type { Client } from './client.ts';
import type { Address } from './imid.ts';
import { createPhone } from './phone.ts';
import { openSender } from './sender.ts';
import type { Stage } from './stage.ts';
import type { Scheme } from './transcript.ts';

interface Cast {
  /** One writes, the other has a phone. */
  pairs: Record<Scheme, readonly [Client, Client]>;
  shown(scheme: Scheme, user: Client): Address;
}

const PATIENCE_MS = 10_000;
const POLL_MS = 20;
const NEWCOMERS = { composed: 'Amy', registered: 'Bill' } as const;

export async function playThirdAct(
  { backend, enter, transcript: { check, print, sideBySide, tell } }: Stage,
  { pairs, shown }: Cast,
): Promise<void> {
  const { imid } = backend;
  using sender = await openSender();
  if (!(await imid.putSender(sender))) {
    print(
      '\nThe third act, pushes to phones, is left out: for it the service needs IMID_ALLOW_PRIVATE_URLS=true.',
    );
    return;
  }
  // Once for both schemes: the app has one sender.
  const tried = await imid.trySender();
  const phones = {
    composed: createPhone({ scheme: 'composed', tell }),
    registered: createPhone({ scheme: 'registered', tell }),
  };
  /** Waits until imid knows where a user stands. */
  async function become({ id }: Client, expected: { online: boolean; foreground: boolean }): Promise<void> {
    const late = AbortSignal.timeout(PATIENCE_MS);
    for (;;) {
      const { online, foreground } = await imid.findPresence(backend.imIdOf(id));
      if (online === expected.online && foreground === expected.foreground) return;
      if (late.aborted) throw new Error(`${id} does not become ${JSON.stringify(expected)}.`);
      await setTimeout(POLL_MS);
    }
  }

  await sideBySide('At night, the other says how to reach the phone by push', async (scheme) => {
    const [one, other] = pairs[scheme];
    sender.reach(phones[scheme]);
    for (const client of [one, other]) await client.connect();
    await other.bindPush(phones[scheme].pushToken);
    check(scheme, 'the customer’s sender takes what imid signs', tried, { ok: true });
  });

  await sideBySide('The phone is in the hand', async (scheme) => {
    const [one, other] = pairs[scheme];
    await one.send(one.addressOf(other.name), 'Are you home?');
    await other.read(await other.receive());
    await one.hearRead();
    check(scheme, 'it came through the socket, and is read', await other.countUnread(), 0);
  });

  await sideBySide('It goes into the pocket', async (scheme) => {
    const [[one, other], phone] = [pairs[scheme], phones[scheme]];
    other.leave();
    await become(other, { online: true, foreground: false });
    await one.send(one.addressOf(other.name), 'I have the dog.');
    const { seq, messageId } = await other.receive();
    const { title, badge, data } = await phone.next();
    check(scheme, 'the first push: nothing of it came before', [title, badge], [one.name, 1]);
    const pushed = { messageId, seq: String(seq), count: '1', sender: backend.imIdOf(one.id) };
    check(scheme, 'it says of which message, and who wrote', data, pushed);
    const inbox = await imid.readInbox(backend.imIdOf(other.id));
    check(scheme, 'and the inbox keeps it', inbox.at(-1)?.messageId, messageId);
  });

  await sideBySide('The system kills the app', async (scheme) => {
    const [[one, other], phone] = [pairs[scheme], phones[scheme]];
    await other.die();
    await become(other, { online: false, foreground: false });
    await one.send(one.addressOf(other.name), 'He wants to stay.');
    const { badge, data } = await phone.next();
    check(scheme, 'a push for both that wait', [badge, data['count']], [2, '2']);
    check(scheme, 'in the place of the one before', phone.shown.length, 1);
  });

  await sideBySide('The app is opened again', async (scheme) => {
    const [[one, other], phone] = [pairs[scheme], phones[scheme]];
    check(scheme, 'it goes on where it was', (await other.connect()).resumed, true);
    const missed = await other.receive();
    const { messageId, content } = missed;
    check(scheme, 'with what it missed alone', content, { text: 'He wants to stay.' });
    await other.read({ from: missed.from, messageId });
    await one.hearRead();
    phone.setBadge(await other.countUnread());
    check(scheme, 'the badge is back to zero', phone.badge, 0);
  });

  await sideBySide('One logs out, somebody else logs in on the phone', async (scheme) => {
    const [[one, other], phone] = [pairs[scheme], phones[scheme]];
    await other.logOut();
    const another = enter(NEWCOMERS[scheme], scheme, NEWCOMERS[scheme], other.device);
    await another.signUp();
    await another.fetchToken();
    await another.connect();
    await another.bindPush(phone.pushToken);
    await another.die();
    await become(another, { online: false, foreground: false });
    await backend.introduce(one.id, another.id);
    await one.fetchContacts();
    check(scheme, 'one more whom one knows', one.addressOf(another.name), shown(scheme, another));
    const kept = await one.send(one.addressOf(other.name), 'Sleep well!');
    const { messageId } = await one.send(one.addressOf(another.name), 'And who are you?');
    const { badge, data } = await phone.next();
    check(scheme, 'the push is for the new one', [badge, data['messageId']], [1, messageId]);
    check(scheme, 'and the phone shows nothing else', phone.shown.length, 1);
    const inbox = await imid.readInbox(backend.imIdOf(other.id));
    check(scheme, 'what the old one got waits in the inbox', inbox.at(-1)?.messageId, kept.messageId);
    check(
      scheme,
      'whom imid knows no phone of any more',
      await imid.listDevices(backend.imIdOf(other.id)),
      [],
    );
    await one.disconnect();
    phone.checkQuiet();
  });
}
