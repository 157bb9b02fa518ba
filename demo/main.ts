// The seed flow in both schemes, side by side, against a real service; exits with 1 when anything isn't as it should be.
// `npm run demo` starts a service of its own; `npm run demo -- <url>` plays on a running one, with its IMID_ADMIN_KEY. Pushes are
// played where that has IMID_ALLOW_PRIVATE_URLS=true.

import type { Client } from './client.ts';
import type { Address } from './imid.ts';
import { perform, type Stage } from './stage.ts';
import { playThirdAct } from './third_act.ts';
import type { Scheme } from './transcript.ts';

const MEANWHILE = ['Then we sail on Sunday.', 'Bring a rope.', 'And the dog.'];

await perform(async (stage: Stage) => {
  const { backend, enter } = stage;
  const { check, sideBySide, across } = stage.transcript;
  const [alice, anna] = [enter('Alice', 'composed'), enter('Anna', 'composed')];
  const [bob, ben] = [enter('Bob', 'registered'), enter('Ben', 'registered')];
  const pairs = { composed: [alice, anna], registered: [bob, ben] } as const;
  /** As clients of the scheme are shown a user. */
  const shown = (scheme: Scheme, { id }: Client): Address =>
    scheme === 'composed' ? { uid: id } : { imId: backend.imIdOf(id) };

  await sideBySide('Both sign up at the customer’s server', async (scheme) => {
    for (const client of pairs[scheme]) await client.signUp();
    const rows = { composed: 0, registered: 2 }[scheme];
    check(scheme, `imid has stored ${rows} rows for them`, (await backend.imid.countRows())[scheme], rows);
  });

  await sideBySide('Both get a token', async (scheme) => {
    for (const client of pairs[scheme]) {
      const { sub, scheme: speaks } = await client.fetchToken();
      check(scheme, 'it is for the right imId', [sub, speaks], [backend.imIdOf(client.id), scheme]);
      check(scheme, 'and imid takes it', await client.askWho(), { scheme, ...shown(scheme, client) });
    }
  });

  await sideBySide('One asks for the contacts', async (scheme) => {
    const [one, other] = pairs[scheme];
    await backend.introduce(one.id, other.id);
    const items = [{ ...shown(scheme, other), displayName: other.name }];
    check(scheme, { composed: 'a uid', registered: 'an imId' }[scheme], await one.fetchContacts(), items);
    check(scheme, 'the list that imid keeps is the same', await one.askImid('/contacts'), { items });
  });

  await sideBySide('One says something, the other answers', async (scheme) => {
    const [one, other] = pairs[scheme];
    for (const client of [one, other]) await client.connect();
    await one.send(one.addressOf(other.name), 'Is the boat afloat?');
    const question = await other.receive();
    await other.send(question.from, 'Like a cork.');
    const answer = await one.receive();
    check(
      scheme,
      'each is shown who wrote',
      [question.from, answer.from],
      [shown(scheme, one), shown(scheme, other)],
    );
    check(scheme, 'both inboxes have both, as #1 and #2', [question.seq, other.seq, one.seq], [1, 2, 2]);
  });

  await sideBySide('The other goes offline, one writes on', async (scheme) => {
    const [one, other] = pairs[scheme];
    await other.disconnect();
    for (const text of MEANWHILE) await one.send(one.addressOf(other.name), text);
    check(scheme, 'all of it is kept, up to #5', one.seq, 5);
  });

  await sideBySide('The other comes back', async (scheme) => {
    const [one, other] = pairs[scheme];
    const from = shown(scheme, one);
    check(scheme, 'it goes on where it was', (await other.connect()).resumed, true);
    const missed = MEANWHILE.map((text, i) => ({ seq: 3 + i, from, text }));
    check(scheme, 'all of it, in order, without a gap', await receive(other, 3), missed);
  });

  await sideBySide('Did it get through? Better send it again', async (scheme) => {
    const [one, other] = pairs[scheme];
    const sent = await one.send(one.addressOf(other.name), 'And lemonade!');
    const again = await one.send(one.addressOf(other.name), 'And lemonade!', sent.id);
    check(scheme, 'the same id gets the same answer', again, sent);
    await other.receive();
    const inbox = (await other.askImid('/messages')) as { items: object[] };
    check(scheme, 'the inbox has it once', inbox.items.length, 6);
  });

  await across('Alice, composed, meets Bob, registered', async () => {
    await backend.introduce('alice', 'bob');
    for (const client of [alice, bob]) await client.fetchContacts();
    await alice.send(alice.addressOf('Bob'), 'Race you to the lighthouse?');
    const challenge = await bob.receive();
    check('registered', 'to him she is an imId, like everybody', challenge.from, shown('registered', alice));
    await bob.send(challenge.from, 'You are on.');
    check('composed', 'to her he is a uid, like everybody', (await alice.receive()).from, { uid: 'bob' });
  });

  await across('Alice is registered, while she is connected', async () => {
    const composedId = backend.imIdOf('alice');
    await backend.register('alice');
    const imId = backend.imIdOf('alice');
    const addresses = [{ uid: 'alice' }, { imId: composedId }, { userId: 'alice' }, { imId }];
    const found = await backend.imid.resolve(addresses);
    const user = { imId, scheme: 'registered', userId: 'alice' };
    check('registered', 'four addresses, one user', found, [user, user, user, user]);
    await anna.fetchContacts();
    await anna.send(anna.addressOf('Alice'), 'The wind is up!');
    await bob.send(bob.addressOf('Alice'), 'First buoy at ten.');
    await bob.fetchContacts();
    await bob.send(bob.addressOf('Alice'), 'Ten sharp.');
    check('composed', 'all at her open socket, and the count goes on', await receive(alice, 3), [
      { seq: 9, from: { uid: 'anna' }, text: 'The wind is up!' },
      { seq: 10, from: { uid: 'bob' }, text: 'First buoy at ten.' },
      { seq: 11, from: { uid: 'bob' }, text: 'Ten sharp.' },
    ]);
    const inbox = await backend.imid.readInbox(imId);
    check('registered', 'one inbox behind both imIds', inbox, await backend.imid.readInbox(composedId));
    await alice.disconnect();
    check('composed', 'her token of before lets her in', (await alice.connect()).resumed, true);
  });

  const tablet = enter('Alice', 'registered', 'tablet');
  await across('Her tablet has the app’s next version: registered', async () => {
    await tablet.logIn();
    await tablet.fetchToken();
    await tablet.connect('beginning');
    const texts = (await receive(tablet, 11)).map(({ text }) => text);
    const kept = await backend.imid.readInbox(backend.imIdOf('alice'));
    check(
      'registered',
      'all she ever got or sent, #1 to #11',
      texts,
      kept.map(({ content }) => content.text),
    );
    await bob.send(bob.addressOf('Alice'), 'Where are you?');
    const [onPhone, onTablet] = [await alice.receive(), await tablet.receive()];
    check('composed', 'here Bob is a uid', onPhone.from, shown('composed', bob));
    check('registered', 'there an imId', onTablet.from, shown('registered', bob));
    const [ids, seqs] = [
      [onPhone.messageId, onTablet.messageId],
      [onPhone.seq, onTablet.seq],
    ];
    check('registered', 'and it is the same message', ids[0], ids[1]);
    check('registered', 'as #12 on both', seqs, [12, 12]);
  });

  await across('All go home', async () => {
    for (const client of [alice, anna, bob, ben, tablet]) await client.disconnect();
    const rows = await backend.imid.countRows();
    check('composed', 'one of four is still composed: Anna', rows, { composed: 1, registered: 3 });
  });

  await playThirdAct(stage, { pairs, shown });
});

/** The next messages, without what differs from run to run. */
async function receive(
  client: Client,
  count: number,
): Promise<{ seq: number; from: Address; text: string }[]> {
  const messages = [];
  for (let i = 0; i < count; i += 1) {
    const { seq, from, content } = await client.receive();
    messages.push({ seq, from, text: content.text });
  }
  return messages;
}
