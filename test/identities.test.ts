// Registering, adopting, renaming and erasing: one user, one row, two names.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { eventually, startService, type Service } from './harness.ts';

let service: Service;
before(async () => {
  service = await startService();
});

test('registering answers 201 with a new imId and 200 with the old one', async () => {
  const app = await service.createApp(['registered']);
  const first = await app.call('POST', '/identities', { userId: 'bob' });
  assert.equal(first.status, 201);
  assert.match(first.body.imId, /^im_[0-7][0-9a-hjkmnp-tv-z]{25}$/);
  assert.deepEqual(Object.keys(first.body).toSorted(), ['createdAt', 'imId', 'scheme', 'userId']);
  assert.equal(first.body.scheme, 'registered');
  const again = await app.call('POST', '/identities', { userId: 'bob' });
  assert.deepEqual([again.status, again.body], [200, first.body]);
});

test('fifty who register one userId at once get one imId, and one of them 201', async () => {
  const app = await service.createApp(['registered']);
  const answers = await Promise.all(
    Array.from({ length: 50 }, () => app.call('POST', '/identities', { userId: 'bob' })),
  );
  assert.equal(new Set(answers.map((answer) => answer.body.imId)).size, 1);
  assert.equal(answers.filter((answer) => answer.status === 201).length, 1);
});

test('names are compared byte for byte', async () => {
  const app = await service.createApp(['registered']);
  const names = ['bob', 'Bob', 'BOB', 'é', 'e\u0301', 'ß', 'ss', 'İ', 'i'];
  const imIds = await Promise.all(names.map((name) => app.register(name)));
  assert.equal(new Set(imIds).size, names.length);
});

test('a composed-only app refuses to register', async () => {
  const app = await service.createApp(['composed']);
  assert.equal((await app.call('POST', '/identities', { userId: 'bob' })).body.code, 'scheme_disabled');
});

test('adoption makes one user with one inbox and one sequence, reached by every address', async () => {
  const app = await service.createApp();
  const composed = await app.connect({ uid: 'bob' }, { device: 'old' });
  const alice = await app.connect({ uid: 'alice' });
  await alice.say({ uid: 'bob' }, 1);
  const registering = await app.call('POST', '/identities', { userId: 'bob' });
  assert.equal(registering.status, 201);
  const { imId } = registering.body;
  const registered = await app.connect({ userId: 'bob' }, { device: 'new', after: 0 });
  for (const to of [{ uid: 'bob' }, { imId: `${app.appId}:bob` }, { userId: 'bob' }, { imId }])
    assert.equal((await alice.say(to, 2)).type, 'sent');
  for (const client of [composed, registered])
    assert.deepEqual(
      (await client.messages(5)).map((message) => message.seq),
      [1, 2, 3, 4, 5],
    );
  assert.equal(composed.closed, undefined);
  assert.equal((await composed.say({ uid: 'alice' }, 'still here')).type, 'sent');
  assert.deepEqual(await app.inbox(imId), await app.inbox(`${app.appId}:bob`));
});

test('adopt: false refuses a userId that is in use as a uid, and only that', async () => {
  const app = await service.createApp();
  await app.connect({ uid: 'bob' });
  const refused = await app.call('POST', '/identities', { userId: 'bob', adopt: false });
  assert.deepEqual([refused.status, refused.body.code], [409, 'conflict']);
  assert.equal((await app.call('POST', '/identities', { userId: 'carol', adopt: false })).status, 201);
  assert.equal((await app.call('POST', '/identities', { userId: 'carol', adopt: false })).status, 200);
});

test('adopt: {uid} gives the user of that uid another name and an imId, and logs nobody out', async () => {
  const app = await service.createApp();
  const token = await app.token({ uid: 'g-81' });
  const guest = await service.connect(token, { device: 'phone' });
  await app.call('POST', '/messages', { from: { uid: 'shop' }, to: { uid: 'g-81' }, content: 'welcome' });
  const adopting = await app.call('POST', '/identities', { userId: 'alice', adopt: { uid: 'g-81' } });
  assert.equal(adopting.status, 201);
  const again = await app.call('POST', '/identities', { userId: 'alice', adopt: { uid: 'g-81' } });
  assert.deepEqual([again.status, again.body], [200, adopting.body]);
  await app.call('POST', '/messages', {
    from: { uid: 'shop' },
    to: { userId: 'alice' },
    content: 'hello alice',
  });
  const messages = await guest.messages(2);
  assert.deepEqual(
    messages.map((message) => [message.seq, message.content]),
    [
      [1, 'welcome'],
      [2, 'hello alice'],
    ],
  );
  assert.deepEqual((await service.call('GET', '/v1/me', { key: token })).body, {
    scheme: 'composed',
    uid: 'alice',
    unread: 2,
    presence: true,
  });
  const back = await service.connect(token, { device: 'phone' });
  assert.deepEqual(back.welcome.me, { scheme: 'composed', uid: 'alice' });
  // The former uid is free: whoever uses it next is somebody else.
  await app.call('POST', '/messages', { from: { uid: 'shop' }, to: { uid: 'g-81' }, content: 'a new guest' });
  assert.equal((await app.inbox(adopting.body.imId)).length, 2);
});

test('adopt: {uid} also adopts a uid that nobody has used, so that its tokens follow', async () => {
  const app = await service.createApp();
  const token = await app.token({ uid: 'g-82' });
  const imId = await app.register('alice', { uid: 'g-82' });
  const client = await service.connect(token);
  await app.call('POST', '/messages', { from: { uid: 'x' }, to: { imId }, content: 1 });
  assert.equal((await client.messages(1)).length, 1);
});

test('adopt: {uid} refuses a name that is taken and a user that is registered', async () => {
  const app = await service.createApp();
  await app.register('alice');
  await app.register('bob');
  await app.connect({ uid: 'carol' });
  for (const [userId, uid] of [
    ['alice', 'g-1'],
    ['carol', 'g-1'],
    ['dave', 'bob'],
  ]) {
    const answer = await app.call('POST', '/identities', { userId, adopt: { uid } });
    assert.deepEqual([userId, answer.status, answer.body.code], [userId, 409, 'conflict']);
  }
  assert.equal(
    (await app.call('POST', '/identities', { userId: 'carol', adopt: { uid: 'carol' } })).status,
    201,
  );
});

test('twenty who adopt the same guest at once get one user', async () => {
  const app = await service.createApp();
  await app.connect({ uid: 'g-1' });
  const answers = await Promise.all(
    Array.from({ length: 20 }, () =>
      app.call('POST', '/identities', { userId: 'alice', adopt: { uid: 'g-1' } }),
    ),
  );
  assert.equal(answers.filter((answer) => answer.status === 201).length, 1);
  assert.ok(answers.every((answer) => answer.status <= 201));
  assert.equal(new Set(answers.map((answer) => answer.body.imId)).size, 1);
});

test('messages that are on their way while their recipient is adopted arrive once, in order, in one inbox', async () => {
  const app = await service.createApp();
  const sender = await app.connect({ uid: 'sender' });
  const recipient = await app.connect({ uid: 'bob' });
  const total = 400;
  for (let n = 0; n < total; n++) {
    sender.send({ type: 'send', id: `m${n}`, to: { uid: 'bob' }, content: n });
    if (n === total / 2) void app.register('bob');
  }
  const live = await recipient.messages(total);
  assert.deepEqual(
    live.map((message) => message.content),
    Array.from({ length: total }, (_, n) => n),
  );
  const imId = await app.register('bob');
  assert.deepEqual(
    (await app.inbox(imId)).map((message) => [message.seq, message.content]),
    Array.from({ length: total }, (_, n) => [n + 1, n]),
  );
});

test('renaming keeps inbox and imId, and frees the former name for a new user', async () => {
  const app = await service.createApp();
  const imId = await app.register('bob');
  await app.call('POST', '/messages', { from: { uid: 'x' }, to: { userId: 'bob' }, content: 1 });
  const renamed = await app.call('PATCH', `/identities/${imId}`, { userId: 'robert' });
  assert.deepEqual([renamed.status, renamed.body.imId, renamed.body.userId], [200, imId, 'robert']);
  assert.equal(
    (await app.call('POST', '/messages', { from: { uid: 'x' }, to: { userId: 'bob' }, content: 2 })).status,
    422,
  );
  const successor = await app.register('bob');
  assert.notEqual(successor, imId);
  assert.equal((await app.inbox(successor)).length, 0);
  assert.equal((await app.inbox(imId)).length, 1);
  const { body } = await app.call('GET', '/identities?formerName=bob');
  assert.deepEqual(
    body.items.map((item: { imId: string; userId: string; formerName: string }) => [
      item.imId,
      item.userId,
      item.formerName,
    ]),
    [[imId, 'robert', 'bob']],
  );
});

test('renaming a composed user moves its imId with its name', async () => {
  const app = await service.createApp();
  await app.call('POST', '/messages', { from: { uid: 'x' }, to: { uid: 'bob' }, content: 1 });
  const renamed = await app.call('PATCH', `/identities/${app.appId}:bob`, { uid: 'robert' });
  assert.deepEqual(
    [renamed.status, renamed.body.imId, renamed.body.uid],
    [200, `${app.appId}:robert`, 'robert'],
  );
  assert.equal((await app.inbox(`${app.appId}:robert`)).length, 1);
  assert.equal((await app.inbox(`${app.appId}:bob`)).length, 0);
});

test('renaming to a name that is taken, registered or not, is a conflict that changes nothing', async () => {
  const app = await service.createApp();
  const imId = await app.register('bob');
  await app.register('alice');
  await app.connect({ uid: 'carol' });
  for (const userId of ['alice', 'carol']) {
    const answer = await app.call('PATCH', `/identities/${imId}`, { userId });
    assert.deepEqual(
      [answer.status, answer.body.code, answer.body.errors[0].pointer],
      [409, 'conflict', '#/userId'],
    );
  }
  assert.equal((await app.call('GET', `/identities/${imId}`)).body.userId, 'bob');
  assert.equal((await app.call('PATCH', `/identities/${imId}`, { userId: 'bob' })).status, 200);
  assert.equal((await app.call('PATCH', `/identities/${imId}`, { uid: 'zoe' })).status, 400);
});

test('erasing frees the name and the inbox, and shows the sender as erased where its messages stay', async () => {
  const app = await service.createApp();
  const imId = await app.register('bob');
  const bob = await app.connect({ userId: 'bob' });
  const alice = await app.connect({ uid: 'alice' });
  await bob.say({ uid: 'alice' }, 'from bob');
  await alice.say({ uid: 'bob' }, 'to bob');
  await bob.say({ imId }, 'to myself');
  assert.equal((await app.call('DELETE', `/identities/${imId}`)).status, 204);
  assert.deepEqual((await bob.waitClosed()).code, 4502);
  assert.equal((await app.call('GET', `/identities/${imId}`)).status, 404);
  assert.equal((await app.call('DELETE', `/identities/${imId}`)).status, 404);
  const kept = await app.inbox(`${app.appId}:alice`);
  assert.deepEqual(
    kept.map((message) => [message.seq, message.from, message.to, message.content]),
    [
      [1, { erased: true }, { imId: `${app.appId}:alice`, uid: 'alice' }, 'from bob'],
      [2, { imId: `${app.appId}:alice`, uid: 'alice' }, { erased: true }, 'to bob'],
    ],
  );
  const again = await app.connect({ uid: 'bob' }, { after: 0 });
  assert.equal(again.welcome.seq, 0);
  const { rows } = await service.database.pool.query('select count(*) from message where content = $1', [
    '"to myself"',
  ]);
  assert.equal(Number(rows[0].count), 0);
});

test('of two users who are erased at once nothing is left, also after a crash in the middle', async () => {
  const app = await service.createApp();
  const contents = Array.from({ length: 150 }, (_, n) => `secret ${app.appId} ${n}`);
  for (const content of contents) {
    const [from, to] = content.endsWith('3') ? ['b', 'a'] : ['a', 'b'];
    await app.call('POST', '/messages', { from: { uid: from }, to: { uid: to }, content });
  }
  const answers = await Promise.all(
    ['a', 'b'].map((uid) => app.call('DELETE', `/identities/${app.appId}:${uid}`)),
  );
  assert.deepEqual(
    answers.map((answer) => answer.status),
    [204, 204],
  );
  const count = async (table: string) =>
    Number(
      (await service.database.pool.query(`select count(*) from ${table} where app_id = $1`, [app.appId]))
        .rows[0].count,
    );
  assert.deepEqual([await count('message'), await count('erasure')], [0, 0]);
  // A process that ended between the two steps left the user gone and its messages there.
  await app.call('POST', '/messages', { from: { uid: 'c' }, to: { uid: 'c' }, content: 'left over' });
  await service.database.pool.query(
    `with gone as (delete from identity where app_id = $1 and name = 'c' returning app_id, id)
     insert into erasure (app_id, identity_id) select app_id, id from gone`,
    [app.appId],
  );
  await startService({ on: service });
  await eventually(async () => (await count('message')) === 0 && (await count('erasure')) === 0);
});

test('what is remembered of an erased name is not the name', async () => {
  const app = await service.createApp();
  const imId = await app.register('very-personal-1');
  await app.call('PATCH', `/identities/${imId}`, { userId: 'very-personal-2' });
  await app.call('DELETE', `/identities/${imId}`);
  for (const table of ['identity', 'former_name', 'message', 'contact', 'device']) {
    const { rows } = await service.database.pool.query(`select t::text as row from ${table} t`);
    assert.ok(!rows.some(({ row }) => row.includes('very-personal')), table);
  }
  assert.deepEqual((await app.call('GET', '/identities?formerName=very-personal-1')).body.items, []);
});

test('users are listed in pages that stay right while others register', async () => {
  const app = await service.createApp(['registered']);
  for (let n = 0; n < 7; n++) await app.register(`u${n}`);
  const names: string[] = [];
  let cursor: string | undefined;
  do {
    const { body } = await app.call('GET', `/identities?limit=3${cursor ? `&cursor=${cursor}` : ''}`);
    names.push(...body.items.map((item: { userId: string }) => item.userId));
    if (names.length === 3) await app.register('late');
    cursor = body.nextCursor;
  } while (cursor);
  assert.deepEqual(names, ['u0', 'u1', 'u2', 'u3', 'u4', 'u5', 'u6', 'late']);
  assert.equal((await app.call('GET', '/identities?cursor=nonsense')).body.errors[0].pointer, '#/cursor');
  const one = await app.call('GET', '/identities?userId=u3');
  assert.deepEqual([one.body.items.length, one.body.items[0].userId], [1, 'u3']);
  assert.deepEqual((await app.call('GET', '/identities?userId=nobody')).body, { items: [] });
});

test('an imId is looked up in either scheme, also of a composed user that nothing is stored of', async () => {
  const app = await service.createApp();
  const imId = await app.register('bob');
  assert.equal((await app.call('GET', `/identities/${imId}`)).body.userId, 'bob');
  assert.deepEqual((await app.call('GET', `/identities/${app.appId}:ghost`)).body, {
    imId: `${app.appId}:ghost`,
    scheme: 'composed',
    uid: 'ghost',
  });
  const { rows } = await service.database.pool.query('select 1 from identity where name = $1', ['ghost']);
  assert.equal(rows.length, 0);
});
