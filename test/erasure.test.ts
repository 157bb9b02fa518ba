// What erasing leaves: nothing of the content if that is asked for, an event that names nobody, and every seq.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { startService, type Json, type Service, type Tenant } from './harness.ts';

let service: Service;
before(async () => {
  service = await startService();
});

const send = async (app: Tenant, from: string, to: string, content: unknown): Promise<void> => {
  const answer = await app.call('POST', '/messages', {
    from: { uid: from },
    to: { uid: to },
    content,
    push: { title: String(content) },
    id: `${String(content)} by ${from}`,
  });
  assert.equal(answer.status, 201, JSON.stringify(answer.body));
};

test('content=erase blanks what the user sent, in every inbox that has it, and disturbs no seq', async () => {
  const app = await service.createApp();
  await send(app, 'bob', 'ann', 'secret 1');
  await send(app, 'cleo', 'ann', 'kept');
  await send(app, 'bob', 'cleo', 'secret 2');
  await send(app, 'ann', 'bob', 'sent to bob');
  const online = await app.connect({ uid: 'ann' }, { after: 0 });
  const erased = await app.call('DELETE', `/identities/${app.appId}:bob?content=erase`);
  assert.equal(erased.status, 204);
  const shown = (messages: Json[]): unknown[] =>
    messages.map(({ seq, from, to, content }) => [
      seq,
      from.erased ?? from.uid,
      to.erased ?? to.uid,
      content,
    ]);
  assert.deepEqual(shown(await app.inbox(`${app.appId}:ann`)), [
    [1, true, 'ann', null],
    [2, 'cleo', 'ann', 'kept'],
    [3, 'ann', true, 'sent to bob'],
  ]);
  assert.deepEqual(shown(await app.inbox(`${app.appId}:cleo`)), [
    [1, 'cleo', 'ann', 'kept'],
    [2, true, 'cleo', null],
  ]);
  const again = await app.connect({ uid: 'ann' }, { after: 0 });
  assert.deepEqual(
    (await again.messages(3)).map(({ seq, content }) => [seq, content]),
    [
      [1, null],
      [2, 'kept'],
      [3, 'sent to bob'],
    ],
  );
  await send(app, 'cleo', 'ann', 'next');
  assert.equal((await online.messages(4)).at(-1)!.seq, 4);
  const { rows } = await service.database.pool.query<{ text: string }>(
    `select message::text as text from message where app_id = $1`,
    [app.appId],
  );
  assert.ok(rows.length > 0);
  for (const { text } of rows) assert.ok(!text.includes('secret'), text);
});

test('without it the content stays; another value is refused', async () => {
  const app = await service.createApp();
  await send(app, 'bob', 'ann', 'stays');
  const refused = await app.call('DELETE', `/identities/${app.appId}:bob?content=all`);
  assert.deepEqual([refused.status, refused.body.errors[0].pointer], [400, '#/content']);
  await app.call('DELETE', `/identities/${app.appId}:bob`);
  assert.equal((await app.inbox(`${app.appId}:ann`))[0].content, 'stays');
});

test('of an erased user no table keeps a name, an imId or a device; the trail knows it by a hash', async () => {
  const app = await service.createApp();
  const imId = await app.register('bob-of-the-audit');
  await app.call('PATCH', `/identities/${imId}`, { userId: 'robert-of-the-audit' });
  const client = await app.connect({ imId }, { device: 'bobs-phone' });
  await send(app, 'ann', 'robert-of-the-audit', 'hello');
  await app.call('PUT', `/contacts/${app.appId}:ann`, { items: [{ userId: 'robert-of-the-audit' }] });
  await app.call('POST', `/identities/${imId}/merge`, { from: { uid: 'guest-of-the-audit' } });
  await app.call('DELETE', `/identities/${imId}`);
  assert.equal((await client.waitClosed()).code, 4502);

  const { pool } = service.database;
  const tables = (
    await pool.query<{ table_name: string }>(
      `select table_name from information_schema.columns where table_schema = 'public' and column_name = 'app_id'`,
    )
  ).rows.map((row) => row.table_name);
  for (const table of tables) {
    const { rows } = await pool.query<{ text: string }>(
      `select t::text as text from ${table} t where app_id = $1`,
      [app.appId],
    );
    for (const { text } of rows) assert.ok(!/of-the-audit|bobs-phone/.test(text), `${table}: ${text}`);
  }

  const audit = async (query: string): Promise<Json[]> =>
    (await service.call('GET', `/v1/audit?${query}`)).body.items as Json[];
  const events = (await audit(`appId=${app.appId}`)).filter(({ action }) => action.startsWith('identity.'));
  assert.deepEqual(
    events.map(({ action }) => action),
    ['identity.merge', 'identity.erase', 'identity.erase'],
  );
  assert.match(events[1].actor, /^\w+$/);
  assert.notEqual(events[1].actor, 'admin');
  assert.deepEqual(await audit(`appId=${app.appId}&name=robert-of-the-audit`), [events[1]]);
  assert.deepEqual(await audit(`appId=${app.appId}&name=guest-of-the-audit`), [events[0], events[2]]);
  assert.deepEqual(await audit(`appId=${app.appId}&name=somebody`), []);
  assert.equal((await service.call('GET', '/v1/audit?name=bob')).status, 400);
  assert.equal((await service.call('GET', '/v1/audit', { key: app.apiKey })).status, 403);
});

test('an erased composed user is free to be used again, with an empty inbox that starts over', async () => {
  const app = await service.createApp(['composed']);
  await send(app, 'ann', 'bob', 1);
  const token = await app.token({ uid: 'bob' });
  const first = await service.connect(token);
  await app.call('DELETE', `/identities/${app.appId}:bob`);
  assert.equal((await first.waitClosed()).code, 4502);
  await send(app, 'ann', 'bob', 2);
  const inbox = await app.inbox(`${app.appId}:bob`);
  assert.deepEqual(
    inbox.map(({ seq, content }) => [seq, content]),
    [[1, 2]],
  );
  assert.equal((await service.call('GET', '/v1/me', { key: token })).body.code, 'token_revoked');
  const next = await app.connect({ uid: 'bob' }, { after: 0 });
  assert.notEqual(next.welcome.epoch, first.welcome.epoch);
});
