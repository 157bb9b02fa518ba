// What else clients of the library do against a real service: read, recall, type, watch, block, and ask for conversations.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { watchUser, type Watched } from './clients.ts';
import { eventually, startService, type Service, type Tenant } from './harness.ts';

const [ALICE, BOB] = [{ uid: 'alice' }, { uid: 'bob' }];
let service: Service;
let app: Tenant;
before(async () => {
  service = await startService();
});

/** Alice on two devices, and bob, in an app of their own. */
async function meet(): Promise<{ alice: Watched; tablet: Watched; bob: Watched }> {
  app = await service.createApp();
  const [alice, tablet, bob] = [ALICE, ALICE, BOB].map((each) => watchUser(service, app, each)) as [
    Watched,
    Watched,
    Watched,
  ];
  for (const { client } of [alice, tablet, bob]) await client.connect();
  return { alice, tablet, bob };
}

test('what is read is told to the other side and to the reader’s other devices, and counts in conversations', async () => {
  const { alice, tablet, bob } = await meet();
  await bob.client.send(ALICE, 'one');
  const { messageId } = await bob.client.send(ALICE, 'two');
  const message = await alice.wait('message', ({ content }) => content === 'two');
  const unread = async (): Promise<unknown[]> => {
    const { items } = await alice.client.conversations();
    return [
      items.map((each) => [each.with, each.last.content, each.unread]),
      (await alice.client.profile()).unread,
    ];
  };
  assert.deepEqual(await unread(), [[[BOB, 'two', 2]], 2]);
  alice.client.markRead(message.from, message.messageId);
  const { at, ...told } = await bob.wait('read');
  assert.deepEqual(told, { with: ALICE, from: ALICE, messageId });
  assert.deepEqual(await tablet.wait('read'), { with: BOB, from: ALICE, messageId, at });
  assert.deepEqual(await unread(), [[[BOB, 'two', 0]], 0]);
  assert.deepEqual((await bob.client.conversations()).items[0]!.theirRead, { messageId, at });
});

test('a message that is recalled is gone for everybody, and every seq is accounted for', async () => {
  const { alice, tablet, bob } = await meet();
  const { messageId } = await alice.client.send(BOB, 'oops');
  assert.equal((await alice.client.recall(messageId)).messageId, messageId);
  for (const { wait, client } of [tablet, bob]) {
    const { at: _at, ...told } = await wait('recalled');
    assert.deepEqual(told, { seq: 2, messageId, from: ALICE, to: BOB });
    await eventually(() => client.acked === 2);
  }
  assert.equal(alice.client.acked, 2);
  const { items } = await bob.client.history();
  assert.deepEqual(
    items.map(({ content, recalled, recalls }) => [content, recalled, recalls]),
    [
      [null, true, undefined],
      [null, undefined, messageId],
    ],
  );
  await assert.rejects(bob.client.recall(messageId), { name: 'ImidError' });
});

test('who types is shown, and who is watched, unless that is not shared', async () => {
  const { alice, bob } = await meet();
  bob.client.typing(ALICE);
  assert.deepEqual(await alice.wait('typing'), { from: BOB });
  alice.client.watch([BOB]);
  assert.equal((await alice.wait('presence')).online, true);
  await bob.client.close();
  assert.deepEqual((await alice.wait('presence', ({ online }) => !online)).user, BOB);
  await alice.client.sharePresence(false);
  assert.equal((await alice.client.profile()).presence, false);
});

test('who is blocked is not heard, and the inbox goes on without a gap', async () => {
  const { alice, bob } = await meet();
  await alice.client.block([BOB]);
  assert.deepEqual((await alice.client.blocked()).items, [BOB]);
  await bob.client.send(ALICE, 'unheard');
  await alice.client.block([]);
  await bob.client.send(ALICE, 'heard');
  await app.call('POST', '/messages', { to: ALICE, content: 'of the system' });
  await eventually(() => alice.client.acked === 3);
  assert.deepEqual(
    alice.seen.message.map(({ from, content }) => [from, content]),
    [
      [BOB, 'heard'],
      [{ system: true }, 'of the system'],
    ],
  );
  assert.deepEqual([alice.seen.error, alice.seen.state.length], [[], 2]);
});
