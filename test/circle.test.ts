// What users of messengers expect beside messages: blocking, recalling, typing, and seeing who is online; in both schemes,
// over two processes.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { beginMerger, fillInbox } from './halfway.ts';
import {
  eventually,
  startService,
  type Answer,
  type Client,
  type Json,
  type Service,
  type Tenant,
} from './harness.ts';

let service: Service;
let second: Service;
let app: Tenant;
before(async () => {
  service = await startService();
  second = await startService({ on: service });
  app = await service.createApp();
});

const block = (address: object, ...items: object[]): Promise<Answer> =>
  app.as(address, 'PUT', '/blocked', { items });
const say = (from: string, to: string, content: unknown): Promise<Answer> =>
  app.call('POST', '/messages', { from: { uid: from }, to: { uid: to }, content });
const merge = (from: string, into: string): Promise<Answer> =>
  app.call('POST', `/identities/${app.appId}:${into}/merge`, { from: { uid: from } });
const contentsOf = async (uid: string): Promise<unknown[]> =>
  (await app.as({ uid }, 'GET', '/messages?limit=1000')).body.items.map(({ content }: Json) => content);
const ofType = (type: string) => (frame: Json) => frame.type === type;
const connectTo = async (
  at: Service,
  address: object,
  query?: Record<string, string | number>,
): Promise<Client> => at.connect(await app.token(address), query);
const seqs = (client: Client): number[] =>
  client.frames
    .filter(({ type }) => ['sent', 'message', 'recalled', 'skip'].includes(type))
    .map(({ seq }) => seq);

test('who is blocked is answered as ever, and nothing arrives, on any device, then or later', async () => {
  const bob = await connectTo(service, { uid: 'bob' }, { device: 'phone' });
  const elsewhere = await connectTo(second, { uid: 'bob' }, { device: 'tablet' });
  const eve = await connectTo(second, { uid: 'eve' });
  await eve.say({ uid: 'bob' }, 'before');
  await bob.messages(1);
  const blocked = await block({ uid: 'bob' }, { uid: 'eve' }, { uid: 'fred' }, { uid: 'eve' });
  assert.deepEqual([blocked.status, blocked.body], [200, { items: [{ uid: 'eve' }, { uid: 'fred' }] }]);
  await elsewhere.messages(1);
  const sent = await eve.say({ uid: 'bob' }, 'withheld');
  assert.deepEqual([sent.type, sent.seq], ['sent', 2]);
  assert.equal(
    (await app.call('POST', '/messages', { from: { uid: 'eve' }, to: { uid: 'bob' }, content: 'x' })).body
      .seq,
    3,
  );
  eve.send({ type: 'typing', to: { uid: 'bob' } });
  await app.call('POST', '/messages', { from: { uid: 'ann' }, to: { uid: 'bob' }, content: 'from ann' });
  for (const client of [bob, elsewhere]) {
    assert.deepEqual(
      (await client.messages(2)).map(({ content }: Json) => content),
      ['before', 'from ann'],
    );
    assert.deepEqual(seqs(client), [1, 2, 3, 4]);
    assert.equal(client.frames.some(ofType('typing')), false);
  }
  const contents = async (): Promise<string[]> =>
    (await app.as({ uid: 'bob' }, 'GET', '/messages')).body.items.map(({ content }: Json) => content);
  assert.deepEqual(await contents(), ['before', 'from ann']);
  const me = (await app.as({ uid: 'bob' }, 'GET', '')).body;
  assert.equal(me.unread, 2);

  // Unblocked, what was withheld stays so.
  assert.deepEqual((await block({ uid: 'bob' }, { uid: 'fred' })).body, { items: [{ uid: 'fred' }] });
  await eve.say({ uid: 'bob' }, 'after');
  assert.equal((await bob.messages(3)).at(-1).content, 'after');
  assert.deepEqual(await contents(), ['before', 'from ann', 'after']);
  const anew = await connectTo(second, { uid: 'bob' }, { device: 'new', after: 0 });
  assert.deepEqual(
    (await anew.messages(3)).map(({ content }: Json) => content),
    ['before', 'from ann', 'after'],
  );
  assert.deepEqual(seqs(anew), [1, 2, 3, 4, 5]);
  assert.deepEqual((await app.as({ uid: 'bob' }, 'GET', '/blocked')).body, { items: [{ uid: 'fred' }] });
});

test('a block follows its users through adoption, rename and merge', async () => {
  const sam = await connectTo(service, { uid: 'sam' });
  await block({ uid: 'sam' }, { uid: 'troll' });
  const imId = await app.register('troll');
  await app.call('PATCH', `/identities/${imId}`, { userId: 'troll-2' });
  await say('troll-2', 'sam', 'renamed');
  await say('troll', 'sam', 'another user of that name');
  const main = await app.register('troll-main');
  await app.call('POST', `/identities/${main}/merge`, { from: { imId } });
  await eventually(async () => {
    await say('troll-main', 'sam', 'merged');
    return sam.frames.at(-1)?.type === 'skip';
  }, 'the block');
  await say('zoe', 'sam', 'end');
  await sam.wait(({ content }) => content === 'end');
  const shown = sam.frames.flatMap(({ type, content }) => (type === 'message' ? [content] : []));
  assert.deepEqual(
    shown.filter((each) => each !== 'merged'),
    ['another user of that name', 'end'],
  );
  const account = await app.register('account');
  await app.call('POST', `/identities/${account}/merge`, { from: { uid: 'sam' } });
  assert.deepEqual((await app.as({ userId: 'account' }, 'GET', '/blocked')).body, {
    items: [{ imId: main }],
  });
  const contents = (await app.as({ userId: 'account' }, 'GET', '/messages')).body.items.map(
    ({ content }: Json) => content,
  );
  assert.ok(!contents.includes('renamed') && contents.includes('end'), String(contents));
});

test('a block list is refused with the place of what is wrong, and stays as it was', async () => {
  await block({ uid: 'tim' }, { uid: 'una' });
  for (const [items, pointer] of [
    [[{ uid: 'una' }, { uid: 'tim' }], '#/items/1'],
    [[{ userId: 'nobody' }], '#/items/0'],
    [[{}], '#/items/0'],
    [Array.from({ length: 1_001 }, (_, n) => ({ uid: `u${n}` })), '#/items'],
  ] as const) {
    const { status, body } = await block({ uid: 'tim' }, ...items);
    assert.ok(status >= 400 && status < 500);
    assert.ok(body.errors[0].pointer.startsWith(pointer), JSON.stringify(body));
  }
  assert.deepEqual((await app.as({ uid: 'tim' }, 'GET', '/blocked')).body, { items: [{ uid: 'una' }] });
});

test('a recalled message loses its content in both inboxes, and everybody hears of it in order, also later', async () => {
  const imId = await app.register('vera');
  const will = await connectTo(service, { uid: 'will' }, { device: 'phone' });
  const tablet = await connectTo(second, { uid: 'will' }, { device: 'tablet' });
  const vera = await connectTo(second, { imId });
  const { messageId } = await will.say({ userId: 'vera' }, 'a secret slip');
  await vera.messages(1);
  will.send({ type: 'recall', id: 'r1', messageId });
  const sent = await will.wait((frame) => frame.id === 'r1');
  assert.deepEqual({ ...sent, at: 0 }, { type: 'sent', id: 'r1', messageId, seq: 2, at: 0 });
  const atVera = await vera.wait(ofType('recalled'));
  assert.deepEqual(
    { ...atVera, at: 0 },
    { type: 'recalled', seq: 2, messageId, from: { imId: `${app.appId}:will` }, to: { imId }, at: 0 },
  );
  assert.equal((await tablet.wait(ofType('recalled'))).messageId, messageId);
  assert.equal(will.frames.some(ofType('recalled')), false);
  // Again, it is the same.
  for (const id of ['r1', 'r2']) {
    const from = will.frames.length;
    will.send({ type: 'recall', id, messageId });
    const again = await will.wait((frame) => frame.id === id, from);
    assert.deepEqual([again.type, again.seq], ['sent', 2]);
  }
  const late = await connectTo(service, { imId }, { device: 'late', after: 0 });
  const [message] = await late.messages(1);
  assert.deepEqual([message.content, message.recalled, message.seq], [null, true, 1]);
  await late.wait(ofType('recalled'));
  assert.deepEqual(seqs(late), [1, 2]);
  const { items } = (await app.as({ imId }, 'GET', '/messages')).body;
  assert.deepEqual(
    items.map((each: Json) => [each.content, each.recalled, each.recalls]),
    [
      [null, true, undefined],
      [null, undefined, messageId],
    ],
  );
  assert.doesNotMatch(JSON.stringify(await app.inbox(imId)), /slip/);
  assert.equal((await app.as({ imId }, 'GET', '')).body.unread, 0);
  const [conversation] = (await app.as({ imId }, 'GET', '/conversations')).body.items;
  assert.deepEqual([conversation.last.recalled, conversation.unread], [true, 0]);
});

test('only one’s own message can be recalled, and only for as long as the app lets it be', async () => {
  const [xena, yuri] = [await app.connect({ uid: 'xena' }), await app.connect({ uid: 'yuri' })];
  const { messageId } = await xena.say({ uid: 'yuri' }, 'hello', 'x1');
  await yuri.messages(1);
  await app.as({ uid: 'yuri' }, 'GET', '/conversations');
  const recall = async (client: Client, id: string, which = messageId): Promise<Json> => {
    const from = client.frames.length;
    client.send({ type: 'recall', id, messageId: which });
    return client.wait((frame) => frame.id === id, from);
  };
  assert.equal((await recall(yuri, 'y1')).code, 'not_found');
  assert.equal((await recall(xena, 'x2', '00000000-0000-7000-8000-000000000000')).code, 'not_found');
  assert.equal((await recall(xena, 'x1')).code, 'conflict');
  await app.call('PATCH', '', { recallSeconds: 0 });
  const late = await recall(xena, 'x3');
  assert.deepEqual([late.code, late.detail], ['conflict', 'A message can be recalled for 0 seconds.']);
  await app.call('PATCH', '', { recallSeconds: 60 });
  assert.equal((await app.as({ uid: 'yuri' }, 'GET', '')).body.unread, 1);
  const sent = await recall(xena, 'x4');
  assert.equal(sent.type, 'sent');
  assert.equal((await app.as({ uid: 'yuri' }, 'GET', '')).body.unread, 0);
  // What says so can't be recalled.
  const { rows } = await service.database.pool.query('select id from message where recalls = $1', [
    messageId,
  ]);
  assert.equal((await recall(xena, 'x5', rows[0].id)).code, 'not_found');
  assert.equal((await xena.say({ uid: 'yuri' }, 'next')).seq, 3);
  await yuri.wait((frame) => frame.type === 'message' && frame.seq === 3);
});

test('typing is shown to whoever is there, on each process, and stored nowhere', async () => {
  const imId = await app.register('zara');
  const adam = await connectTo(service, { uid: 'adam' });
  const [here, there] = [await connectTo(service, { imId }), await connectTo(second, { imId })];
  adam.send({ type: 'typing', to: { uid: 'zara' } });
  for (const client of [here, there])
    assert.deepEqual(await client.wait(ofType('typing')), {
      type: 'typing',
      from: { imId: `${app.appId}:adam` },
    });
  adam.send({ type: 'typing', to: { uid: 'never-used' } });
  adam.send({ type: 'typing', to: { userId: 'never-used' } });
  assert.equal((await adam.wait(ofType('error'))).code, 'not_found');
  assert.equal((await adam.say({ uid: 'zara' }, 'hello')).seq, 1);
  const row = await service.database.pool.query("select from identity where name = 'never-used'");
  assert.equal(row.rowCount, 0);
});

test('who is watched is seen to come and go, on whichever process; who is hidden, or has blocked one, looks offline', async () => {
  const watcher = await connectTo(service, { uid: 'watcher' });
  const here = await connectTo(service, { uid: 'here' });
  watcher.send({ type: 'watch', users: [{ uid: 'here' }, { uid: 'there' }] });
  const next = (uid: string, online: boolean, from = 0): Promise<Json> =>
    watcher.wait(
      (frame) => frame.type === 'presence' && frame.user.uid === uid && frame.online === online,
      from,
    );
  assert.deepEqual(await next('here', true), { type: 'presence', user: { uid: 'here' }, online: true });
  assert.deepEqual(await next('there', false), { type: 'presence', user: { uid: 'there' }, online: false });
  const there = await connectTo(second, { uid: 'there' });
  await next('there', true);
  await here.close();
  assert.ok((await next('here', false)).lastSeenAt);
  let from = watcher.frames.length;
  await there.close();
  await next('there', false, from);

  from = watcher.frames.length;
  const again = await connectTo(service, { uid: 'here' });
  await next('here', true, from);
  assert.equal((await app.as({ uid: 'here' }, 'PATCH', '', { presence: false })).body.presence, false);
  assert.equal((await next('here', false, from)).lastSeenAt, undefined);
  await app.as({ uid: 'here' }, 'PATCH', '', { presence: true });
  from = watcher.frames.length;
  await next('here', true, from - 1);
  await block({ uid: 'here' }, { uid: 'watcher' });
  await next('here', false, from);
  await block({ uid: 'here' });
  from = watcher.frames.length;
  await next('here', true, from - 1);
  await app.call('PATCH', '', { presence: false });
  await next('here', false, from);
  await app.call('PATCH', '', { presence: true });

  watcher.send({ type: 'watch', users: [] });
  await watcher.say({ uid: 'here' }, 'done');
  from = watcher.frames.length;
  await again.close();
  await connectTo(service, { uid: 'here' });
  await watcher.say({ uid: 'here' }, 'still there');
  assert.equal(watcher.frames.slice(from).some(ofType('presence')), false);
});

test('what a blocked user has read is shown no more', async () => {
  const [meg, ned] = [await connectTo(service, { uid: 'meg' }), await connectTo(second, { uid: 'ned' })];
  const { messageId } = await meg.say({ uid: 'ned' }, 'hello');
  ned.send({ type: 'read', with: { uid: 'meg' }, messageId });
  await meg.wait(ofType('read'));
  const theirRead = async (): Promise<Json> =>
    (await app.as({ uid: 'meg' }, 'GET', '/conversations')).body.items[0].theirRead?.messageId;
  assert.equal(await theirRead(), messageId);
  await block({ uid: 'meg' }, { uid: 'ned' });
  assert.equal(await theirRead(), undefined);
});

test('where two users of whom one is blocked become one, that one is blocked, and what was withheld stays so', async () => {
  await block({ uid: 'owen' }, { uid: 'guest' }, { uid: 'member' });
  await say('member', 'owen', 'withheld');
  await block({ uid: 'owen' }, { uid: 'guest' });
  await say('guest', 'owen', 'withheld');
  await merge('guest', 'member');
  assert.deepEqual((await app.as({ uid: 'owen' }, 'GET', '/blocked')).body, { items: [{ uid: 'member' }] });
  assert.deepEqual(await contentsOf('owen'), []);
});

test('whoever a merged user does not block any more reaches the other one', async () => {
  await block({ uid: 'guest-2' }, { uid: 'xia' });
  await say('xia', 'guest-2', 'withheld');
  await block({ uid: 'guest-2' });
  // These stand in both inboxes already.
  for (const n of [1, 2, 3]) await say('guest-2', 'member-2', n);
  await merge('guest-2', 'member-2');
  await say('xia', 'member-2', 'hello');
  assert.deepEqual(await contentsOf('member-2'), [1, 2, 3, 'hello']);
});

test('a block of a user that is merged holds at once, before its messages have come along and anybody is told', async () => {
  const yan = await connectTo(second, { uid: 'yan' });
  await fillInbox(service, app, { from: 'zac', to: 'guest-3', count: 2_000 });
  await say('zac', 'member-3', 'hello');
  await block({ uid: 'yan' }, { uid: 'guest-3' });
  await say('guest-3', 'yan', 'withheld');
  await yan.wait(ofType('skip'));
  await beginMerger(service, app, 'guest-3', 'member-3');
  assert.deepEqual(await contentsOf('yan'), []);
  await say('member-3', 'yan', 'withheld');
  await say('zac', 'yan', 'end');
  await yan.wait(({ content }) => content === 'end');
  assert.deepEqual(seqs(yan), [1, 2, 3]);
  assert.equal(yan.frames.filter(ofType('skip')).length, 2);
});

test('a recall that is repeated on another device is answered there when the device has heard of it', async () => {
  const phone = await connectTo(service, { uid: 'jan' }, { device: 'phone' });
  const tablet = await connectTo(second, { uid: 'jan' }, { device: 'tablet' });
  for (let n = 0; n < 20; n++) {
    const { messageId } = await phone.say({ uid: 'kay' }, n);
    phone.send({ type: 'recall', id: `p${n}`, messageId });
    await phone.wait(({ id }) => id === `p${n}`);
    tablet.send({ type: 'recall', id: `t${n}`, messageId });
    await tablet.wait(({ id }) => id === `t${n}`);
  }
  const shown = tablet.frames.filter(({ type }) => ['message', 'recalled'].includes(type));
  assert.deepEqual(
    shown.map(({ seq }) => seq),
    Array.from({ length: 40 }, (_, i) => i + 1),
  );
  for (const [i, frame] of tablet.frames.entries())
    if (frame.type === 'sent')
      assert.ok(
        tablet.frames.slice(0, i).some(({ seq }) => seq === frame.seq),
        `${frame.id} came before its seq`,
      );
});

test('what was withheld stays so when its sender is erased', async () => {
  await say('abuser', 'cora', 'before');
  await block({ uid: 'cora' }, { uid: 'abuser' });
  await say('abuser', 'cora', 'withheld');
  await say('dave', 'cora', 'end');
  await app.call('DELETE', `/identities/${app.appId}:abuser`);
  const late = await connectTo(second, { uid: 'cora' }, { device: 'late', after: 0 });
  assert.deepEqual(
    (await late.messages(2)).map(({ content }: Json) => content),
    ['before', 'end'],
  );
  assert.deepEqual(seqs(late), [1, 2, 3]);
});

test('two who are blocked are one when one is merged into the other, and stay blocked', async () => {
  const troll = { uid: 'troll-3' };
  await block({ uid: 'elsa' }, troll);
  await app.call('POST', '/messages', { from: troll, to: { uid: 'elsa' }, content: 1 });
  await block({ uid: 'elsa' }, troll, { uid: 'troll-4' });
  // Here they were blocked at once, and one is blocked no more.
  await block({ uid: 'finn' }, troll, { uid: 'troll-4' });
  await app.call('POST', '/messages', { from: { uid: 'troll-4' }, to: { uid: 'finn' }, content: 1 });
  await block({ uid: 'finn' }, troll);
  const imId = await app.register('troll-4');
  await app.call('POST', `/identities/${imId}/merge`, { from: troll });
  for (const uid of ['elsa', 'finn'])
    assert.deepEqual((await app.as({ uid }, 'GET', '/blocked')).body.items, [{ uid: 'troll-4' }], uid);
});

test('nothing of a blocked user is shown once the request is answered, on another process', async () => {
  for (let n = 0; n < 8; n++) {
    const [owner, pest] = [{ uid: `owner-${n}` }, { uid: `pest-${n}` }];
    const [mine, theirs] = [await connectTo(second, owner), await connectTo(second, pest)];
    const { messageId } = await mine.say(pest, 1);
    await block(owner, pest);
    theirs.send({ type: 'typing', to: owner });
    theirs.send({ type: 'read', with: owner, messageId });
    await theirs.say(owner, 2);
    await theirs.say(owner, 3);
    await mine.wait(({ type, seq }) => type === 'skip' && seq === 3);
    assert.deepEqual(
      mine.frames.map(({ type }) => type),
      ['welcome', 'sent', 'skip', 'skip'],
    );
  }
});

test('a recall on a connection whose user was just merged is done as the user it is now', async () => {
  const guest = await connectTo(second, { uid: 'gina' });
  const { messageId } = await guest.say({ uid: 'gail' }, 'oops');
  await app.register('gus');
  await beginMerger(service, app, 'gina', 'gus');
  guest.send({ type: 'recall', id: 'r1', messageId });
  assert.equal((await guest.wait(({ id }) => id === 'r1')).type, 'sent');
});

test('who is watched is offline once erased', async () => {
  const watcher = await connectTo(second, { uid: 'watcher' });
  await connectTo(service, { uid: 'leaver' });
  watcher.send({ type: 'watch', users: [{ uid: 'leaver' }] });
  await watcher.wait((frame) => frame.type === 'presence' && frame.online);
  await app.call('DELETE', `/identities/${app.appId}:leaver`);
  const gone = await watcher.wait((frame) => frame.type === 'presence' && !frame.online);
  assert.deepEqual(gone, { type: 'presence', user: { uid: 'leaver' }, online: false });
});

test('watching makes no users of uids that nobody has used, and shows them once they are', async () => {
  const watcher = await connectTo(service, { uid: 'watcher' });
  watcher.send({ type: 'watch', users: Array.from({ length: 200 }, (_, n) => ({ uid: `unused-${n}` })) });
  await eventually(() => watcher.frames.filter(ofType('presence')).length === 200, 'all to be told of');
  const { rowCount } = await service.database.pool.query("select from identity where name like 'unused-%'");
  assert.equal(rowCount, 0);
  await connectTo(second, { uid: 'unused-7' });
  const { user } = await watcher.wait((frame) => frame.type === 'presence' && frame.online);
  assert.deepEqual(user, { uid: 'unused-7' });
});

test('one who is gone spoils nobody else’s presence', async () => {
  const watcher = await connectTo(service, { uid: 'watcher' });
  await connectTo(service, { uid: 'still-here' });
  const imId = await app.register('gone');
  await app.call('DELETE', `/identities/${imId}`);
  watcher.send({ type: 'watch', users: [{ imId }, { uid: 'still-here' }] });
  const { type, user } = await watcher.wait((frame) => ['presence', 'error'].includes(frame.type));
  assert.deepEqual([type, user], ['presence', { uid: 'still-here' }]);
});
