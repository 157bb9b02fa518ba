import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { eventually, startService, type Answer, type Client, type Json, type Service, type Tenant } from './harness.ts';

let service: Service;
let second: Service;
let app: Tenant;
before(async () => {
  service = await startService();
  second = await startService({ on: service });
  app = await service.createApp();
});
const as = async (address: object, method: string, path: string, body?: unknown): Promise<Answer> =>
  service.call(method, `/v1/me${path}`, { key: await app.token(address), body });
const block = (address: object, ...items: object[]): Promise<Answer> => as(address, 'PUT', '/blocked', { items });
const unread = async (address: object): Promise<number> => (await as(address, 'GET', '')).body.unread;
const conversations = async (address: object): Promise<Json[]> => (await as(address, 'GET', '/conversations')).body.items;
const ofType = (type: string) => (frame: Json) => frame.type === type;
const connectTo = async (at: Service, address: object, query?: Record<string, string | number>): Promise<Client> => at.connect(await app.token(address), query);
const post = (from: object | undefined, to: object, content: unknown) => app.call('POST', '/messages', { ...(from && { from }), to, content });
const contents = async (address: object): Promise<unknown[]> => (await as(address, 'GET', '/messages')).body.items.map(({ content }: Json) => content);

test('T1 a system message can be read', async () => {
  const lea = await app.connect({ uid: 't1' });
  const { body } = await post(undefined, { uid: 't1' }, 'hi');
  const [c] = await conversations({ uid: 't1' });
  lea.send({ type: 'read', with: c!.with, messageId: body.messageId });
  await lea.say({ uid: 'x' }, 'done');
  await lea.say({ uid: 'x' }, 'done');
  console.log('T1', JSON.stringify(lea.frames.filter(ofType('error'))));
  assert.equal(await unread({ uid: 't1' }), 0);
});

test('T2 what was withheld stays so when its sender is erased', async () => {
  await block({ uid: 't2' }, { uid: 't2-eve' });
  await post({ uid: 't2-eve' }, { uid: 't2' }, 'nasty');
  await post({ uid: 't2-ann' }, { uid: 't2' }, 'nice');
  assert.deepEqual(await contents({ uid: 't2' }), ['nice']);
  await app.call('DELETE', `/identities/${app.appId}:t2-eve`);
  const late = await connectTo(second, { uid: 't2' }, { device: 'late', after: 0 });
  await late.wait(({ seq }) => seq === 2);
  console.log('T2', JSON.stringify(late.frames));
  assert.deepEqual(await contents({ uid: 't2' }), ['nice']);
});

test('T3 a recall of what was withheld leaves the count', async () => {
  const eve = await app.connect({ uid: 't3-eve' });
  await eve.say({ uid: 't3' }, 'before');
  await block({ uid: 't3' }, { uid: 't3-eve' });
  const { messageId } = await eve.say({ uid: 't3' }, 'withheld');
  assert.equal(await unread({ uid: 't3' }), 1);
  eve.send({ type: 'recall', id: 'r', messageId });
  await eve.wait(({ id }) => id === 'r');
  assert.equal(await unread({ uid: 't3' }), 1);
});

test('T5 reading after a merger never makes more unread', async () => {
  const p = await app.connect({ uid: 't5-p' });
  const from = await app.connect({ uid: 't5-from' });
  const sent = [];
  for (const n of [1, 2, 3, 4, 5]) sent.push(await p.say({ uid: 't5-from' }, n));
  from.send({ type: 'read', with: { uid: 't5-p' }, messageId: sent[4]!.messageId });
  await p.wait(ofType('read'));
  const first = await p.say({ uid: 't5-into' }, 'a');
  await p.say({ uid: 't5-into' }, 'b');
  const imId = await app.register('t5-into');
  assert.equal((await app.call('POST', `/identities/${imId}/merge`, { from: { uid: 't5-from' } })).status, 200);
  assert.equal(await unread({ uid: 't5-into' }), 2);
  const into = await app.connect({ uid: 't5-into' });
  into.send({ type: 'read', with: { uid: 't5-p' }, messageId: first.messageId });
  await p.wait((f) => f.type === 'read' && f.messageId === first.messageId);
  console.log('T5', await unread({ uid: 't5-into' }));
  assert.ok((await unread({ uid: 't5-into' })) <= 2);
});

test('T6 a recall of what was read before a merger leaves the count', async () => {
  const p = await app.connect({ uid: 't6-p' });
  const from = await app.connect({ uid: 't6-from' });
  const read = await p.say({ uid: 't6-from' }, 1);
  from.send({ type: 'read', with: { uid: 't6-p' }, messageId: read.messageId });
  await p.wait(ofType('read'));
  await p.say({ uid: 't6-into' }, 'b');
  const imId = await app.register('t6-into');
  await app.call('POST', `/identities/${imId}/merge`, { from: { uid: 't6-from' } });
  assert.equal(await unread({ uid: 't6-into' }), 1);
  p.send({ type: 'recall', id: 'r', messageId: read.messageId });
  await p.wait(({ id }) => id === 'r');
  assert.equal(await unread({ uid: 't6-into' }), 1);
});

test('T7a both blocked, then merged: listed once', async () => {
  await block({ uid: 't7' }, { uid: 't7-a' });
  await post({ uid: 't7-a' }, { uid: 't7' }, 1);
  await block({ uid: 't7' }, { uid: 't7-a' }, { uid: 't7-b' });
  const imId = await app.register('t7-b');
  await app.call('POST', `/identities/${imId}/merge`, { from: { uid: 't7-a' } });
  assert.deepEqual((await as({ uid: 't7' }, 'GET', '/blocked')).body.items, [{ uid: 't7-b' }]);
});

test('T7b a block is not lost by a merger', async () => {
  await post({ uid: 't7c' }, { uid: 't7x' }, 0);
  await block({ uid: 't7x' }, { uid: 't7-troll' }, { uid: 't7-alt' });
  await post({ uid: 't7-alt' }, { uid: 't7x' }, 1);
  await block({ uid: 't7x' }, { uid: 't7-troll' });
  const imId = await app.register('t7-alt');
  await app.call('POST', `/identities/${imId}/merge`, { from: { uid: 't7-troll' } });
  assert.deepEqual((await as({ uid: 't7x' }, 'GET', '/blocked')).body.items, [{ uid: 't7-alt' }]);
});

test('T8 an erased user goes offline', async () => {
  const w = await app.connect({ uid: 't8-w' });
  await app.connect({ uid: 't8' });
  w.send({ type: 'watch', users: [{ uid: 't8' }] });
  await w.wait((f) => f.type === 'presence' && f.online);
  await app.call('DELETE', `/identities/${app.appId}:t8`);
  await w.wait((f) => f.type === 'presence' && !f.online);
});

test('T10 watching makes no users', async () => {
  const w = await app.connect({ uid: 't10-w' });
  w.send({ type: 'watch', users: Array.from({ length: 200 }, (_, n) => ({ uid: `t10-${n}` })) });
  await w.wait(ofType('presence'));
  const { rows } = await service.database.pool.query("select count(*)::int as n from identity where name like 't10-%'");
  assert.equal(rows[0].n, 1);
});

test('T10b one that is gone spoils the watch of all others', async () => {
  const w = await app.connect({ uid: 't10b-w' });
  const imId = await app.register('t10b-gone');
  await app.connect({ uid: 't10b-here' });
  await app.call('DELETE', `/identities/${imId}`);
  w.send({ type: 'watch', users: [{ imId }, { uid: 't10b-here' }] });
  await w.wait((f) => f.type === 'presence' || f.type === 'error');
  console.log('T10b', JSON.stringify(w.frames.at(-1)));
  await w.wait((f) => f.type === 'presence' && f.online);
});

test('T11 an import leaves the newest message the last', async () => {
  await post({ uid: 't11-a' }, { uid: 't11' }, 'today');
  await post({ uid: 't11-b' }, { uid: 't11' }, 'later today');
  const line = { from: { uid: 't11-a' }, to: { uid: 't11' }, content: 'old', at: '2019-05-01T08:00:00Z', id: 'o1' };
  const r = await service.call('POST', `${app.path}/messages/import`, { key: app.apiKey, body: JSON.stringify(line) + '\n', headers: { 'content-type': 'application/x-ndjson' } });
  console.log('T11', r.status, r.text);
  const list = await conversations({ uid: 't11' });
  assert.deepEqual(list.map((c) => c.last.content), ['later today', 'today']);
});

test('T12 who is told to start over is shown what was brought along', async () => {
  const line = { from: { uid: 't12-a' }, to: { uid: 't12' }, content: 'old', at: '2019-05-01T08:00:00Z', id: 'o1' };
  await service.call('POST', `${app.path}/messages/import`, { key: app.apiKey, body: JSON.stringify(line) + '\n', headers: { 'content-type': 'application/x-ndjson' } });
  await post({ uid: 't12-a' }, { uid: 't12' }, 'new');
  const c = await connectTo(service, { uid: 't12' }, { device: 'p', after: 2, epoch: 'another' });
  assert.equal(c.welcome.resumed, false);
  await c.wait(({ seq, type }) => seq === 2 && type !== 'welcome');
  console.log('T12', JSON.stringify(c.frames));
  assert.deepEqual((await c.messages(1)).map((m) => m.content), ['old', 'new']);
});

test('T16 a blocked user that is merged stays blocked where no ring was heard', async () => {
  const bob = await connectTo(second, { uid: 't16' });
  await block({ uid: 't16' }, { uid: 't16-troll' });
  await post({ uid: 't16-x' }, { uid: 't16' }, 0);
  await bob.messages(1);
  const imId = await app.register('t16-main');
  const troll = await connectTo(service, { imId });
  await app.call('POST', `/identities/${imId}/merge`, { from: { uid: 't16-troll' } });
  await troll.say({ uid: 't16' }, 'nasty');
  await bob.wait(({ seq, type }) => seq === 2 && type !== 'welcome');
  console.log('T16', JSON.stringify(bob.frames.at(-1)));
  assert.equal(bob.frames.at(-1).type, 'skip');
});
