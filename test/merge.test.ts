// Merging a user into another one: the guest who already had an account.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { beginMerger } from './halfway.ts';
import { eventually, startService, type Client, type Json, type Service, type Tenant } from './harness.ts';

let service: Service;
before(async () => {
  service = await startService();
});

const merge = (app: Tenant, imId: string, from: object) =>
  app.call('POST', `/identities/${encodeURIComponent(imId)}/merge`, { from });
const send = async (app: Tenant, from: object, to: object, content: unknown, id?: string) => {
  const answer = await app.call('POST', '/messages', { from, to, content, ...(id && { id }) });
  assert.equal(answer.status, 201, JSON.stringify(answer.body));
  return answer.body;
};
const resolve = async (app: Tenant, ...addresses: object[]): Promise<Json[]> =>
  (await app.call('POST', '/resolve', { addresses })).body.results as Json[];
const contents = (messages: Json[]): unknown[] => messages.map((message) => message.content);
const seqs = (messages: Json[]): number[] => messages.map((message) => message.seq as number);
const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);

test('a guest merged into an account: inbox behind inbox, in order, and every name leads to the account', async () => {
  const app = await service.createApp();
  const bob = await app.register('bob');
  await send(app, { uid: 'carol' }, { userId: 'bob' }, 'b1');
  await send(app, { uid: 'carol' }, { uid: 'g-81' }, 'g1');
  await send(app, { uid: 'g-81' }, { uid: 'carol' }, 'g2');
  await send(app, { userId: 'bob' }, { uid: 'carol' }, 'b2');
  await send(app, { uid: 'g-81' }, { uid: 'g-81' }, 'note to self');

  const { status, body } = await merge(app, bob, { uid: 'g-81' });
  assert.deepEqual({ status, body }, { status: 200, body: { imId: bob, messages: 3 } });

  const inbox = await app.inbox(bob);
  assert.deepEqual(contents(inbox), ['b1', 'b2', 'g1', 'g2', 'note to self']);
  assert.deepEqual(seqs(inbox), upTo(5));
  const asBob = { imId: bob, userId: 'bob' };
  assert.deepEqual(
    [inbox[2]!.to, inbox[3]!.from, inbox[4]!.from, inbox[4]!.to],
    [asBob, asBob, asBob, asBob],
  );
  assert.deepEqual((await app.inbox(`${app.appId}:carol`)).at(2)!.from, asBob);

  const found = await resolve(
    app,
    { uid: 'g-81' },
    { imId: `${app.appId}:g-81` },
    { userId: 'g-81' },
    { uid: 'bob' },
  );
  for (const each of found) assert.deepEqual(each, { imId: bob, scheme: 'registered', userId: 'bob' });
  await send(app, { uid: 'carol' }, { uid: 'g-81' }, 'to the former guest');
  assert.equal((await app.inbox(bob)).at(-1)!.content, 'to the former guest');
  const former = await app.call('GET', '/identities?formerName=g-81');
  assert.deepEqual(
    former.body.items.map(({ imId, formerName }: Json) => ({ imId, formerName })),
    [{ imId: bob, formerName: 'g-81' }],
  );
  const listed = await app.call('GET', '/identities');
  assert.deepEqual(
    listed.body.items.map((item: Json) => item.userId ?? item.uid),
    ['bob', 'carol'],
  );
  const { composed, registered } = (await app.call('GET', '/schemes')).body;
  assert.deepEqual([composed.users, registered.users], [1, 1]);
});

test('what the two wrote to each other stands in the joint inbox once', async () => {
  const app = await service.createApp(['composed']);
  await send(app, { uid: 'a' }, { uid: 'b' }, 'a to b');
  await send(app, { uid: 'b' }, { uid: 'a' }, 'b to a');
  await send(app, { uid: 'c' }, { uid: 'a' }, 'c to a');
  const { body } = await merge(app, `${app.appId}:b`, { uid: 'a' });
  assert.equal(body.messages, 1);
  const inbox = await app.inbox(`${app.appId}:b`);
  assert.deepEqual(contents(inbox), ['a to b', 'b to a', 'c to a']);
  assert.deepEqual(seqs(inbox), upTo(3));
  for (const { from, to } of inbox.slice(0, 2)) assert.deepEqual([from.uid, to.uid], ['b', 'b']);
  assert.deepEqual(await resolve(app, { uid: 'a' }), [
    { imId: `${app.appId}:b`, scheme: 'composed', uid: 'b' },
  ]);
});

test('a registered imId that is merged leads to the account; one without any gets it', async () => {
  const app = await service.createApp();
  const [ann, ben] = [await app.register('ann'), await app.register('ben')];
  assert.equal((await merge(app, ben, { imId: ann })).body.imId, ben);
  const asBen = { imId: ben, scheme: 'registered', userId: 'ben' };
  assert.deepEqual(await resolve(app, { imId: ann }, { userId: 'ann' }, { imId: ben }), [
    asBen,
    asBen,
    asBen,
  ]);

  const cleo = await app.register('cleo');
  await send(app, { uid: 'dan' }, { uid: 'dan' }, 'dan has a row');
  const merged = await merge(app, `${app.appId}:dan`, { imId: cleo });
  assert.deepEqual(merged.body, { imId: cleo, messages: 0 });
  const asDan = { imId: cleo, scheme: 'registered', userId: 'dan' };
  assert.deepEqual(await resolve(app, { imId: cleo }, { userId: 'cleo' }, { uid: 'dan' }), [
    asDan,
    asDan,
    asDan,
  ]);
  assert.deepEqual((await merge(app, `${app.appId}:dan`, { imId: cleo })).body, { imId: cleo, messages: 0 });
});

test('tokens of both go on acting as the account, also those issued for the guest afterwards', async () => {
  const app = await service.createApp();
  const bob = await app.register('bob');
  const [guestToken, bobToken] = [await app.token({ uid: 'guest' }), await app.token({ userId: 'bob' })];
  await merge(app, bob, { uid: 'guest' });
  const lateToken = await app.token({ uid: 'guest' });
  const me = async (token: string): Promise<Json> => {
    const { scheme, uid, imId } = (await service.call('GET', '/v1/me', { key: token })).body;
    return uid === undefined ? { scheme, imId } : { scheme, uid };
  };
  assert.deepEqual(await me(guestToken), { scheme: 'composed', uid: 'bob' });
  assert.deepEqual(await me(lateToken), { scheme: 'composed', uid: 'bob' });
  assert.deepEqual(await me(bobToken), { scheme: 'registered', imId: bob });
});

test('open sockets of the guest go on as the account, with a second welcome and the whole inbox', async () => {
  const app = await service.createApp();
  const bob = await app.register('bob');
  await send(app, { uid: 'carol' }, { userId: 'bob' }, 'b1');
  const guest = await app.connect({ uid: 'guest' }, { device: 'phone' });
  const account = await app.connect({ userId: 'bob' }, { device: 'laptop' });
  await send(app, { uid: 'carol' }, { uid: 'guest' }, 'g1');
  await guest.messages(1);

  await merge(app, bob, { uid: 'guest' });
  const second = await guest.wait((frame) => frame.type === 'welcome', 1);
  assert.deepEqual(second.me, { scheme: 'composed', uid: 'bob' });
  assert.equal(second.resumed, false);
  assert.notEqual(second.epoch, guest.welcome.epoch);
  assert.equal(second.epoch, account.welcome.epoch);
  const seen = async (client: Client, from: number, count: number): Promise<Json[]> => {
    await client.messages(from + count);
    return client.frames.filter((frame) => frame.type === 'message').slice(from);
  };
  const shown = await seen(guest, 1, 2);
  assert.deepEqual(contents(shown), ['b1', 'g1']);
  assert.deepEqual(seqs(shown), [1, 2]);
  assert.deepEqual(contents(await account.messages(1)), ['g1']);

  const sent = await guest.say({ uid: 'carol' }, 'from the former guest');
  assert.deepEqual([sent.type, sent.seq], ['sent', 3]);
  assert.deepEqual(contents(await account.messages(2)), ['g1', 'from the former guest']);
  await account.say({ uid: 'carol' }, 'from the account');
  assert.equal((await guest.messages(4)).at(-1)!.content, 'from the account');
  assert.equal(guest.closed, undefined);

  const presence = await app.call('GET', `/presence?imId=${bob}`);
  assert.deepEqual(presence.body.items[0].devices.map((device: Json) => device.deviceId).toSorted(), [
    'laptop',
    'phone',
  ]);
});

test('acks after a merger count in the joint inbox; one of the inbox before, on its way, is no error', async () => {
  const app = await service.createApp(['composed']);
  const guest = await app.connect({ uid: 'a' }, { device: 'phone' });
  for (let i = 0; i < 5; i++) await send(app, { uid: 'x' }, { uid: 'a' }, `a${i}`);
  await guest.messages(5);
  await merge(app, `${app.appId}:b`, { uid: 'a' });
  guest.send({ type: 'ack', seq: 5 });
  await guest.messages(5 + 5);
  guest.send({ type: 'ack', seq: 5 });
  await guest.close();
  const again = await app.connect({ uid: 'b' }, { device: 'phone' });
  assert.equal(again.welcome.acked, 5);
  assert.ok(guest.frames.every((frame) => frame.type !== 'error'));
});

test('an unread message of the guest reaches its device after the merger', async () => {
  const app = await service.createApp(['composed']);
  await send(app, { uid: 'x' }, { uid: 'b' }, 'old');
  const guest = await app.connect({ uid: 'a' }, { device: 'phone' });
  await guest.close();
  await send(app, { uid: 'x' }, { uid: 'a' }, 'unread');
  await merge(app, `${app.appId}:b`, { uid: 'a' });
  const again = await app.connect({ uid: 'a' }, { device: 'phone' });
  assert.deepEqual(contents(await again.messages(1)), ['unread']);
  assert.equal(again.welcome.resumed, true);
});

test('one device that both used stays where it stands, and its older connection is replaced', async () => {
  const app = await service.createApp(['composed']);
  const account = await app.connect({ uid: 'b' }, { device: 'phone' });
  const guest = await app.connect({ uid: 'a' }, { device: 'phone' });
  await merge(app, `${app.appId}:b`, { uid: 'a' });
  assert.equal((await account.waitClosed()).code, 4503);
  await guest.wait((frame) => frame.type === 'welcome', 1);
});

test('contacts: lists are joined, and the guest in other lists becomes the account', async () => {
  const app = await service.createApp(['composed']);
  const put = (uid: string, ...uids: string[]) =>
    app.call('PUT', `/contacts/${app.appId}:${uid}`, { items: uids.map((each) => ({ uid: each })) });
  const list = async (uid: string): Promise<string[]> =>
    (await app.call('GET', `/contacts/${app.appId}:${uid}`)).body.items.map((item: Json) => item.uid);
  await put('b', 'x', 'a', 'y');
  await put('a', 'y', 'z', 'b');
  await put('other', 'a', 'x');
  await put('both', 'b', 'a', 'x');
  await merge(app, `${app.appId}:b`, { uid: 'a' });
  assert.deepEqual(await list('b'), ['x', 'y', 'z']);
  assert.deepEqual(await list('other'), ['b', 'x']);
  assert.deepEqual(await list('both'), ['b', 'x']);
});

test('the same again answers the same; a user can’t be merged into itself', async () => {
  const app = await service.createApp(['composed']);
  await send(app, { uid: 'x' }, { uid: 'a' }, 1);
  const first = await merge(app, `${app.appId}:b`, { uid: 'a' });
  assert.deepEqual(first.body, { imId: `${app.appId}:b`, messages: 1 });
  assert.deepEqual((await merge(app, `${app.appId}:b`, { uid: 'a' })).body, first.body);
  assert.deepEqual((await merge(app, `${app.appId}:a`, { uid: 'a' })).body, first.body);
  const self = await merge(app, `${app.appId}:b`, { uid: 'b' });
  assert.deepEqual([self.status, self.body.errors[0].pointer], [400, '#/from']);
  const nobody = await merge(app, `${app.appId}:b`, { imId: `${app.appId}9:a` });
  assert.deepEqual([nobody.status, nobody.body.errors[0].pointer], [404, '#/from']);
  assert.equal((await merge(app, `${app.appId}:b`, { userId: 'a' })).body.code, 'scheme_disabled');
});

test('chains: what was merged goes along when its user is merged', async () => {
  const app = await service.createApp();
  const names = ['a', 'b', 'c', 'd'];
  for (const name of names) await send(app, { uid: 'x' }, { uid: name }, name);
  const c = await app.register('c');
  await merge(app, `${app.appId}:b`, { uid: 'a' });
  await merge(app, c, { uid: 'b' });
  await merge(app, `${app.appId}:d`, { imId: c });
  for (const found of await resolve(app, ...names.map((uid) => ({ uid })), { imId: c }))
    assert.deepEqual(found, { imId: c, scheme: 'registered', userId: 'd' });
  assert.deepEqual(contents(await app.inbox(c)), ['d', 'c', 'b', 'a']);
  await merge(app, `${app.appId}:x`, { imId: c });
  assert.deepEqual(seqs(await app.inbox(`${app.appId}:x`)), upTo(4));
});

const MANY = 4_500;

/** Gives a user messages to and from erased ones, numbered from 2, until there are MANY with those that it has. */
async function fill(app: Tenant, name: string): Promise<void> {
  await service.database.pool.query(
    `insert into message (app_id, id, sender_id, sender_seq, recipient_id, recipient_seq, client_id, part, content, at)
     select $1, gen_random_uuid(), case when n % 2 = 1 then u.id end, case when n % 2 = 1 then n end,
       case when n % 2 = 0 then u.id end, case when n % 2 = 0 then n end, n::text, 0, n::text, now()
     from identity u, generate_series(u.last_seq + 1, $3::integer) as n where u.app_id = $1 and u.name = $2`,
    [app.appId, name, MANY],
  );
  await service.database.pool.query('update identity set last_seq = $3 where app_id = $1 and name = $2', [
    app.appId,
    name,
    MANY,
  ]);
}

/** Merges as a process that is killed in the middle of it. */
async function breakOff(app: Tenant, from: string, into: string): Promise<void> {
  await fill(app, from);
  await beginMerger(service, app, from, into);
}

async function wholeInbox(app: Tenant, uid: string): Promise<Json[]> {
  const all: Json[] = [];
  for (;;) {
    const after = all.at(-1)?.seq ?? 0;
    const { body } = await app.call('GET', `/messages?imId=${app.appId}:${uid}&limit=1000&after=${after}`);
    if (body.items.length === 0) return all;
    all.push(...body.items);
  }
}

const numbers = (messages: Json[]): number[] =>
  contents(messages).filter((content) => typeof content === 'number');
const words = (messages: Json[]): string[] =>
  contents(messages).filter((content) => typeof content === 'string');

test('a merger that was broken off is finished by the same call, and by a process that starts', async () => {
  const app = await service.createApp(['composed']);
  for (const uid of ['a', 'b', 'p', 'q']) await send(app, { uid: 'x' }, { uid }, uid);
  await breakOff(app, 'a', 'b');
  assert.ok((await wholeInbox(app, 'b')).length < MANY);
  assert.equal((await merge(app, `${app.appId}:b`, { uid: 'a' })).body.messages, MANY);
  const inbox = await wholeInbox(app, 'b');
  assert.deepEqual(words(inbox), ['b', 'a']);
  assert.deepEqual(numbers(inbox), upTo(MANY).slice(1));
  assert.deepEqual(seqs(inbox), upTo(MANY + 1));

  await breakOff(app, 'p', 'q');
  const other = await startService({ on: service });
  await eventually(async () => (await wholeInbox(app, 'q')).length === MANY + 1);
  await other.close();
});

test('an inbox that is merged further while its own messages are on their way loses none', async () => {
  const app = await service.createApp(['composed']);
  for (const uid of ['a', 'b', 'c']) await send(app, { uid: 'x' }, { uid }, uid);
  await breakOff(app, 'a', 'b');
  assert.equal((await merge(app, `${app.appId}:c`, { uid: 'b' })).body.messages, MANY + 1);
  const inbox = await wholeInbox(app, 'c');
  assert.deepEqual(words(inbox), ['c', 'b', 'a']);
  assert.deepEqual(seqs(inbox), upTo(MANY + 2));
});

test('an erased account takes what was merged into it along, also in the middle of it', async () => {
  const app = await service.createApp();
  const [ann, ben] = [await app.register('ann'), await app.register('ben')];
  const token = await app.token({ userId: 'ann' });
  for (const uid of ['ann', 'ben', 'lost']) await send(app, { uid: 'x' }, { uid }, uid);
  await merge(app, ben, { imId: ann });
  await breakOff(app, 'lost', 'ben');
  assert.equal((await app.call('DELETE', `/identities/${ben}`)).status, 204);
  for (const found of await resolve(app, { imId: ann }, { imId: ben }, { userId: 'ann' }))
    assert.equal(found.error.code, 'not_found');
  assert.equal((await service.call('GET', '/v1/me', { key: token })).body.code, 'token_revoked');
  assert.deepEqual(await app.inbox(`${app.appId}:ann`), []);
  assert.notEqual(await app.register('ann'), ann);
  const { rows } = await service.database.pool.query(
    'select count(*) as left from message where app_id = $1 and (recipient_id is not null or sender_id is null)',
    [app.appId],
  );
  assert.equal(rows[0].left, 0);
});

test('names that were merged: registering gives the account, nobody else can take them, the account itself can', async () => {
  const app = await service.createApp();
  await send(app, { uid: 'x' }, { uid: 'bob' }, 1);
  await merge(app, `${app.appId}:bob`, { uid: 'guest' });
  const refused = await app.call('POST', '/identities', { userId: 'guest', adopt: false });
  assert.equal(refused.body.code, 'conflict');
  const taken = await app.call('PATCH', `/identities/${app.appId}:x`, { uid: 'guest' });
  assert.deepEqual([taken.body.code, taken.body.errors[0].pointer], ['conflict', '#/uid']);
  const { status, body } = await app.call('POST', '/identities', { userId: 'guest' });
  assert.deepEqual([status, body.userId], [201, 'bob']);
  assert.equal((await app.call('POST', '/identities', { userId: 'guest' })).body.imId, body.imId);

  const token = await app.token({ uid: 'guest' });
  const renamed = await app.call('PATCH', `/identities/${body.imId}`, { userId: 'guest' });
  assert.deepEqual([renamed.status, renamed.body.userId], [200, 'guest']);
  assert.deepEqual((await service.call('GET', '/v1/me', { key: token })).body.uid, 'guest');
  assert.equal((await resolve(app, { userId: 'bob' }))[0].error.code, 'not_found');
  assert.notEqual(await app.register('bob'), body.imId);
  assert.equal((await app.call('PATCH', `/identities/${body.imId}`, { userId: 'third' })).status, 200);
  assert.notEqual(await app.register('guest'), body.imId);
  assert.equal((await app.inbox(body.imId)).length, 1);
});

test('a send repeated after the merger is answered as before, unless the account has that id itself', async () => {
  const app = await service.createApp(['composed']);
  const first = await send(app, { uid: 'a' }, { uid: 'x' }, 'mine', 'm-1');
  await send(app, { uid: 'a' }, { uid: 'x' }, 'a’s', 'm-2');
  const own = await send(app, { uid: 'b' }, { uid: 'x' }, 'b’s', 'm-2');
  const other = await startService({ on: service });
  await fill(app, 'a');
  const late = { from: { uid: 'a' }, to: { uid: 'x' }, content: 'late', id: 'm-9' };
  assert.equal((await app.call('POST', '/messages', late)).status, 201);
  await breakOff(app, 'a', 'b');
  const early = await other.call('POST', `${app.path}/messages`, { body: late });
  assert.deepEqual([early.status, early.body.code], [503, 'unavailable']);
  await other.close();
  await send(app, { uid: 'b' }, { uid: 'x' }, 'meanwhile', 'm-3');
  await merge(app, `${app.appId}:b`, { uid: 'a' });
  assert.deepEqual(await send(app, { uid: 'a' }, { uid: 'x' }, 'mine', 'm-1'), first);
  assert.deepEqual(await send(app, { uid: 'b' }, { uid: 'x' }, 'b’s', 'm-2'), own);
  assert.equal((await app.call('POST', '/messages', late)).status, 201);
  assert.deepEqual(words(await wholeInbox(app, 'b')), ['b’s', 'mine', 'a’s', 'meanwhile', 'late']);
  assert.equal((await app.inbox(`${app.appId}:x`)).length, 5);
});

test('a big inbox comes over in portions, and the account can be written to meanwhile', async () => {
  const app = await service.createApp(['composed']);
  for (const uid of ['big', 'small', 'x']) await send(app, { uid: 'x' }, { uid }, 'first');
  await fill(app, 'big');
  const merging = merge(app, `${app.appId}:small`, { uid: 'big' });
  for (let i = 0; i < 30; i++) await send(app, { uid: 'x' }, { uid: i % 2 ? 'big' : 'small' }, { i });
  assert.equal((await merging).status, 200);
  const all = await wholeInbox(app, 'small');
  assert.deepEqual(seqs(all), upTo(MANY + 1 + 30));
  assert.deepEqual(numbers(all), upTo(MANY).slice(1));
  const live = all.filter(({ content }) => typeof content === 'object').map(({ content }) => content.i);
  assert.deepEqual(
    live.toSorted((a, b) => a - b),
    upTo(30).map((i) => i - 1),
  );
});

test('who writes to an account while each portion of a merger takes long gets in between two of them', async () => {
  const app = await service.createApp(['composed']);
  for (const uid of ['big', 'small', 'x']) await send(app, { uid: 'x' }, { uid }, 'first');
  await fill(app, 'big');
  const { pool } = service.database;
  await pool.query(`
    create sequence portions;
    create function take_long() returns trigger language plpgsql as $$
    begin perform pg_sleep(case when nextval('portions') < 3 then 0.6 else 4 end); return null; end $$;
    create trigger take_long before update on message for each statement execute function take_long()`);
  const merging = merge(app, `${app.appId}:small`, { uid: 'big' });
  await eventually(async () => {
    const { rows } = await pool.query(
      `select from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'`,
    );
    return rows.length > 0;
  }, 'the first portion');
  await send(app, { uid: 'x' }, { uid: 'small' }, 'meanwhile');
  const [unfinished] = (await pool.query('select finished_at from merger where app_id = $1', [app.appId]))
    .rows;
  await pool.query('drop function take_long cascade');
  assert.equal((await merging).status, 200);
  assert.deepEqual(unfinished, { finished_at: null });
  assert.equal((await wholeInbox(app, 'small')).length, MANY + 2);
});

test('a big inbox of which something expires under way comes over, all the rest of it', async () => {
  const app = await service.createApp(['composed']);
  for (const uid of ['big', 'small']) await send(app, { uid: 'x' }, { uid }, 'first');
  await fill(app, 'big');
  const deleting = await service.database.pool.connect();
  await deleting.query('begin');
  await deleting.query('delete from message where app_id = $1 and recipient_seq = 2', [app.appId]);
  const merging = merge(app, `${app.appId}:small`, { uid: 'big' });
  await eventually(async () => {
    const { rows } = await deleting.query(
      "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    );
    return rows.length > 0;
  }, 'the merger to wait');
  await deleting.query('commit');
  deleting.release();
  assert.equal((await merging).status, 200);
  assert.equal((await wholeInbox(app, 'small')).length, MANY);
});

test('what nobody has read is unread, also of who asks in the middle of the merger', async () => {
  const app = await service.createApp(['composed']);
  for (const uid of ['big', 'small']) await send(app, { uid: 'x' }, { uid }, 'first');
  await breakOff(app, 'big', 'small');
  const { pool } = service.database;
  const { rowCount } = await pool.query(
    `update message m set sender_id = x.id from identity x
     where m.app_id = $1 and m.sender_id is null and x.app_id = $1 and x.name = 'x'`,
    [app.appId],
  );
  const key = await app.token({ uid: 'small' });
  const unread = async () => (await service.call('GET', '/v1/me', { key })).body.unread as number;
  assert.ok((await unread()) < rowCount!);
  await merge(app, `${app.appId}:small`, { uid: 'big' });
  assert.equal(await unread(), rowCount! + 2);
});

test('messages to both names while they are merged arrive once, in order, on another process too', async () => {
  const app = await service.createApp();
  const other = await startService({ on: service });
  const bob = await app.register('bob');
  const guest = await other.connect(await app.token({ uid: 'guest' }));
  const sender = await app.connect({ uid: 'x' });
  const account = await other.connect(await app.token({ userId: 'bob' }));
  const saying: Promise<Json>[] = [];
  const say = (i: number): void =>
    void saying.push(sender.say(i % 2 ? { uid: 'guest' } : { imId: bob }, { i }, `m-${i}`));
  for (let i = 0; i < 40; i++) say(i);
  const merging = merge(app, bob, { uid: 'guest' });
  for (let i = 40; i < 120; i++) {
    say(i);
    if (i % 10 === 0) await saying.at(-1);
  }
  for (const sent of await Promise.all(saying)) assert.equal(sent.type, 'sent', JSON.stringify(sent));
  assert.equal((await merging).status, 200);
  const inbox = await app.inbox(bob);
  assert.deepEqual(seqs(inbox), upTo(120));
  const order = inbox.map(({ content }) => content.i as number);
  assert.deepEqual(
    order.toSorted((a, b) => a - b),
    upTo(120).map((i) => i - 1),
  );
  // Per name, the order in which they were sent.
  for (const parity of [0, 1]) {
    const ofName = order.filter((i) => i % 2 === parity);
    assert.deepEqual(
      ofName,
      ofName.toSorted((a, b) => a - b),
    );
  }
  await guest.wait((frame) => frame.type === 'message' && frame.seq === 120);
  const second = guest.frames.findIndex((frame, i) => i > 0 && frame.type === 'welcome');
  assert.deepEqual(seqs(guest.frames.slice(second).filter((frame) => frame.type === 'message')), upTo(120));
  await account.messages(120);
  await other.close();
});

/** Does `acts` at once while the app's row is held, so that they meet in the middle, and lets them go on then. */
async function whileHeld<T>(app: Tenant, acts: readonly (() => Promise<T>)[]): Promise<T[]> {
  const { pool } = service.database;
  const holder = await pool.connect();
  await holder.query('begin');
  await holder.query('select from app where id = $1 for update', [app.appId]);
  const waiting = async (count: number): Promise<boolean> => {
    const { rows } = await holder.query<{ waiting: number }>(
      `select count(*) as waiting from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    );
    return rows[0]!.waiting >= count;
  };
  const doing: Promise<T>[] = [];
  for (const act of acts) {
    doing.push(act());
    await eventually(() => waiting(doing.length), 'an act that waits');
  }
  await holder.query('commit');
  holder.release();
  return Promise.all(doing);
}

test('an account that is erased while a guest is merged into it takes the guest along', async () => {
  const app = await service.createApp(['composed']);
  for (const uid of ['a', 'b']) await send(app, { uid: 'x' }, { uid }, uid);
  const answers = await whileHeld(app, [
    () => merge(app, `${app.appId}:b`, { uid: 'a' }),
    () => app.call('DELETE', `/identities/${app.appId}:b`),
  ]);
  assert.equal(answers[1]!.status, 204);
  assert.equal((await send(app, { uid: 'x' }, { uid: 'a' }, 'to the next a')).seq, 1);
  assert.deepEqual(await resolve(app, { uid: 'a' }), [
    { imId: `${app.appId}:a`, scheme: 'composed', uid: 'a' },
  ]);
});

test('a contact that is written while its user is merged becomes the account', async () => {
  const app = await service.createApp(['composed']);
  for (const uid of ['a', 'b', 'carol']) await send(app, { uid: 'x' }, { uid }, uid);
  await whileHeld(app, [
    () => merge(app, `${app.appId}:b`, { uid: 'a' }),
    () => app.call('PUT', `/contacts/${app.appId}:carol`, { items: [{ uid: 'a' }] }),
  ]);
  const { body } = await app.call('GET', `/contacts/${app.appId}:carol`);
  assert.deepEqual(
    body.items.map((item: Json) => item.uid),
    ['b'],
  );
});

test('a list of renames whose users are merged into one meanwhile is refused', async () => {
  const app = await service.createApp(['composed']);
  for (const uid of ['a', 'b']) await send(app, { uid: 'x' }, { uid }, uid);
  const renames = [
    { imId: `${app.appId}:a`, uid: 'y' },
    { imId: `${app.appId}:b`, uid: 'z' },
  ];
  const [merged, renamed] = await whileHeld(app, [
    () => merge(app, `${app.appId}:b`, { uid: 'a' }),
    () => app.call('POST', '/identities/rename', { renames }),
  ]);
  assert.deepEqual([merged!.status, renamed!.status, renamed!.body.code], [200, 409, 'conflict']);
});

test('a name that came by a merger can be neither merged further nor erased on its own', async () => {
  const app = await service.createApp(['composed']);
  await merge(app, `${app.appId}:bob`, { uid: 'guest' });
  const again = await merge(app, `${app.appId}:carol`, { uid: 'guest' });
  assert.deepEqual([again.body.code, again.body.errors[0].pointer], ['conflict', '#/from']);
  const erased = await app.call('DELETE', `/identities/${app.appId}:guest`);
  assert.deepEqual([erased.body.code, erased.body.errors[0].pointer], ['conflict', '#/imId']);
  assert.equal((await app.call('DELETE', `/identities/${app.appId}:bob`)).status, 204);
});

test('while a big inbox is on its way, its messages show the account already', async () => {
  const app = await service.createApp(['composed']);
  await fill(app, 'x');
  for (const uid of ['b', 'carol']) await send(app, { uid: 'y' }, { uid }, uid);
  await send(app, { uid: 'a' }, { uid: 'a' }, 'first');
  await fill(app, 'a');
  await send(app, { uid: 'a' }, { uid: 'carol' }, 'last');
  await breakOff(app, 'a', 'b');
  assert.deepEqual((await app.inbox(`${app.appId}:carol`)).at(-1)!.from.uid, 'b');
});

test('a token of a name that the guest had before acts as the account', async () => {
  const app = await service.createApp(['composed']);
  const token = await app.token({ uid: 'first' });
  await send(app, { uid: 'first' }, { uid: 'first' }, 1);
  await app.call('PATCH', `/identities/${app.appId}:first`, { uid: 'second' });
  await merge(app, `${app.appId}:account`, { uid: 'second' });
  assert.equal((await service.call('GET', '/v1/me', { key: token })).body.uid, 'account');
});

test('a name that came by a merger, was given up and is somebody else’s leads to that one', async () => {
  const app = await service.createApp(['composed']);
  const rename = (from: string, to: string) =>
    app.call('PATCH', `/identities/${app.appId}:${from}`, { uid: to });
  await merge(app, `${app.appId}:bob`, { uid: 'guest' });
  await send(app, { uid: 'x' }, { uid: 'guest' }, 'to bob');
  for (const [from, to] of [
    ['bob', 'guest'],
    ['guest', 'other'],
    ['other', 'bob'],
  ] as const)
    assert.equal((await rename(from, to)).status, 200);
  await send(app, { uid: 'x' }, { uid: 'guest' }, 'to the next guest');
  assert.deepEqual(contents(await app.inbox(`${app.appId}:bob`)), ['to bob']);
  assert.deepEqual(contents(await app.inbox(`${app.appId}:guest`)), ['to the next guest']);
});
