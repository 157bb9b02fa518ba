// The adapters of the five Android vendors, against stand-ins that take only what the vendors do.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Notification } from '../src/push/contract.ts';
import { shorten } from '../src/push/vendor_words.ts';
import { notificationOf, testsOfContract } from './push/contract.ts';
import { names, setUp, type VendorName } from './push/vendors.ts';

for (const name of names) testsOfContract(name, (t) => setUp(t, name));

/** What of a message says which other it takes the place of, and what shows. */
const parts: Record<VendorName, (message: any) => { notifyId: unknown; title: string; body: string }> = {
  Huawei: ({ message: { android } }) => ({
    ...android.notification,
    notifyId: android.notification.notify_id,
  }),
  Honor: ({ android }) => android.notification,
  Xiaomi: ({ notify_id: notifyId, title, description: body }) => ({ notifyId, title, body }),
  OPPO: ({ notification: { notify_id: notifyId, title, content: body } }) => ({ notifyId, title, body }),
  vivo: ({ notifyId, title, content: body }) => ({ notifyId, title, body }),
};

for (const name of names) {
  test(`${name} lets a later notification take the place of an earlier one of the same collapse id only`, async (t) => {
    const { provider, target, messages } = await setUp(t, name);
    const changes: Partial<Notification>[] = [
      { collapseId: 'c_1', id: 'm1' },
      { collapseId: 'c_1', id: 'm2' },
      { collapseId: 'c_2', id: 'm1' },
      { id: 'm1' },
      { id: 'm2' },
    ];
    for (const each of changes) await provider.send(notificationOf(each), target);
    const [first, second, ...others] = messages.map((message) => parts[name](message).notifyId);
    assert.equal(first, second);
    assert.equal(new Set([first, ...others]).size, 4);
  });

  test(`${name} is given a title and a body whatever a notification has of them`, async (t) => {
    const { provider, target, messages } = await setUp(t, name);
    for (const changes of [{ body: undefined }, { title: undefined }, { title: ' ', body: 'Hi' }])
      assert.equal((await provider.send(notificationOf(changes), target)).kind, 'sent');
    const shown = messages.map((message) => {
      const { title, body } = parts[name](message);
      return [title, body];
    });
    assert.deepEqual(shown, [
      ['Chat', 'Alice'],
      ['Chat', 'Lunch? 🍜'],
      ['Chat', 'Hi'],
    ]);
  });

  test(`${name} keeps a notification as long as it can at the most`, async (t) => {
    const { provider, target, messages } = await setUp(t, name);
    for (const ttlSeconds of [1, 60, 100_000, 1e9])
      assert.equal((await provider.send(notificationOf({ ttlSeconds }), target)).kind, 'sent');
    assert.equal(messages.length, 4);
  });
}

test('vendors that tell repeats apart get the same id at a second try, and another one of another message', async (t) => {
  const idIn: Partial<Record<VendorName, (message: any) => unknown>> = {
    Xiaomi: (message) => message['extra.jobkey'],
    OPPO: ({ notification }) => notification.app_message_id,
    vivo: ({ requestId }) => requestId,
  };
  for (const [name, idOf] of Object.entries(idIn)) {
    const { provider, target, messages } = await setUp(t, name as VendorName);
    for (const id of ['m1', 'm1', 'm2']) await provider.send(notificationOf({ id }), target);
    const [first, again, other] = messages.map(idOf);
    assert.equal(first, again, name);
    assert.notEqual(first, other, name);
  }
});

test('each of the devices that get a notification through vivo has a request of its own', async (t) => {
  const { provider, target, messages } = await setUp(t, 'vivo');
  for (const token of ['one', 'another']) await provider.send(notificationOf(), { ...target, token });
  assert.equal(new Set(messages.map(({ requestId }) => requestId)).size, 2);
});

test('how long a notification is kept is said in the unit of each vendor', async (t) => {
  const said: Record<VendorName, (message: any) => unknown> = {
    Huawei: ({ message }) => message.android.ttl,
    Honor: ({ android }) => android.ttl,
    Xiaomi: ({ time_to_live: ms }) => ms,
    OPPO: ({ notification }) => notification.off_line_ttl,
    vivo: ({ timeToLive }) => timeToLive,
  };
  const wanted = { Huawei: '3600s', Honor: '3600s', Xiaomi: '3600000', OPPO: 3_600, vivo: 3_600 };
  for (const name of names) {
    const { provider, target, messages } = await setUp(t, name);
    await provider.send(notificationOf({ ttlSeconds: 3_600 }), target);
    assert.equal(said[name](messages[0]), wanted[name], name);
  }
});

test('what is cut is cut between what people take for characters, as late as a vendor lets it', () => {
  assert.equal(shorten('abcd', 4), 'abcd');
  assert.equal(shorten('abcde', 4), 'abc…');
  assert.equal(shorten('a👩‍👩‍👧b', 8), 'a…');
  assert.equal(shorten('a👩‍👩‍👧bcd', 10), 'a👩‍👩‍👧…');
  assert.equal(shorten('e\u0301'.repeat(4), 5), 'e\u0301e\u0301…');
});

test('vivo counts a Chinese character as two, and takes just as many as fit', async (t) => {
  const { provider, target, messages } = await setUp(t, 'vivo');
  for (const title of ['你'.repeat(20), '你'.repeat(21), 'x'.repeat(40)])
    await provider.send(notificationOf({ title }), target);
  const titles = messages.map((message) => message.title);
  assert.deepEqual(titles, ['你'.repeat(20), `${'你'.repeat(19)}…`, 'x'.repeat(40)]);
});

test('what is silent is data only, and collapses while the device is away, where a vendor knows such', async (t) => {
  const silent = notificationOf({ isSilent: true, collapseId: 'c_1' });
  const huawei = await setUp(t, 'Huawei');
  await huawei.provider.send(silent, huawei.target);
  const [{ message }] = huawei.messages;
  assert.equal(message.data, '{"conversation":"alice"}');
  assert.equal(message.android.notification, undefined);
  assert.ok(message.android.collapse_key >= 1);
  const xiaomi = await setUp(t, 'Xiaomi');
  await xiaomi.provider.send(silent, xiaomi.target);
  assert.equal(xiaomi.messages[0].pass_through, '1');
});

test('a badge shows how much is unread, up to 99', async (t) => {
  for (const [name, pathOf] of [
    ['Huawei', (message: any) => message.message.android.notification.badge.set_num],
    ['Honor', (message: any) => message.android.notification.badge.setNum],
  ] as const) {
    const { provider, target, messages } = await setUp(t, name);
    for (const badge of [0, 7, 1_000]) await provider.send(notificationOf({ badge }), target);
    assert.deepEqual(messages.map(pathOf), [0, 7, 99]);
  }
});

test('a device of the sandbox gets test messages', async (t) => {
  for (const name of ['Huawei', 'Honor', 'vivo'] as const) {
    const { provider, target, taken } = await setUp(t, name);
    await provider.send(notificationOf(), { ...target, environment: 'sandbox' });
    assert.match(taken()[0]!, /"(target_user_type|targetUserType|pushMode)":1/);
  }
});

test('what is too much for a vendor is refused in words instead of being sent in part', async (t) => {
  const { provider, target, asked } = await setUp(t, 'vivo');
  const entries = Object.fromEntries(Array.from({ length: 11 }, (_, n) => [`key${n}`, '']));
  for (const data of [entries, { key: 'x'.repeat(1_022) }]) {
    const outcome = await provider.send(notificationOf({ data }), target);
    assert.ok(outcome.kind === 'failed');
    assert.match(outcome.reason, /^too_large: /);
  }
  assert.equal(
    (await provider.send(notificationOf({ data: { key: 'x'.repeat(1_021) } }), target)).kind,
    'sent',
  );
  assert.equal(asked.length, 2);
});

test('a token that would be several to Xiaomi reaches nobody', async (t) => {
  const { provider, target, asked } = await setUp(t, 'Xiaomi');
  const several = { ...target, token: 'one,another' };
  assert.equal((await provider.send(notificationOf(), several)).kind, 'gone');
  assert.equal(asked.length, 0);
});
