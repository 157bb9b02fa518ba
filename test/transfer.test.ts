// Import and export of users as streams of lines.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { before, test } from 'node:test';
import fc from 'fast-check';
import { eventually, startService, type Json, type Service } from './harness.ts';
import { bytesOf, createTransfers, NDJSON, parseLines, responseTo } from './imports.ts';
import { illegalName, legalName } from './names.ts';

let service: Service;
before(async () => {
  service = await startService();
});

const { importText, importLines, exportLines, begin, leaveUnread } = createTransfers(() => service);

test('each line comes to a result, in order', async () => {
  const app = await service.createApp();
  const known = await app.register('known');
  await app.connect({ uid: 'used' });
  await app.connect({ uid: 'g-81' });
  const results = await importLines(app, [
    { userId: 'new' },
    { userId: 'known' },
    { userId: 'used' },
    { userId: 'new' },
    { userId: 'alice', adopt: { uid: 'g-81' } },
    { userId: 'carol', adopt: { uid: 'known' } },
  ]);
  assert.deepEqual(
    results.map(({ line, userId, status, error }) => [line, userId, status ?? error.code]),
    [
      [1, 'new', 'created'],
      [2, 'known', 'existing'],
      [3, 'used', 'adopted'],
      [4, 'new', 'existing'],
      [5, 'alice', 'adopted'],
      [6, 'carol', 'conflict'],
    ],
  );
  assert.equal(results[1].imId, known);
  assert.equal(results[0].imId, results[3].imId);
});

test('a bad line stops no other', async () => {
  const app = await service.createApp();
  await app.connect({ uid: 'used' });
  const text = [
    '{"userId":"a"}',
    '{"userId":',
    '',
    '{"userId":" b"}',
    '{"userId":"b","colour":1}',
    '{"userId":"used","adopt":false}',
    `{"userId":"${'x'.repeat(20_000)}"}`,
    '[]',
    '{"userId":"c","createdAt":"yesterday"}\r',
    '{"userId":"z"}',
  ].join('\n');
  const results = await importText(
    app,
    Buffer.concat([Buffer.from(text), Buffer.from('\n{"userId":"\xff"}', 'latin1')]),
  );
  assert.deepEqual(
    results.map(({ line, status, error }) => [line, status ?? error.code]),
    [
      [1, 'created'],
      [2, 'invalid_request'],
      [4, 'invalid_request'],
      [5, 'invalid_request'],
      [6, 'conflict'],
      [7, 'invalid_request'],
      [8, 'invalid_request'],
      [9, 'invalid_request'],
      [10, 'created'],
      [11, 'invalid_request'],
    ],
  );
  assert.match(results[2].error.detail, /userId must not begin/);
});

test('an imId that is brought along is kept, or a conflict that overwrites nothing', async () => {
  const app = await service.createApp();
  const bobs = await app.register('bob');
  const imId = 'im_01h455vb4pex5vsknk084sn02q';
  const results = await importLines(app, [
    { userId: 'alice', imId },
    { userId: 'alice', imId },
    { userId: 'carol', imId },
    { userId: 'alice' },
    { userId: 'bob', imId: 'im_00000000000000000000000001' },
    { userId: 'dave', imId: bobs },
    { userId: 'erin', imId: `${app.appId}:erin` },
    { userId: 'frank' },
  ]);
  assert.deepEqual(
    results.map(({ status, error }) => status ?? error.code),
    ['created', 'existing', 'conflict', 'existing', 'conflict', 'conflict', 'invalid_request', 'created'],
  );
  assert.equal(results[3].imId, imId);
  assert.equal((await app.call('GET', `/identities/${bobs}`)).body.userId, 'bob');
});

test('a token of an erased user does not act for whoever gets its imId by an import', async () => {
  const app = await service.createApp();
  const imId = await app.register('bob');
  const old = await app.token({ imId });
  await app.call('DELETE', `/identities/${imId}`);
  const [result] = await importLines(app, [{ userId: 'mallory', imId }]);
  assert.equal(result.status, 'created');
  assert.equal((await service.call('GET', '/v1/me', { key: old })).body.code, 'token_revoked');
  const fresh = await app.token({ imId });
  assert.equal((await service.call('GET', '/v1/me', { key: fresh })).body.imId, imId);
});

test('many guests are adopted at once, and those that cannot be stop no other', async () => {
  const app = await service.createApp();
  const bobs = await app.register('bob');
  const client = await app.connect({ uid: 'g-7' });
  await client.say({ uid: 'g-8' }, 'hello');
  const lines = Array.from({ length: 1_200 }, (_, i) => ({
    userId: `user-${i}`,
    adopt: { uid: `g-${i}` },
    ...(i % 500 === 3 && { imId: bobs }),
  }));
  lines[9] = { userId: 'bob', adopt: { uid: 'g-9' } };
  lines[10] = { userId: 'user-10', adopt: { uid: 'bob' } };
  const results = await importLines(app, lines);
  const conflicts = new Set([3, 9, 10, 503, 1_003]);
  assert.deepEqual(
    results.map(({ status, error }) => status ?? error.code),
    lines.map((_, i) => (conflicts.has(i) ? 'conflict' : 'adopted')),
  );
  const [message] = await app.inbox(results[8].imId);
  assert.deepEqual([message.to.userId, message.from.userId], ['user-8', 'user-7']);
  assert.equal((await client.say({ uid: 'user-8' }, 'again')).type, 'sent');
  const again = await importLines(app, lines);
  assert.deepEqual(
    again.map(({ status, imId }) => [status, imId]),
    results.map(({ status, imId }) => [status && 'existing', imId]),
  );
});

test('of lines that have to do with one another, the first one counts, in whatever batches they come', async () => {
  const imIds = ['im_00000000000000000000000001', 'im_00000000000000000000000002'];
  for (const last of [
    [
      { userId: 'z', imId: imIds[0] },
      { userId: 'z', imId: imIds[1] },
    ],
    [
      { userId: 'y', imId: imIds[0] },
      { userId: 'x', imId: imIds[0] },
    ],
    [{ userId: 'z' }, { userId: 'y', adopt: { uid: 'z' } }],
  ]) {
    const app = await service.createApp();
    // The first of the two is the last of its batch, and in the order of names.
    const others = Array.from({ length: 1_999 }, (_, i) => ({ userId: `user-${i}` }));
    const results = await importLines(app, [...others, ...last]);
    assert.deepEqual(
      results.slice(-2).map(({ status, error }) => status ?? error.code),
      ['created', 'conflict'],
      JSON.stringify(last),
    );
  }
});

test('every legal name survives export and import into another app, imIds and times included', async () => {
  const names = [...new Set(fc.sample(legalName, 3_000))];
  const [from, to] = [await service.createApp(['registered']), await service.createApp(['registered'])];
  const created = await importLines(
    from,
    names.map((userId) => ({ userId })),
  );
  assert.deepEqual(
    created.map((result) => result.userId),
    names,
  );
  assert.ok(created.every((result) => result.status === 'created'));
  const exported = await exportLines(from);
  assert.deepEqual(new Set(exported.map((line) => line.userId)), new Set(names));
  const results = await importLines(to, exported);
  assert.ok(results.every((result) => result.status === 'created'));
  const byImId = (lines: Json[]): Json[] => lines.toSorted((a, b) => (a.imId < b.imId ? -1 : 1));
  assert.deepEqual(byImId(await exportLines(to)), byImId(exported));
  const again = await importLines(to, exported);
  assert.ok(again.every((result) => result.status === 'existing'));
});

test('every illegal name is refused in its line, naming the field', async () => {
  const app = await service.createApp();
  const names = fc.sample(illegalName, 500);
  const results = await importLines(
    app,
    names.map((userId) => ({ userId })),
  );
  assert.equal(results.length, names.length);
  for (const [i, { error }] of results.entries()) {
    assert.equal(error?.code, 'invalid_request', JSON.stringify(names[i]));
    assert.match(error.detail, /^userId must /);
  }
  assert.deepEqual(await exportLines(app), []);
});

test('results come while lines are still going in, and an import that is cut can be sent again', async () => {
  const app = await service.createApp();
  const cut = begin(app);
  cut.write('{"userId":"a"}\n{"userId":"b"}\n{"userId":"c');
  const [chunk] = await once(await responseTo(cut), 'data');
  assert.equal(parseLines(chunk.toString()).length, 2);
  cut.destroy();
  await eventually(async () => (await exportLines(app)).length === 2);
  const results = await importLines(
    app,
    ['a', 'b', 'c'].map((userId) => ({ userId })),
  );
  assert.deepEqual(
    results.map((result) => result.status),
    ['existing', 'existing', 'created'],
  );
});

test('a composed-only app and another content type are refused', async () => {
  const composed = await service.createApp(['composed']);
  const headers = { 'content-type': NDJSON };
  const refused = await service.call('POST', `${composed.path}/identities/import`, {
    body: '{"userId":"a"}\n',
    headers,
  });
  assert.deepEqual([refused.status, refused.body.code], [409, 'scheme_disabled']);
  const app = await service.createApp();
  assert.equal((await app.call('POST', '/identities/import', { userId: 'a' })).status, 400);
});

/** How many the service of a test has for all that is short. */
const CONNECTIONS = 5;

test('exports that nobody reads hold up nobody else, and let go when they are given up', async () => {
  const app = await service.createApp();
  await service.database.pool.query(
    `insert into identity (app_id, name, im_id) select $1, 'user-' || i, gen_random_uuid()
    from generate_series(1, 150000) as i`,
    [app.appId],
  );
  const { responses, areOpen } = await leaveUnread(app, CONNECTIONS + 1);
  assert.equal((await importLines(app, [{ userId: 'meanwhile' }]))[0].status, 'created');
  const users = parseLines((await bytesOf(responses[0]!)).toString());
  assert.equal(users.length, 150_000, 'as it was before');
  for (const response of responses.slice(1)) response.destroy();
  await areOpen(0, 'the exports to end');
});
