// Messages and contacts over REST.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { startService, type Service } from './harness.ts';
import { PLANTED } from './logs.ts';

let service: Service;
before(async () => {
  service = await startService();
});

test('a backend sends as any user, and a repeated id answers the same', async () => {
  const app = await service.createApp();
  const message = { from: { uid: 'a' }, to: { uid: 'b' }, content: { n: 1 }, id: 'order-1' };
  const first = await app.call('POST', '/messages', message);
  assert.equal(first.status, 201);
  assert.deepEqual(Object.keys(first.body).toSorted(), ['at', 'messageId', 'seq']);
  assert.equal(first.body.seq, 1);
  assert.deepEqual((await app.call('POST', '/messages', message)).body, first.body);
  assert.equal((await app.call('POST', '/messages', { ...message, id: undefined })).body.seq, 2);
  const [stored] = await app.inbox(`${app.appId}:b`);
  assert.deepEqual(stored, {
    seq: 1,
    messageId: first.body.messageId,
    from: { imId: `${app.appId}:a`, uid: 'a' },
    to: { imId: `${app.appId}:b`, uid: 'b' },
    content: { n: 1 },
    at: first.body.at,
  });
});

test('the seq in the answer is the recipient’s, the one in sent the sender’s', async () => {
  const app = await service.createApp();
  for (let n = 0; n < 3; n++)
    await app.call('POST', '/messages', { from: { uid: 'x' }, to: { uid: 'b' }, content: n });
  const { body } = await app.call('POST', '/messages', { from: { uid: 'a' }, to: { uid: 'b' }, content: 1 });
  assert.equal(body.seq, 4);
  const a = await app.connect({ uid: 'a' });
  assert.equal((await a.say({ uid: 'b' }, 2)).seq, 2);
});

test('a list of recipients gets a result each, in order, and a repeat stores only what is missing', async () => {
  const app = await service.createApp();
  const bob = await app.connect({ uid: 'bob' });
  const message = {
    from: { uid: 'news' },
    to: [{ uid: 'bob' }, { userId: 'later' }, { uid: 'carol' }, { uid: 'bob' }, { uid: 'news' }],
    content: PLANTED,
    id: 'issue-1',
  };
  const first = await app.call('POST', '/messages', message);
  assert.equal(first.status, 201);
  assert.deepEqual(
    first.body.results.map(
      (result: { seq?: number; error?: { code: string } }) => result.seq ?? result.error?.code,
    ),
    [1, 'unknown_recipient', 1, 1, 3],
  );
  await app.register('later');
  const again = await app.call('POST', '/messages', message);
  assert.equal(again.body.results[1].seq, 1);
  assert.deepEqual(again.body.results.toSpliced(1, 1), first.body.results.toSpliced(1, 1));
  assert.equal((await bob.messages(1)).length, 1);
  assert.equal((await app.inbox(`${app.appId}:bob`)).length, 1);
  assert.deepEqual(
    (await app.inbox(`${app.appId}:news`)).map((entry) => entry.seq),
    [1, 2, 3, 4],
  );
});

test('a list sent again in another order, or longer, answers by recipient and stores only for the new ones', async () => {
  const app = await service.createApp();
  const send = (...uids: string[]) =>
    app.call('POST', '/messages', {
      from: { uid: 'news' },
      to: uids.map((uid) => ({ uid })),
      content: 1,
      id: 'x',
    });
  const idsOf = (answer: { body: { results: { messageId: string }[] } }) =>
    answer.body.results.map((result) => result.messageId);
  const [a, b] = idsOf(await send('a', 'b'));
  assert.deepEqual(idsOf(await send('b', 'a', 'b')), [b, a, b]);
  const longer = idsOf(await send('c', 'b', 'd', 'a'));
  assert.deepEqual([longer[1], longer[3]], [b, a]);
  assert.equal(new Set(longer).size, 4);
  assert.deepEqual(idsOf(await send('c', 'b', 'd', 'a')), longer);
  for (const uid of ['a', 'b', 'c', 'd']) assert.equal((await app.inbox(`${app.appId}:${uid}`)).length, 1);
});

test('the same id is answered the same when its recipient is erased, on every process', async () => {
  const app = await service.createApp();
  const second = await startService({ on: service });
  const imId = await app.register('bob');
  const message = { from: { uid: 'a' }, to: { imId }, content: 1, id: 'x' };
  const first = await app.call('POST', '/messages', message);
  await app.call('DELETE', `/identities/${imId}`);
  for (const process of [service, second])
    assert.deepEqual(
      (await process.call('POST', `${app.path}/messages`, { body: message })).body,
      first.body,
    );
  const client = await second.connect(await app.token({ uid: 'a' }));
  assert.equal((await client.say({ imId }, 1, 'x')).messageId, first.body.messageId);
  assert.equal((await client.say({ imId }, 1, 'y')).code, 'unknown_recipient');
});

test('a thousand recipients are one unit', async () => {
  const app = await service.createApp();
  const to = Array.from({ length: 1000 }, (_, n) => ({ uid: `user-${n}` }));
  const { status, body } = await app.call('POST', '/messages', { from: { uid: 'news' }, to, content: 1 });
  assert.deepEqual(
    [
      status,
      body.results.length,
      new Set(body.results.map((result: { messageId: string }) => result.messageId)).size,
    ],
    [201, 1000, 1000],
  );
  assert.ok(body.results.every((result: { seq: number }) => result.seq === 1));
  const tooMany = await app.call('POST', '/messages', {
    from: { uid: 'news' },
    to: [...to, { uid: 'x' }],
    content: 1,
  });
  assert.equal(tooMany.body.errors[0].pointer, '#/to');
});

test('content beyond 16 KiB is refused, naming the field', async () => {
  const app = await service.createApp();
  const answer = await app.call('POST', '/messages', {
    from: { uid: 'a' },
    to: { uid: 'b' },
    content: 'x'.repeat(16 * 1024),
  });
  assert.deepEqual(
    [answer.status, answer.body.code, answer.body.errors[0].pointer],
    [413, 'payload_too_large', '#/content'],
  );
});

test('what a push has no room for, or Apple keeps for itself, is refused with its message', async () => {
  const app = await service.createApp();
  const send = async (data: object) => {
    const { status, body } = await app.call('POST', '/messages', {
      from: { uid: 'a' },
      to: { uid: 'b' },
      content: 1,
      push: { data },
    });
    return [status, body.code, body.errors?.[0].pointer];
  };
  const much = Object.fromEntries(['a', 'b', 'c', 'd'].map((key) => [key, 'x'.repeat(500)]));
  for (const two of ['"', 'ü']) {
    assert.deepEqual(await send({ ...much, e: two.repeat(6) }), [201, undefined, undefined]);
    assert.deepEqual(await send({ ...much, e: two.repeat(7) }), [413, 'payload_too_large', '#/push/data']);
  }
  assert.deepEqual(await send({ aps: 'x' }), [400, 'invalid_request', '#/push/data']);
});

test('many who send to one another at once leave every inbox without a gap', async () => {
  const app = await service.createApp();
  const names = Array.from({ length: 8 }, (_, n) => `u${n}`);
  await Promise.all(
    names.flatMap((from) =>
      names.flatMap((to) =>
        Array.from({ length: 3 }, (_, n) =>
          app.call('POST', '/messages', { from: { uid: from }, to: { uid: to }, content: n }),
        ),
      ),
    ),
  );
  for (const name of names) {
    const inbox = await app.inbox(`${app.appId}:${name}`);
    assert.deepEqual(
      inbox.map((message) => message.seq),
      Array.from({ length: 8 * 3 * 2 - 3 }, (_, n) => n + 1),
    );
  }
});

test('an inbox is read in pages by after', async () => {
  const app = await service.createApp();
  for (let n = 0; n < 7; n++)
    await app.call('POST', '/messages', { from: { uid: 'x' }, to: { uid: 'b' }, content: n });
  const seqs: number[] = [];
  for (;;) {
    const { body } = await app.call('GET', `/messages?imId=${app.appId}:b&limit=3&after=${seqs.at(-1) ?? 0}`);
    seqs.push(...body.items.map((message: { seq: number }) => message.seq));
    if (body.items.length < 3) break;
  }
  assert.deepEqual(seqs, [1, 2, 3, 4, 5, 6, 7]);
});

test('contacts come to a composed token as uids and to a registered one as imIds', async () => {
  const app = await service.createApp();
  const carol = await app.register('carol');
  const items = [
    { uid: 'bob', displayName: PLANTED, data: { avatar: [PLANTED, null] } },
    { userId: 'carol' },
  ];
  const put = await app.call('PUT', `/contacts/${app.appId}:alice`, { items });
  assert.equal(put.status, 200);
  assert.deepEqual(put.body.items, [
    { imId: `${app.appId}:bob`, uid: 'bob', displayName: PLANTED, data: { avatar: [PLANTED, null] } },
    { imId: carol, userId: 'carol' },
  ]);
  assert.deepEqual((await app.call('GET', `/contacts/${app.appId}:alice`)).body, put.body);
  const mine = async (token: string) =>
    (await service.call('GET', '/v1/me/contacts', { key: token })).body.items;
  const composed = await app.token({ uid: 'alice' });
  assert.deepEqual(await mine(composed), [
    { uid: 'bob', displayName: PLANTED, data: { avatar: [PLANTED, null] } },
    { uid: 'carol' },
  ]);
  await app.register('alice');
  const registered = await app.token({ userId: 'alice' });
  assert.deepEqual(await mine(registered), [
    { imId: `${app.appId}:bob`, displayName: PLANTED, data: { avatar: [PLANTED, null] } },
    { imId: carol },
  ]);
});

test('a contact follows its user through adoption and rename, and goes when it is erased', async () => {
  const app = await service.createApp();
  await app.call('PUT', `/contacts/${app.appId}:alice`, { items: [{ uid: 'bob' }, { uid: 'carol' }] });
  const list = async () => (await app.call('GET', `/contacts/${app.appId}:alice`)).body.items;
  const imId = await app.register('robert', { uid: 'bob' });
  assert.deepEqual((await list())[0], { imId, userId: 'robert' });
  await app.call('DELETE', `/identities/${app.appId}:carol`);
  assert.deepEqual(await list(), [{ imId, userId: 'robert' }]);
});

test('a contact list names nobody unknown, nobody twice, and is replaced as a whole', async () => {
  const app = await service.createApp();
  const put = (...items: object[]) => app.call('PUT', `/contacts/${app.appId}:alice`, { items });
  await put({ uid: 'a' }, { uid: 'b' }, { uid: 'c' });
  assert.deepEqual((await put({ uid: 'a' }, { userId: 'nobody' })).body.errors[0].pointer, '#/items/1');
  assert.deepEqual((await put({ uid: 'a' }, { imId: `${app.appId}:a` })).body.errors[0].pointer, '#/items/1');
  assert.equal((await put({ uid: 'a', data: 'x'.repeat(5000) })).status, 413);
  const page = await app.call('GET', `/contacts/${app.appId}:alice?limit=2`);
  assert.deepEqual(
    page.body.items.map((item: { uid: string }) => item.uid),
    ['a', 'b'],
  );
  const next = await app.call('GET', `/contacts/${app.appId}:alice?limit=2&cursor=${page.body.nextCursor}`);
  assert.deepEqual(next.body, { items: [{ imId: `${app.appId}:c`, uid: 'c' }] });
  await put({ uid: 'd' });
  assert.equal((await app.call('GET', `/contacts/${app.appId}:alice`)).body.items.length, 1);
});

test('an id that another user gave before, under the same name, is no repeat', async () => {
  const app = await service.createApp(['composed']);
  const other = await startService({ on: service });
  const send = (on: Service, uid: string) =>
    on.call('POST', `${app.path}/messages`, {
      key: app.apiKey,
      body: { from: { uid }, to: { uid: 'x' }, content: uid, id: 'order-1' },
    });
  for (const on of [service, other]) await send(on, 'a');
  const [first] = await app.inbox(`${app.appId}:x`);
  await app.call('PATCH', `/identities/${app.appId}:a`, { uid: 'b' });
  for (const on of [other, service]) assert.notEqual((await send(on, 'a')).body.messageId, first.messageId);
  assert.equal((await send(other, 'b')).body.messageId, first.messageId);
  assert.equal((await app.inbox(`${app.appId}:x`)).length, 2);
  await app.call('DELETE', `/identities/${app.appId}:a`);
  await send(other, 'a');
  assert.equal((await app.inbox(`${app.appId}:x`)).length, 3);
  await other.close();
});
