// The audit trail: who did what, without a name in it, and without a gap for who follows it.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { ADMIN_KEY, startService, type Json, type Service, type Tenant } from './harness.ts';
import { createTransfers } from './imports.ts';

let service: Service;
before(async () => {
  service = await startService();
});

const trail = async (query: string): Promise<Json> => {
  const { status, body } = await service.call('GET', `/v1/audit?${query}`);
  assert.equal(status, 200, JSON.stringify(body));
  return body;
};
const eventsOf = async (app: Tenant, query = ''): Promise<Json[]> =>
  (await trail(`appId=${app.appId}&limit=1000${query}`)).items;
const keyIdOf = (apiKey: string): string => apiKey.split('_')[1]!;

test('every act on apps and keys is in the trail, with who did it, also once the app is gone', async () => {
  const app = await service.createApp();
  const first = keyIdOf(app.apiKey);
  await app.call('PATCH', '', { name: 'renamed-in-the-trail' });
  const { body: second } = await app.call('POST', '/keys', { name: 'second' });
  await service.call('DELETE', `${app.path}/keys/${second.keyId}`);
  await app.call('GET', '/keys');
  await app.call('POST', '/keys', { name: 'bad', scopes: ['nonsense'] });
  await service.call('DELETE', app.path);
  const events = await eventsOf(app);
  assert.deepEqual(
    events.map(({ actor, action, target, count }) => [actor, action, target, count]),
    [
      ['admin', 'app.create', first, 1],
      [first, 'app.change', undefined, 1],
      [first, 'key.create', second.keyId, 1],
      ['admin', 'key.delete', second.keyId, 1],
      ['admin', 'app.delete', undefined, 1],
    ],
  );
  assert.ok(!JSON.stringify(events).includes('renamed-in-the-trail'));
});

test('nothing changes the trail or takes anything out of it', async () => {
  const { pool } = service.database;
  for (const statement of [
    `update audit_event set actor = 'nobody'`,
    'delete from audit_event where false',
    'truncate audit_event',
  ])
    await assert.rejects(pool.query(statement), /append-only/, statement);
});

test('each adoption is an event of its own, however the user is registered', async () => {
  const app = await service.createApp();
  const key = keyIdOf(app.apiKey);
  for (const uid of ['a-same', 'a-guest', 'b-same', 'b-guest', 'c-kept'])
    await app.call('POST', '/messages', { from: { uid }, to: { uid }, content: 1 });
  await app.register('a-same');
  await app.register('a-same'); // is there by now
  await app.register('a-named', { uid: 'a-guest' });
  await app.call('POST', '/identities', { userId: 'c-kept', adopt: false });
  const lines = [
    { userId: 'new' },
    { userId: 'b-same' },
    { userId: 'b-named', adopt: { uid: 'b-guest' } },
    { userId: 'c-kept', adopt: false },
    { userId: 'b-same' },
  ];
  assert.deepEqual(
    (await createTransfers(() => service).importLines(app, lines)).map(
      ({ status, error }) => status ?? error.code,
    ),
    ['created', 'adopted', 'adopted', 'conflict', 'existing'],
  );
  const adoptions = async (query = ''): Promise<number> => {
    const events = await eventsOf(app, `&action=identity.adopt${query}`);
    assert.ok(events.every(({ actor, subject }) => actor === key && subject.length === 43));
    return events.length;
  };
  assert.equal(await adoptions(), 4);
  for (const uid of ['a-same', 'a-guest', 'b-same', 'b-guest'])
    assert.equal(await adoptions(`&name=${uid}`), 1, uid);
  for (const uid of ['new', 'c-kept']) assert.equal(await adoptions(`&name=${uid}`), 0, uid);
});

test('what keys are used for, and what they are refused, is counted; reading is not', async () => {
  const app = await service.createApp();
  const other = await startService({ on: service });
  const { body: reader } = await app.call('POST', '/keys', { name: 'reader', scopes: ['read'] });
  const send = { from: { uid: 'ann' }, to: { uid: 'bob' }, content: 1 };
  const as = (key: string, method: string, path: string, body?: unknown) =>
    other.call(method, app.path + path, { key, body });
  await Promise.all(Array.from({ length: 30 }, () => as(app.apiKey, 'POST', '/messages', send)));
  await as(ADMIN_KEY, 'POST', '/messages', send);
  await as(app.apiKey, 'POST', '/messages', { ...send, to: { userId: 'nobody' } });
  await as(app.apiKey, 'POST', '/tokens', { uid: 'ann' });
  await as(app.apiKey, 'POST', '/resolve', { addresses: [{ uid: 'ann' }] });
  await as(app.apiKey, 'GET', '/identities');
  await as(reader.apiKey, 'POST', '/tokens', { uid: 'ann' });
  await as(reader.apiKey, 'POST', '/tokens', { uid: 'ann' });
  await as(reader.apiKey, 'POST', '/keys', { name: 'more' });
  await other.close(); // writes what it has counted
  const events = (await eventsOf(app)).filter(
    ({ action }) => action === 'key.use' || action === 'key.refuse',
  );
  assert.deepEqual(
    events.map(({ actor, action, target, count }) => `${actor} ${action} ${target} ${count}`).toSorted(),
    [
      `${keyIdOf(app.apiKey)} key.use sendMessage 30`,
      `${keyIdOf(app.apiKey)} key.use issueToken 1`,
      'admin key.use sendMessage 1',
      `${reader.keyId} key.refuse issueToken 2`,
      `${reader.keyId} key.refuse createKey 1`,
    ].toSorted(),
  );
});

test('an act that can’t be written down is not answered as if it were', async () => {
  const app = await service.createApp();
  const { pool } = service.database;
  await pool.query(`alter table audit_event add constraint refused check (action <> 'app.change') not valid`);
  const answer = await app.call('PATCH', '', { name: 'changed' });
  await pool.query('alter table audit_event drop constraint refused');
  assert.deepEqual([answer.status, answer.body.code], [503, 'unavailable']);
  assert.match(answer.body.detail, /It was done, but could not be written to the audit trail/);
  assert.match(answer.headers.get('content-type')!, /^application\/problem\+json/);
  assert.equal((await app.call('GET', '')).body.name, 'changed');
  // An answer without a body, too.
  await pool.query(`alter table audit_event add constraint refused check (action <> 'app.delete') not valid`);
  assert.equal((await service.call('DELETE', app.path)).status, 503);
  await pool.query('alter table audit_event drop constraint refused');
});

test('who follows the trail misses nothing that is committed late', async () => {
  const app = await service.createApp();
  const { pool } = service.database;
  const [late, early] = [await pool.connect(), await pool.connect()];
  const write = (actor: string) =>
    `insert into audit_event (app_id, actor, action) values (${app.appId}, '${actor}', 'test.write')`;
  const follow = async (cursor = ''): Promise<Json[]> =>
    (await trail(`appId=${app.appId}&action=test.write${cursor && `&cursor=${cursor}`}`)).items;
  try {
    await early.query(write('first'));
    const [first] = await follow();
    assert.equal(first.actor, 'first');
    await late.query('begin');
    await late.query(write('second, late'));
    await early.query(write('third, early'));
    assert.deepEqual(await follow(first.cursor), []);
    await late.query('commit');
    const rest = await follow(first.cursor);
    assert.deepEqual(
      rest.map(({ actor }) => actor),
      ['second, late', 'third, early'],
    );
    assert.deepEqual(await follow(rest[1].cursor), []);
    // What others do meanwhile, however long it takes, holds nothing up.
    await late.query('begin');
    await late.query('insert into audit_event (actor, action) select $1, $1 where false', ['none']);
    await late.query('rollback');
    await late.query('begin');
    await late.query('create temporary table busy on commit drop as select 1 as one');
    await early.query(write('fourth'));
    assert.equal((await follow(rest[1].cursor))[0].actor, 'fourth');
    await late.query('rollback');
  } finally {
    late.release(true);
    early.release();
  }
});

test('the trail is asked by app, actor, action and time, from either end, page by page', async () => {
  const app = await service.createApp();
  for (const name of ['one', 'two', 'three']) await app.call('PATCH', '', { name });
  const all = await eventsOf(app);
  assert.equal(all.length, 4);
  const key = keyIdOf(app.apiKey);
  assert.deepEqual(await eventsOf(app, `&actor=${key}`), all.slice(1));
  assert.deepEqual((await trail(`actor=${key}`)).items, all.slice(1));
  assert.deepEqual(await eventsOf(app, '&action=app.create'), all.slice(0, 1));
  assert.deepEqual(await eventsOf(app, '&order=desc'), all.toReversed());
  const { at } = all[2];
  const isBefore = (event: Json) => event.at < at;
  assert.deepEqual(await eventsOf(app, `&to=${at}`), all.filter(isBefore));
  const from = new Date(Date.parse(at) - 60_000).toISOString();
  assert.deepEqual(await eventsOf(app, `&from=${from}`), all);
  assert.deepEqual(await eventsOf(app, `&from=${new Date(Date.now() + 60_000).toISOString()}`), []);
  for (const order of ['asc', 'desc']) {
    const seen: Json[] = [];
    for (let cursor = ''; ;) {
      const page = await trail(`appId=${app.appId}&order=${order}&limit=3${cursor}`);
      seen.push(...page.items);
      if (page.nextCursor === undefined) break;
      assert.equal(page.nextCursor, page.items.at(-1).cursor);
      cursor = `&cursor=${page.nextCursor}`;
    }
    assert.deepEqual(seen, order === 'asc' ? all : all.toReversed());
  }
  for (const bad of [
    'from=yesterday',
    'to=1',
    'order=up',
    'actor=',
    'actor=a%00b',
    'action=',
    'cursor=x',
    'name=bob',
  ]) {
    const { status, body } = await service.call('GET', `/v1/audit?${bad}`);
    const [field] = bad.split('=');
    assert.equal(status, 400, bad);
    assert.equal(body.errors[0].pointer, bad === 'name=bob' ? '#/appId' : `#/${field}`);
  }
});
