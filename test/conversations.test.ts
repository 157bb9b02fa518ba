// Conversations: what is unread, what was read and who is told of it, in both schemes, over two processes, through
// adoption, rename and merge.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { beginMerger, fillInbox } from './halfway.ts';
import type { AppId } from '../src/ids.ts';
import { deleteExpired } from '../src/store/retention.ts';
import { eventually, startService, type Answer, type Json, type Service, type Tenant } from './harness.ts';

let service: Service;
let second: Service;
let app: Tenant;
before(async () => {
  service = await startService();
  second = await startService({ on: service });
  app = await service.createApp();
});

const conversations = async (address: object): Promise<Json[]> =>
  (await app.as(address, 'GET', '/conversations')).body.items;
const unread = async (address: object): Promise<number> => (await app.as(address, 'GET', '')).body.unread;
const say = (from: string, to: string, content: unknown): Promise<Answer> =>
  app.call('POST', '/messages', { from: { uid: from }, to: { uid: to }, content });
const merge = (from: string, into: string): Promise<Answer> =>
  app.call('POST', `/identities/${app.appId}:${into}/merge`, { from: { uid: from } });
const ofType = (type: string) => (frame: Json) => frame.type === type;

test('conversations are listed with their last message and what is unread, the newest first, page by page', async () => {
  const [ann, bob] = [await app.connect({ uid: 'ann' }), await app.connect({ uid: 'bob' })];
  await ann.say({ uid: 'bob' }, 'one');
  await ann.say({ uid: 'carl' }, 'two');
  await bob.say({ uid: 'ann' }, 'three');
  await bob.say({ uid: 'ann' }, 'four');
  assert.deepEqual(
    (await conversations({ uid: 'ann' })).map((each) => [
      each.with,
      each.last.content,
      each.last.from,
      each.unread,
    ]),
    [
      [{ uid: 'bob' }, 'four', { uid: 'bob' }, 2],
      [{ uid: 'carl' }, 'two', { uid: 'ann' }, 0],
    ],
  );
  assert.deepEqual(
    [await unread({ uid: 'ann' }), await unread({ uid: 'carl' }), await unread({ uid: 'bob' })],
    [2, 1, 1],
  );
  await ann.say({ uid: 'carl' }, 'five');
  const first = await app.as({ uid: 'ann' }, 'GET', '/conversations?limit=1');
  assert.deepEqual(
    first.body.items.map((each: Json) => [each.with.uid, each.last.content]),
    [['carl', 'five']],
  );
  const next = await app.as({ uid: 'ann' }, 'GET', `/conversations?limit=1&cursor=${first.body.nextCursor}`);
  assert.deepEqual(
    next.body.items.map((each: Json) => each.with),
    [{ uid: 'bob' }],
  );
  assert.equal(next.body.nextCursor, undefined);
  assert.equal((await app.as({ uid: 'ann' }, 'GET', '/conversations?cursor=x')).status, 400);
  await ann.say({ uid: 'ann' }, 'to myself');
  const [self] = await conversations({ uid: 'ann' });
  assert.deepEqual([self!.with, self!.unread], [{ uid: 'ann' }, 0]);
});

test('what is read is told to the other side and to one’s own devices, on each process and in each one’s scheme', async () => {
  const imId = await app.register('dora');
  const token = await app.token({ uid: 'emil' });
  const phone = await service.connect(token, { device: 'phone' });
  const tablet = await second.connect(token, { device: 'tablet' });
  const dora = await second.connect(await app.token({ imId }));
  const sent = [];
  for (const text of ['one', 'two', 'three']) sent.push(await dora.say({ imId: `${app.appId}:emil` }, text));
  await phone.messages(3);
  phone.send({ type: 'read', with: { userId: 'dora' }, messageId: sent[1]!.messageId });
  const atDora = await dora.wait(ofType('read'));
  assert.deepEqual(
    { ...atDora, at: 0 },
    {
      type: 'read',
      with: { imId: `${app.appId}:emil` },
      from: { imId: `${app.appId}:emil` },
      messageId: sent[1]!.messageId,
      at: 0,
    },
  );
  const atTablet = await tablet.wait(ofType('read'));
  assert.deepEqual(
    [atTablet.with, atTablet.from, atTablet.messageId],
    [{ uid: 'dora' }, { uid: 'emil' }, sent[1]!.messageId],
  );
  const [mine] = await conversations({ uid: 'emil' });
  assert.deepEqual([mine!.unread, mine!.read.messageId, mine!.read.at], [1, sent[1]!.messageId, atDora.at]);
  const [theirs] = await conversations({ imId });
  assert.deepEqual(
    [theirs!.with, theirs!.theirRead.messageId],
    [{ imId: `${app.appId}:emil` }, sent[1]!.messageId],
  );

  // What was read before is told to nobody again; the connection that has read is not told at all.
  tablet.send({ type: 'read', with: { uid: 'dora' }, messageId: sent[0]!.messageId });
  tablet.send({ type: 'read', with: { uid: 'dora' }, messageId: sent[2]!.messageId });
  const next = await dora.wait((frame) => frame.type === 'read' && frame !== atDora);
  assert.equal(next.messageId, sent[2]!.messageId);
  await phone.wait(ofType('read'));
  assert.equal(phone.frames.filter(ofType('read')).length, 1);
  assert.equal(await unread({ uid: 'emil' }), 0);
  await dora.say({ uid: 'emil' }, 'four');
  assert.equal(await unread({ uid: 'emil' }), 1);
});

test('a message that is none of the conversation can’t be read', async () => {
  const [fay, gus] = [await app.connect({ uid: 'fay' }), await app.connect({ uid: 'gus' })];
  const { messageId } = await fay.say({ uid: 'gus' }, 'hello');
  const other = await fay.say({ uid: 'hal' }, 'hello');
  for (const [frame, code] of [
    [{ with: { uid: 'fay' }, messageId: other.messageId }, 'not_found'],
    [{ with: { uid: 'hal' }, messageId }, 'not_found'],
    [{ with: { uid: 'nobody-yet' }, messageId }, 'not_found'],
    [{ with: { userId: 'fay' }, messageId }, 'not_found'],
    [{ with: { uid: 'fay' }, messageId: 'x' }, 'invalid_request'],
    [{ with: { uid: 'fay' } }, 'invalid_request'],
  ] as const) {
    const from = gus.frames.length;
    gus.send({ type: 'read', ...frame });
    assert.equal((await gus.wait(ofType('error'), from)).code, code, JSON.stringify(frame));
  }
  assert.equal(fay.frames.some(ofType('read')), false);
});

test('conversations follow their users through adoption, rename and merge, and what is unread stays unread', async () => {
  const [guest, ida] = [await app.connect({ uid: 'guest' }), await app.connect({ uid: 'ida' })];
  const kim = await app.connect({ uid: 'kim' });
  const read = await guest.say({ uid: 'ida' }, 'read');
  ida.send({ type: 'read', with: { uid: 'guest' }, messageId: read.messageId });
  await guest.wait(ofType('read'));
  await guest.say({ uid: 'ida' }, 'unread');
  await ida.say({ uid: 'guest' }, 'to the guest');
  await kim.say({ uid: 'guest' }, 'kim to the guest');
  await conversations({ uid: 'guest' });
  const imId = await app.register('kim');
  await app.call('PATCH', `/identities/${imId}`, { userId: 'kimberly' });
  assert.deepEqual((await conversations({ uid: 'guest' }))[0]!.with, { uid: 'kimberly' });

  const account = await app.register('account');
  await kim.say({ uid: 'account' }, 'kim to the account');
  assert.equal(await unread({ userId: 'account' }), 1);
  const merged = await app.call('POST', `/identities/${account}/merge`, { from: { uid: 'guest' } });
  assert.equal(merged.status, 200);
  const list = await conversations({ userId: 'account' });
  assert.deepEqual(
    list.map((each) => [each.with.imId, each.unread, each.last.content]),
    [
      [imId, 2, 'kim to the guest'],
      [`${app.appId}:ida`, 1, 'to the guest'],
    ],
  );
  assert.equal(await unread({ userId: 'account' }), 3);
  assert.deepEqual(
    (await conversations({ uid: 'ida' })).map((each) => [each.with, each.unread]),
    [[{ uid: 'account' }, 1]],
  );
  await app.call('DELETE', `/identities/${imId}`);
  assert.deepEqual(
    (await conversations({ userId: 'account' })).map((each) => each.with.imId),
    [`${app.appId}:ida`],
  );
});

test('a message of the app itself is shown as one, to one and to many', async () => {
  const lea = await app.connect({ uid: 'lea' });
  const one = await app.call('POST', '/messages', { to: { uid: 'lea' }, content: 'welcome', id: 'w1' });
  assert.equal(one.status, 201, one.text);
  const again = await app.call('POST', '/messages', { to: { uid: 'lea' }, content: 'welcome', id: 'w1' });
  assert.deepEqual(again.body, one.body);
  const many = await app.call('POST', '/messages', { to: [{ uid: 'lea' }, { uid: 'max' }], content: 'news' });
  assert.equal(many.body.results.length, 2);
  const shown = await lea.messages(2);
  assert.deepEqual(
    shown.map((each: Json) => [each.from, each.content]),
    [
      [{ system: true }, 'welcome'],
      [{ system: true }, 'news'],
    ],
  );
  const [first] = await app.inbox(`${app.appId}:lea`);
  assert.deepEqual(first!.from, { system: true });
  const [listed] = await conversations({ uid: 'lea' });
  assert.deepEqual([listed!.with, listed!.unread], [{ system: true }, 2]);
  const fresh = await service.createApp(['composed']);
  await fresh.call('POST', '/messages', { to: { uid: 'a' }, content: 1 });
  const { body } = await fresh.call('GET', '/schemes');
  assert.equal(body.composed.users, 1);
  const users = await fresh.call('GET', '/identities');
  assert.deepEqual(
    users.body.items.map((each: Json) => each.uid),
    ['a'],
  );
});

test('messages older than the app keeps them go, by themselves; no seq is used again, and who catches up is told', async () => {
  const tenant = await service.createApp();
  const [ned, oda] = [await tenant.connect({ uid: 'ned' }), await tenant.connect({ uid: 'oda' })];
  for (const n of [1, 2, 3]) await ned.say({ uid: 'oda' }, n);
  await oda.messages(3);
  const token = await tenant.token({ uid: 'oda' });
  const me = async (): Promise<Json> => (await service.call('GET', '/v1/me', { key: token })).body;
  assert.equal((await me()).unread, 3);
  // Two of them are 30 days old.
  await service.database.pool.query(
    `update message set at = at - interval '30 days',
       id = (lpad(to_hex((extract(epoch from at - interval '30 days') * 1000)::bigint), 12, '0') || right(replace(id::text, '-', ''), 20))::uuid
     where app_id = $1 and recipient_seq <= 2`,
    [tenant.appId],
  );
  await tenant.call('PATCH', '', { retentionDays: 29 });
  const third = await startService({ on: service });
  const inbox = async (): Promise<Json[]> =>
    (await tenant.call('GET', `/messages?imId=${tenant.appId}:oda`)).body.items;
  await eventually(async () => (await inbox()).length === 1, 'the deletion');
  assert.equal((await me()).unread, 1);
  const late = await third.connect(token, { device: 'new', after: 0 });
  const [message] = await late.messages(1);
  assert.deepEqual(late.frames.slice(1, 3), [{ type: 'skip', seq: 2 }, message]);
  assert.equal(message.seq, 3);
  await service.database.pool.query('delete from message where app_id = $1', [tenant.appId]);
  const later = await third.connect(token, { device: 'newer', after: 0 });
  assert.deepEqual(await later.wait(ofType('skip')), { type: 'skip', seq: 3 });
  await ned.say({ uid: 'oda' }, 4);
  assert.equal((await later.messages(1))[0].seq, 4);
  assert.equal(
    (await tenant.call('PATCH', '', { retentionDays: 0 })).body.errors[0].pointer,
    '#/retentionDays',
  );
  assert.equal((await tenant.call('PATCH', '', { retentionDays: null })).body.retentionDays, null);
  await third.close();
});

test('what the app itself has sent can be read, too', async () => {
  const pia = await app.connect({ uid: 'pia' }, { device: 'phone' });
  const tablet = await second.connect(await app.token({ uid: 'pia' }), { device: 'tablet' });
  const { body } = await app.call('POST', '/messages', { to: { uid: 'pia' }, content: 'welcome' });
  assert.equal(await unread({ uid: 'pia' }), 1);
  pia.send({ type: 'read', with: { system: true }, messageId: body.messageId });
  assert.deepEqual((await tablet.wait(ofType('read'))).with, { system: true });
  assert.equal(await unread({ uid: 'pia' }), 0);
});

test('who asks in the middle of a merger misses nothing that is unread', async () => {
  await fillInbox(service, app, { from: 'rob', to: 'guest-2', count: 2_100 });
  await say('sue', 'account-2', 'hello');
  await beginMerger(service, app, 'guest-2', 'account-2');
  assert.equal(await unread({ uid: 'account-2' }), 2_001);
  assert.equal((await merge('guest-2', 'account-2')).status, 200);
  assert.equal(await unread({ uid: 'account-2' }), 2_101);
});

test('who asks while the other side is being merged has one conversation, with whom it is then', async () => {
  const tom = await app.connect({ uid: 'tom' });
  const { body } = await say('guest-3', 'tom', 'hello');
  const account = await app.connect({ uid: 'account-3' });
  await account.say({ uid: 'account-3' }, 'here');
  let asking: Promise<number> | undefined;
  await beginMerger(service, app, 'guest-3', 'account-3', async () => {
    asking = unread({ uid: 'tom' });
    await eventually(async () => {
      const { rows } = await service.database.pool.query(
        `select from pg_stat_activity where datname = $1 and wait_event_type = 'Lock'`,
        [service.databaseName],
      );
      return rows.length > 0;
    }, 'the one who asks');
  });
  assert.equal(await asking, 1);
  assert.deepEqual(
    (await conversations({ uid: 'tom' })).map((each) => [each.with, each.unread]),
    [[{ uid: 'account-3' }, 1]],
  );
  tom.send({ type: 'read', with: { uid: 'account-3' }, messageId: body.messageId });
  await account.wait(ofType('read'));
  assert.equal(await unread({ uid: 'tom' }), 0);
});

test('what a merger withholds is not unread', async () => {
  await app.as({ uid: 'account-4' }, 'PUT', '/blocked', { items: [{ uid: 'vic' }] });
  await say('vic', 'guest-4', 'hello');
  assert.equal(await unread({ uid: 'guest-4' }), 1);
  await merge('guest-4', 'account-4');
  assert.deepEqual((await app.as({ uid: 'account-4' }, 'GET', '/messages')).body.items, []);
  assert.equal(await unread({ uid: 'account-4' }), 0);
});

test('what is withheld is not counted, and not taken off when it is recalled or expires', async () => {
  const tenant = await service.createApp();
  const [pia, quin] = [await tenant.connect({ uid: 'pia' }), await tenant.token({ uid: 'quin' })];
  const me = async (): Promise<Json> => (await service.call('GET', '/v1/me', { key: quin })).body;
  await pia.say({ uid: 'quin' }, 'before');
  await service.call('PUT', '/v1/me/blocked', { key: quin, body: { items: [{ uid: 'pia' }] } });
  const withheld = await pia.say({ uid: 'quin' }, 'withheld');
  await pia.say({ uid: 'quin' }, 'withheld as well');
  assert.equal((await me()).unread, 1);
  pia.send({ type: 'recall', id: 'r1', messageId: withheld.messageId });
  await pia.wait(({ id }) => id === 'r1');
  assert.equal((await me()).unread, 1);
  const { kysely, pool } = service.database;
  const { rows } = await pool.query(
    `update message set id = ('0' || right(id::text, 35))::uuid where app_id = $1 and content like '%as well%' returning id`,
    [tenant.appId],
  );
  assert.equal(rows.length, 1);
  await deleteExpired(kysely, Number(tenant.appId) as AppId, new Date('2020-01-01'));
  assert.equal((await me()).unread, 1);
});

test('reading after a merger makes no more unread than there was', async () => {
  const [rob, guest] = [await app.connect({ uid: 'rob' }), await app.connect({ uid: 'guest-6' })];
  for (const n of [1, 2, 3]) await rob.say({ uid: 'guest-6' }, n);
  const last = await rob.say({ uid: 'guest-6' }, 4);
  guest.send({ type: 'read', with: { uid: 'rob' }, messageId: last.messageId });
  await rob.wait(ofType('read'));
  const imId = await app.register('account-6');
  const first = await rob.say({ imId }, 'first');
  await rob.say({ imId }, 'second');
  await app.call('POST', `/identities/${imId}/merge`, { from: { uid: 'guest-6' } });
  assert.equal(await unread({ imId }), 2);
  const account = await app.connect({ imId });
  account.send({ type: 'read', with: { uid: 'rob' }, messageId: first.messageId });
  await rob.wait((frame) => frame.type === 'read' && frame.messageId === first.messageId);
  assert.ok((await unread({ imId })) <= 2);
});
