// The socket of DESIGN.md section 5: delivery, order, resuming, acks, several devices, ends.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { WebSocket } from 'ws';
import { Client, eventually, startService, type Service, type Tenant } from './harness.ts';

let service: Service;
before(async () => {
  service = await startService();
});

const write = async (app: Tenant, to: string, ...contents: unknown[]) => {
  for (const content of contents)
    await app.call('POST', '/messages', { from: { uid: 'writer' }, to: { uid: to }, content });
};

test('welcome comes first and says who, where and which run of numbers', async () => {
  const app = await service.createApp();
  await write(app, 'bob', 1, 2);
  const client = await app.connect({ uid: 'bob' }, { device: 'phone' });
  const { connectionId, epoch, ...welcome } = client.frames[0];
  assert.match(connectionId, /^[\w-]+$/);
  assert.match(epoch, /^[\w-]+$/);
  assert.deepEqual(welcome, {
    type: 'welcome',
    me: { scheme: 'composed', uid: 'bob' },
    device: 'phone',
    seq: 2,
    acked: 2,
    resumed: false,
  });
});

test('sent and message together show a connection every seq once and in order', async () => {
  const app = await service.createApp();
  const a = await app.connect({ uid: 'a' });
  const b = await app.connect({ uid: 'b' });
  const total = 200;
  for (let n = 0; n < total; n++) {
    a.send({ type: 'send', id: `a${n}`, to: { uid: 'b' }, content: n });
    b.send({ type: 'send', id: `b${n}`, to: { uid: 'a' }, content: n });
  }
  for (const client of [a, b]) {
    await client.wait((frame) => frame.seq === 2 * total && frame.type !== 'welcome');
    const seqs = client.frames
      .filter((frame) => frame.type === 'sent' || frame.type === 'message')
      .map((frame) => frame.seq);
    assert.deepEqual(
      seqs,
      Array.from({ length: 2 * total }, (_, n) => n + 1),
    );
    assert.equal(client.frames.filter((frame) => frame.type === 'sent').length, total);
  }
});

test('the sender’s other devices see what it sent, the sending connection only sent', async () => {
  const app = await service.createApp();
  const phone = await app.connect({ uid: 'a' }, { device: 'phone' });
  const laptop = await app.connect({ uid: 'a' }, { device: 'laptop' });
  const sent = await phone.say({ uid: 'b' }, 'hello');
  const [seen] = await laptop.messages(1);
  assert.deepEqual(
    [seen.seq, seen.messageId, seen.from, seen.to],
    [sent.seq, sent.messageId, { uid: 'a' }, { uid: 'b' }],
  );
  await phone.say({ uid: 'b' }, 'again');
  assert.equal(phone.frames.filter((frame) => frame.type === 'message').length, 0);
});

test('a message to oneself stands in the inbox once', async () => {
  const app = await service.createApp();
  const phone = await app.connect({ uid: 'a' }, { device: 'phone' });
  const laptop = await app.connect({ uid: 'a' }, { device: 'laptop' });
  const sent = await phone.say({ uid: 'a' }, 'note');
  assert.equal(sent.seq, 1);
  assert.equal((await laptop.messages(1))[0].seq, 1);
  assert.deepEqual(
    (await app.inbox(`${app.appId}:a`)).map((message) => message.seq),
    [1],
  );
});

test('the same id again answers the same sent and stores nothing', async () => {
  const app = await service.createApp();
  const first = await app.connect({ uid: 'a' }, { device: 'phone' });
  const sent = await first.say({ uid: 'b' }, 'once', 'id-1');
  assert.deepEqual(await first.say({ uid: 'b' }, 'once', 'id-1'), sent);
  assert.deepEqual(await first.say({ uid: 'c' }, 'another', 'id-1'), sent);
  await first.close();
  const later = await app.connect({ uid: 'a' }, { device: 'phone', after: 0 });
  assert.deepEqual(await later.say({ uid: 'b' }, 'once', 'id-1'), sent);
  assert.equal((await app.inbox(`${app.appId}:b`)).length, 1);
  assert.equal((await app.inbox(`${app.appId}:c`)).length, 0);
  const other = await app.connect({ uid: 'z' });
  assert.notEqual((await other.say({ uid: 'b' }, 'mine', 'id-1')).messageId, sent.messageId);
});

test('the same id sent many times at once is stored once and answered each time', async () => {
  const app = await service.createApp();
  const clients = await Promise.all([1, 2, 3].map((n) => app.connect({ uid: 'a' }, { device: `d${n}` })));
  for (const client of clients)
    for (let n = 0; n < 5; n++) client.send({ type: 'send', id: 'x', to: { uid: 'b' }, content: n });
  for (const client of clients) {
    await eventually(
      () => client.frames.filter((frame) => frame.type === 'sent').length === 5,
      'five answers',
    );
    assert.equal(
      new Set(client.frames.filter((frame) => frame.type === 'sent').map((frame) => frame.messageId)).size,
      1,
    );
  }
  assert.equal((await app.inbox(`${app.appId}:b`)).length, 1);
});

test('a repeated id among the messages of others costs them nothing', async () => {
  const app = await service.createApp();
  const a = await app.connect({ uid: 'a' });
  const c = await app.connect({ uid: 'c' });
  await a.say({ uid: 'b' }, 0, 'known');
  for (let n = 1; n <= 50; n++) {
    c.send({ type: 'send', id: `c${n}`, to: { uid: 'b' }, content: n });
    a.send({ type: 'send', id: 'known', to: { uid: 'b' }, content: 'repeat' });
  }
  await c.wait((frame) => frame.type === 'sent' && frame.seq === 50);
  await eventually(() => a.frames.filter((frame) => frame.type === 'sent').length === 51);
  assert.deepEqual(
    (await app.inbox(`${app.appId}:b`)).map((message) => [message.seq, message.content]),
    Array.from({ length: 51 }, (_, n) => [n + 1, n]),
  );
});

test('after and epoch resume behind what the client has', async () => {
  const app = await service.createApp();
  await write(app, 'bob', 1, 2, 3);
  const { epoch } = (await app.connect({ uid: 'bob' })).welcome;
  const resumed = await app.connect({ uid: 'bob' }, { after: 1, epoch });
  assert.equal(resumed.welcome.resumed, true);
  assert.deepEqual(
    (await resumed.messages(2)).map((message) => message.seq),
    [2, 3],
  );
  const all = await app.connect({ uid: 'bob' }, { after: 0 });
  assert.equal(all.welcome.resumed, true);
  assert.equal((await all.messages(3)).length, 3);
});

test('with another epoch, or an after beyond the end, the client starts over and misses nothing', async () => {
  const app = await service.createApp();
  await write(app, 'bob', 1, 2, 3);
  for (const query of [{ after: 2, epoch: 'another' }, { after: 99 }, { epoch: 'another' }] as Record<
    string,
    string | number
  >[]) {
    const client = await app.connect({ uid: 'bob' }, query);
    assert.equal(client.welcome.resumed, false, JSON.stringify(query));
    assert.deepEqual(
      (await client.messages(3)).map((message) => message.seq),
      [1, 2, 3],
    );
  }
});

test('a client of an erased user’s inbox starts over in the inbox of who has the uid next', async () => {
  const app = await service.createApp();
  await write(app, 'bob', 1, 2, 3);
  const { epoch } = (await app.connect({ uid: 'bob' })).welcome;
  await app.call('DELETE', `/identities/${app.appId}:bob`);
  await write(app, 'bob', 'a', 'b', 'c', 'd');
  const client = await app.connect({ uid: 'bob' }, { after: 3, epoch });
  assert.equal(client.welcome.resumed, false);
  assert.deepEqual(
    (await client.messages(4)).map((message) => message.content),
    ['a', 'b', 'c', 'd'],
  );
});

test('a device starts behind what it has acked; a new one at the end of the inbox', async () => {
  const app = await service.createApp();
  await write(app, 'bob', 1, 2);
  const phone = await app.connect({ uid: 'bob' }, { device: 'phone' });
  assert.equal(phone.welcome.acked, 2);
  await write(app, 'bob', 3, 4, 5);
  await phone.messages(3);
  phone.send({ type: 'ack', seq: 4 });
  await phone.close();
  const back = await app.connect({ uid: 'bob' }, { device: 'phone' });
  assert.deepEqual([back.welcome.acked, back.welcome.resumed], [4, true]);
  assert.deepEqual(
    (await back.messages(1)).map((message) => message.seq),
    [5],
  );
  const laptop = await app.connect({ uid: 'bob' }, { device: 'laptop' });
  assert.deepEqual([laptop.welcome.acked, laptop.welcome.seq], [5, 5]);
});

test('a device that never acked gets everything since its first sight', async () => {
  const app = await service.createApp();
  const phone = await app.connect({ uid: 'bob' }, { device: 'phone' });
  await write(app, 'bob', 1, 2);
  await phone.messages(2);
  await phone.close();
  await write(app, 'bob', 3);
  const back = await app.connect({ uid: 'bob' }, { device: 'phone' });
  assert.deepEqual(
    (await back.messages(3)).map((message) => message.seq),
    [1, 2, 3],
  );
});

test('an ack beyond what was sent is refused, and one that goes back changes nothing', async () => {
  const app = await service.createApp();
  const phone = await app.connect({ uid: 'bob' }, { device: 'phone' });
  await write(app, 'bob', 1, 2, 3);
  await phone.messages(3);
  phone.send({ type: 'ack', seq: 4 });
  assert.equal((await phone.wait((frame) => frame.type === 'error')).code, 'invalid_request');
  phone.send({ type: 'ack', seq: 3 });
  // Written before the next one comes, which would only be merged with it.
  await eventually(async () => {
    const { rows } = await service.database.pool.query(`select acked_seq from device where app_id = $1`, [
      app.appId,
    ]);
    return rows[0].acked_seq === 3;
  });
  phone.send({ type: 'ack', seq: 1 });
  await phone.say({ uid: 'alice' }, 'after the ack');
  await phone.close();
  assert.equal((await app.connect({ uid: 'bob' }, { device: 'phone' })).welcome.acked, 3);
});

test('catching up and live delivery join without a gap or repeat, also while much is arriving', async () => {
  const app = await service.createApp();
  const writer = await app.connect({ uid: 'writer' });
  const total = 2_000;
  const clients: Promise<Client>[] = [];
  for (let n = 0; n < total; n++) {
    writer.send({ type: 'send', id: `m${n}`, to: { uid: 'bob' }, content: n });
    if (n % 250 === 100) {
      await writer.wait((frame) => frame.id === `m${n - 50}`);
      clients.push(app.connect({ uid: 'bob' }, { after: 0 }));
    }
  }
  for (const client of await Promise.all(clients))
    assert.deepEqual(
      (await client.messages(total)).map((message) => message.seq),
      Array.from({ length: total }, (_, n) => n + 1),
    );
});

test('the socket and GET /v1/me/messages agree', async () => {
  const app = await service.createApp();
  await write(app, 'bob', 'x', { deep: [1, null, 'ü'] });
  const token = await app.token({ uid: 'bob' });
  const client = await service.connect(token, { after: 0 });
  const shown = (await client.messages(2)).map(({ type: _type, ...message }) => message);
  const { body } = await service.call('GET', '/v1/me/messages', { key: token });
  assert.deepEqual(body.items, shown);
  assert.equal(body.epoch, client.welcome.epoch);
  const paged = await service.call('GET', '/v1/me/messages?after=1&limit=1', { key: token });
  assert.deepEqual(paged.body.items, shown.slice(1));
});

test('the same device connecting again replaces the older connection', async () => {
  const app = await service.createApp();
  const first = await app.connect({ uid: 'bob' }, { device: 'phone' });
  const second = await app.connect({ uid: 'bob' }, { device: 'phone' });
  assert.equal((await first.waitClosed()).code, 4503);
  assert.equal(second.closed, undefined);
});

test('an expired token closes the socket with 4001, and a fresh one in time keeps it open', async () => {
  const app = await service.createApp();
  const short = { uid: 'bob', ttlSeconds: 3 };
  const fresh = await app.token({ uid: 'bob', ttlSeconds: 60 });
  const renewed = await app.connect(short);
  renewed.send({ type: 'token', token: fresh });
  const expiring = await app.connect(short); // no sooner than the other one would have
  assert.equal((await expiring.waitClosed()).code, 4001);
  assert.equal((await renewed.say({ uid: 'x' }, 1)).type, 'sent');
});

test('a token bound to a device connects that device only', async () => {
  const app = await service.createApp();
  const token = await app.token({ uid: 'bob', deviceId: 'phone' });
  assert.equal((await service.connect(token)).welcome.device, 'phone');
  assert.equal((await service.connect(token, { device: 'phone' })).welcome.device, 'phone');
  await assert.rejects(service.connect(token, { device: 'laptop' }), { status: 403 });
});

test('browsers bring the token as a second subprotocol, and are answered the first', async () => {
  const app = await service.createApp();
  const token = await app.token({ uid: 'bob' });
  const socket = new WebSocket(`${service.url.replace('http', 'ws')}/v1/connect`, [
    'imid.v1',
    `bearer.${token}`,
  ]);
  const client = new Client(socket);
  await client.wait((frame) => frame.type === 'welcome');
  assert.equal(socket.protocol, 'imid.v1');
  await client.close();
});

test('presence shows connections, their state, and when someone was seen last', async () => {
  const app = await service.createApp();
  const phone = await app.connect({ uid: 'bob' }, { device: 'phone', state: 'background' });
  const imId = `${app.appId}:bob`;
  const look = async () =>
    (await app.call('GET', `/presence?imId=${imId}&imId=${app.appId}:ghost`)).body.items;
  const [bob, ghost] = await look();
  assert.equal(bob.imId, imId);
  assert.deepEqual(
    [bob.online, bob.foreground, bob.devices],
    [true, false, [{ deviceId: 'phone', connected: true, state: 'background' }]],
  );
  assert.deepEqual(ghost, { imId: `${app.appId}:ghost`, online: false, foreground: false, devices: [] });
  phone.send({ type: 'state', state: 'foreground' });
  await eventually(async () => (await look())[0].foreground);
  await phone.close();
  const gone = await eventually(async () => {
    const [item] = await look();
    return !item.online && item.lastSeenAt ? item : undefined;
  });
  assert.equal(gone.devices[0].connected, false);
});
