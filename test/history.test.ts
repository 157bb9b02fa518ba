// Bringing messages of a former system along, into inboxes that may be in use, and exporting them.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { beginMerger } from './halfway.ts';
import { eventually, startService, type Json, type Service, type Tenant } from './harness.ts';
import { bytesOf, createTransfers, NDJSON, parseLines, responseTo } from './imports.ts';

let service: Service;
before(async () => {
  service = await startService();
});

const { importText, importLines, exportLines, begin, leaveUnread } = createTransfers(
  () => service,
  'messages',
);
const users = createTransfers(() => service);

const START = Date.parse('2019-05-01T08:00:00Z');
const [alice, bob] = [{ uid: 'alice' }, { uid: 'bob' }];

/** A line of a former system: the n-th of a conversation, a minute after the one before. */
const past = (n: number, from: object, to: object, more: object = {}) => ({
  from,
  to,
  content: `past ${n}`,
  at: new Date(START + n * 60_000).toISOString(),
  id: `old-${n}`,
  ...more,
});

const inboxOf = (app: Tenant, uid: string) => app.inbox(`${app.appId}:${uid}`);
const brief = (inbox: Json[]) => inbox.map(({ seq, content }) => [seq, content]);
const statuses = (results: Json[]) => results.map(({ status, error }) => status ?? error.code);

const toText = (lines: object[]) => lines.map((line) => `${JSON.stringify(line)}\n`).join('');
/** How many the service of a test has for all that is short. */
const CONNECTIONS = 5;

/** An inbox as it would be in any app. */
const portable = (inbox: Json[]) =>
  inbox.map(({ seq, from, to, content, at }) => ({
    seq,
    from: from.uid ?? from.userId ?? from,
    to: to.uid ?? to.userId ?? to,
    content,
    at,
  }));

test('lines stand in both inboxes in their order, with their old times', async () => {
  const app = await service.createApp();
  const carol = await app.register('carol');
  const results = await importLines(app, [
    past(1, alice, bob),
    past(2, bob, alice),
    past(3, { userId: 'carol' }, alice, { content: { text: 'hi', n: 1.5 } }),
    past(0, alice, { imId: carol }),
    past(4, alice, alice),
    past(5, { imId: `${app.appId}:bob` }, { uid: 'carol' }),
  ]);
  assert.deepEqual(
    results.map(({ line, seq, status }) => [line, seq, status]),
    [1, 2, 3, 2, 5, 3].map((seq, i) => [i + 1, seq, 'created']),
  );
  const inbox = await inboxOf(app, 'alice');
  assert.deepEqual(
    inbox.map(({ seq, messageId, at }) => [seq, messageId, at]),
    [1, 2, 3, 0, 4].map((n, i) => [i + 1, results[i].messageId, past(n, alice, bob).at]),
  );
  assert.deepEqual(inbox[2].content, { text: 'hi', n: 1.5 });
  assert.deepEqual(brief(await app.inbox(carol)), [
    [1, { text: 'hi', n: 1.5 }],
    [2, 'past 0'],
    [3, 'past 5'],
  ]);
  for (const { messageId, at } of inbox)
    assert.equal(Number.parseInt(messageId.replace('-', '').slice(0, 12), 16), Date.parse(at));
});

test('the same again stores nothing, also within one import, at once with itself, and after the recipient is gone', async () => {
  const app = await service.createApp();
  const carol = await app.register('carol');
  const lines = Array.from({ length: 1_200 }, (_, n) =>
    past(n, { uid: `u${n % 7}` }, n % 3 === 0 ? { imId: carol } : { uid: `u${n % 5}` }),
  );
  const [first, second] = await Promise.all([importLines(app, lines), importLines(app, lines)]);
  const both = first.map((result, i) => `${result.status} ${second[i].status}`);
  assert.ok(both.every((each) => ['created existing', 'existing created'].includes(each)));
  const again = await importLines(app, [...lines, lines[0]!, past(-1, alice, bob), past(-1, alice, bob)]);
  assert.deepEqual(new Set(statuses(again.slice(0, 1_201))), new Set(['existing']));
  assert.deepEqual(statuses(again.slice(-2)), ['created', 'existing']);
  const ids = (results: Json[]) => results.map(({ messageId, seq }) => [messageId, seq]);
  assert.deepEqual(ids(again.slice(0, 1_200)), ids(first));
  assert.deepEqual(ids(second), ids(first));
  assert.deepEqual(
    (await app.inbox(carol)).map(({ seq }) => seq),
    Array.from({ length: 400 }, (_, n) => n + 1),
  );
  await app.call('DELETE', `/identities/${carol}`);
  const last = await importLines(app, [lines[0]!, past(2_000, alice, { imId: carol })]);
  assert.deepEqual(statuses(last), ['existing', 'unknown_recipient']);
  // As sending does, and the other way round.
  const sent = await app.call('POST', '/messages', { from: { uid: 'u1' }, to: bob, content: 1, id: 'old-1' });
  assert.equal(sent.body.messageId, first[1].messageId);
  const live = await app.call('POST', '/messages', { from: alice, to: bob, content: 'live', id: 'live-1' });
  const [found] = await importLines(app, [past(1, alice, bob, { id: 'live-1' })]);
  assert.deepEqual([found.messageId, found.status], [live.body.messageId, 'existing']);
});

test('it is quiet: no connection is shown it, nothing is unread, and what comes next has the next seq', async () => {
  const app = await service.createApp();
  const live = await app.connect(bob, { device: 'phone' });
  await app.call('POST', '/messages', { from: alice, to: bob, content: 'before' });
  await importLines(app, [past(1, alice, bob), past(2, bob, alice), past(3, { system: true }, bob)]);
  await app.call('POST', '/messages', { from: alice, to: bob, content: 'after' });
  await live.messages(2);
  const seen = live.frames.slice(1).map(({ type, seq, content }) => [type, seq, content]);
  assert.deepEqual(seen.at(0), ['message', 1, 'before']);
  assert.deepEqual(seen.at(-1), ['message', 5, 'after']);
  assert.ok(seen.slice(1, -1).every(([type]) => type === 'skip'));
  const ofBob = async (path: string) => (await service.call('GET', path, { key: await app.token(bob) })).body;
  assert.equal((await ofBob('/v1/me')).unread, 2);
  const [first, second] = (await ofBob('/v1/me/conversations')).items;
  assert.deepEqual(
    [first.last.content, second.with, second.last.content, second.unread],
    ['after', { system: true }, 'past 3', 0],
  );
  // Who asks for everything gets it.
  const all = await app.connect(bob, { device: 'new', after: 0 });
  assert.deepEqual(
    (await all.messages(5)).map(({ seq }: Json) => seq),
    [1, 2, 3, 4, 5],
  );
  // What was recalled stays behind; what the app itself said doesn't.
  const mine = await app.connect(alice);
  const { messageId } = await mine.say(bob, 'a slip');
  mine.send({ type: 'recall', id: 'r', messageId });
  await mine.wait(({ id }) => id === 'r');
  const lines = await exportLines(app);
  assert.deepEqual(
    lines.map(({ content }: Json) => content),
    ['past 1', 'past 2', 'past 3', 'before', 'after'],
  );
  assert.deepEqual(lines[2].from, { system: true });
  const other = await service.createApp();
  assert.deepEqual(new Set(statuses(await importLines(other, lines))), new Set(['created']));
  assert.deepEqual(new Set(statuses(await importLines(app, lines))), new Set(['existing']));
});

test('of an erased sender the time and the id say what is a repeat', async () => {
  const app = await service.createApp();
  const gone = { erased: true };
  const lines = [
    past(1, gone, bob),
    past(1, gone, bob, { part: 1 }),
    past(1, gone, bob, { id: 'other' }),
    past(1, gone, bob, { at: past(2, gone, bob).at }),
    past(1, bob, gone),
  ];
  const [first, again] = [await importLines(app, lines), await importLines(app, lines)];
  assert.deepEqual(new Set(statuses(first)), new Set(['created']));
  assert.deepEqual(
    again,
    first.map((result) => ({ ...result, status: 'existing' })),
  );
  assert.deepEqual(
    first.map(({ seq }) => seq),
    [1, 2, 3, 4, undefined],
  );
  const inbox = await inboxOf(app, 'bob');
  assert.deepEqual(
    inbox.map(({ seq, from, to }) => [seq, from.uid ?? from, to.uid ?? to]),
    [...[1, 2, 3, 4].map((seq) => [seq, gone, 'bob']), [5, 'bob', gone]],
  );
});

test('an inbox that is in use goes on: what is sent meanwhile and after has the next seq', async () => {
  const app = await service.createApp();
  const client = await app.connect(alice);
  assert.equal((await client.say(bob, 'live 1')).seq, 1);
  const sending = begin(app);
  const lines = (from: number, to: number) =>
    toText(Array.from({ length: to - from }, (_, i) => past(from + i, bob, alice)));
  sending.write(lines(0, 700));
  const results = await responseTo(sending);
  assert.equal((await client.say(bob, 'live 2')).type, 'sent');
  sending.end(lines(700, 900));
  assert.equal(parseLines((await bytesOf(results)).toString()).filter(({ seq }) => seq > 0).length, 900);
  assert.equal((await client.say(bob, 'live 3')).seq, 903);
  const inbox = await inboxOf(app, 'alice');
  assert.deepEqual(
    inbox.map(({ seq }) => seq),
    Array.from({ length: 903 }, (_, i) => i + 1),
  );
  const olds = inbox.map(({ content }) => content).filter((content) => content.startsWith('past'));
  assert.deepEqual(
    olds,
    Array.from({ length: 900 }, (_, n) => `past ${n}`),
  );
});

test('each bad line says which field is wrong, stops no other, and gives nobody a row', async () => {
  const app = await service.createApp();
  const stranger = await (await service.createApp()).register('stranger');
  const soon = new Date(Date.now() + 30_000).toISOString();
  const cases: [object, string, RegExp?][] = [
    [past(1, alice, bob), 'created'],
    [past(2, { uid: ' x' }, bob), 'invalid_request', /^from\.uid must not begin or end/],
    [
      past(2, alice, { uid: 'a', imId: '1:a' }),
      'invalid_request',
      /^to must have exactly one of uid, userId, imId, erased/,
    ],
    [past(2, alice, { erased: false }), 'invalid_request', /^to\.erased/],
    [past(2, { erased: true }, { erased: true }), 'invalid_request', /^to must not be erased as well/],
    [past(2, { userId: 'nobody' }, { uid: 'lonely' }), 'not_found', /^from: Nobody/],
    [past(2, { uid: 'lonely' }, { userId: 'nobody' }), 'unknown_recipient', /^to: Nobody/],
    [past(2, alice, { imId: '9007199254740991:bob' }), 'unknown_recipient', /^to: Nobody/],
    [past(2, { imId: stranger }, { uid: 'lonely' }), 'not_found', /^from: Nobody/],
    [past(2, alice, bob, { at: 'yesterday' }), 'invalid_request', /^at must be a date and time of RFC 3339/],
    [past(2, alice, bob, { at: '1969-12-31T23:59:59Z' }), 'invalid_request', /^at must not be before 1970/],
    [
      past(2, alice, bob, { at: new Date(Date.now() + 120_000).toISOString() }),
      'invalid_request',
      /^at must not be to come/,
    ],
    [past(2, alice, bob, { id: '' }), 'invalid_request', /^id must/],
    [past(2, alice, bob, { id: undefined }), 'invalid_request', /^id is missing/],
    [past(2, alice, bob, { content: undefined }), 'invalid_request', /^content is missing/],
    [past(2, alice, bob, { part: -1 }), 'invalid_request', /^part must be/],
    [past(2, alice, bob, { seq: 1 }), 'invalid_request', /^seq is not a known field/],
    [
      past(2, alice, bob, { content: 'x'.repeat(16 * 1024 - 1) }),
      'payload_too_large',
      /^content is 16385 bytes/,
    ],
    [past(2, alice, bob, { content: 'x'.repeat(128 * 1024) }), 'invalid_request', /longer than 131072 bytes/],
    [past(3, alice, bob, { content: 'é'.repeat(8 * 1024 - 1) }), 'created'],
    [past(4, alice, bob, { at: soon }), 'created'],
    [past(5, alice, bob, { at: '1970-01-01T01:00:00+01:00' }), 'created'],
  ];
  const deep = `{"from":{"uid":"alice"},"content":${'['.repeat(30_000)}${']'.repeat(30_000)}}`;
  const text = `${cases.map(([line]) => JSON.stringify(line)).join('\n')}\n${deep}\n{"from":`;
  const results = await importText(app, text);
  assert.equal(results.length, cases.length + 2);
  for (const [i, [line, code, detail]] of cases.entries()) {
    const { status, error } = results[i];
    assert.equal(status ?? error.code, code, JSON.stringify(line).slice(0, 200));
    if (detail) assert.match(error.detail, detail);
  }
  assert.match(results.at(-2).error.detail, /more than 100 arrays/);
  assert.match(results.at(-1).error.detail, /is not JSON/);
  assert.deepEqual(
    (await inboxOf(app, 'bob')).map(({ at }) => at),
    [past(1, alice, bob).at, past(3, alice, bob).at, soon, '1970-01-01T00:00:00.000Z'],
  );
  const { body } = await app.call('GET', '/identities?scheme=composed');
  assert.deepEqual(
    body.items.map(({ uid }: Json) => uid),
    ['alice', 'bob'],
  );
});

test('an import loses and doubles nothing while its users are merged, renamed and written to', async () => {
  const app = await service.createApp(['composed']);
  const names = ['a', 'b', 'c', 'd'];
  const lines = Array.from({ length: 4_000 }, (_, n) =>
    past(n, { uid: names[n % 4] }, { uid: names[(n * 7 + 1) % 4] }),
  );
  const sending = begin(app, { 'accept-encoding': 'identity' });
  sending.write(toText(lines.slice(0, 1_000)));
  const results = await responseTo(sending);
  let text = '';
  results.on('data', (chunk) => (text += chunk));
  await eventually(() => text !== '');
  sending.end(toText(lines.slice(1_000)));
  const merging = app.call('POST', `/identities/${app.appId}:a/merge`, { from: { uid: 'b' } });
  const renaming = app.call('PATCH', `/identities/${app.appId}:c`, { uid: 'e' });
  const sent = await app.call('POST', '/messages', { from: { uid: 'd' }, to: { uid: 'a' }, content: 'live' });
  if (!results.readableEnded) await once(results, 'end');
  const answers = parseLines(text);
  assert.deepEqual([(await merging).status, (await renaming).status, sent.status], [200, 200, 201]);
  assert.deepEqual(
    statuses(answers),
    Array.from(lines, () => 'created'),
  );
  const { rows } = await service.database.pool.query(
    `select i.name, i.last_seq, array_agg(s.seq order by s.seq) as seqs from identity i cross join lateral (
        select recipient_seq as seq from message where app_id = $1 and recipient_id = i.id
        union all select sender_seq from message where app_id = $1 and sender_id = i.id and sender_seq is not null
      ) s where i.app_id = $1 and i.merged_into is null group by i.id, i.name, i.last_seq`,
    [app.appId],
  );
  for (const { name, last_seq: last, seqs } of rows)
    assert.deepEqual(
      seqs.map(Number),
      Array.from({ length: last }, (_, i) => i + 1),
      name,
    );
  const { rows: contents } = await service.database.pool.query(
    'select content from message where app_id = $1',
    [app.appId],
  );
  assert.equal(contents.length, lines.length + 1);
  assert.equal(new Set(contents.map(({ content }) => content)).size, lines.length + 1);
});

test('a repeat waits for a merger under way, so that nothing is stored twice', async () => {
  const app = await service.createApp(['composed']);
  const lines = Array.from({ length: 2_100 }, (_, n) => past(n, bob, alice));
  await importLines(app, [...lines, past(0, { uid: 'carol' }, bob)]);
  await beginMerger(service, app, 'bob', 'carol');
  // What has come along is known at once; the rest comes last.
  const waiting = importLines(app, lines.slice(2_000));
  assert.deepEqual(new Set(statuses(await importLines(app, lines.slice(0, 2_000)))), new Set(['existing']));
  await app.call('POST', `/identities/${app.appId}:carol/merge`, { from: bob });
  assert.deepEqual(new Set(statuses(await waiting)), new Set(['existing']));
});

test('who is renamed or merged while a batch waits for the inbox is looked up anew', async () => {
  const app = await service.createApp(['composed']);
  await importLines(app, [past(0, alice, bob), past(0, { uid: 'carol' }, bob)]);
  const isWaiting = async () => {
    const { rows } = await service.database.pool.query(
      `select from pg_stat_activity where datname = $1 and wait_event_type = 'Lock'`,
      [service.databaseName],
    );
    return rows.length > 0;
  };
  let results: Promise<Json[]>;
  await service.database.kysely.transaction().execute(async (trx) => {
    const renamed = trx.updateTable('identity').set({ name: 'anna' }).where('name', '=', 'alice');
    await renamed.where('app_id', '=', Number(app.appId)).execute();
    results = importLines(app, [past(1, alice, bob)]);
    await eventually(isWaiting, 'the import to wait');
  });
  assert.deepEqual(statuses(await results!), ['created']);
  assert.deepEqual(brief(await inboxOf(app, 'anna')), [[1, 'past 0']]);
  assert.deepEqual(brief(await inboxOf(app, 'alice')), [[1, 'past 1']]);
  await beginMerger(service, app, 'alice', 'carol', async () => {
    results = importLines(app, [past(2, bob, alice)]);
    await eventually(isWaiting, 'the import to wait');
  });
  assert.deepEqual(statuses(await results!), ['created']);
  assert.deepEqual(brief(await inboxOf(app, 'carol')), [
    [1, 'past 0'],
    [2, 'past 1'],
    [3, 'past 2'],
  ]);
});

test('an export imports into another app and comes to the same inboxes', async () => {
  const [from, to] = [await service.createApp(), await service.createApp()];
  const [carol, gone] = [await from.register('carol'), await from.register('gone')];
  // Many a second, as most systems have it.
  const lines = Array.from({ length: 1_300 }, (_, n) =>
    past(n, n % 2 ? alice : { imId: carol }, n % 3 ? bob : { imId: gone }, {
      at: new Date(START + Math.floor(n / 40) * 1_000).toISOString(),
    }),
  );
  await importLines(from, lines);
  const send = (body: object) => from.call('POST', '/messages', body);
  await send({ from: bob, to: [alice, { userId: 'carol' }], content: 'to a list', id: 'list' });
  await send({ from: alice, to: alice, content: 'to oneself' });
  await send({ from: { imId: gone }, to: bob, content: 'from who is erased' });
  await send({ from: { uid: 'guest' }, to: { imId: carol }, content: 'from who is merged', id: 'same' });
  await send({ from: alice, to: { imId: carol }, content: 'under the same id', id: 'same' });
  await from.call('DELETE', `/identities/${gone}`);
  await from.call('POST', `/identities/${from.appId}:alice/merge`, { from: { uid: 'guest' } });
  await users.importLines(to, await users.exportLines(from));
  await service.database.pool.query(
    `insert into message (app_id, id, client_id, part, content, at)
    values ($1, gen_random_uuid(), 'of nobody', 0, '1', now())`,
    [from.appId],
  );
  const exported = await exportLines(from);
  assert.equal(exported.length, 1_300 + 6);
  assert.deepEqual(new Set(statuses(await importLines(to, exported))), new Set(['created']));
  assert.deepEqual(new Set(statuses(await importLines(to, exported))), new Set(['existing']));
  assert.deepEqual(portable(await inboxOf(to, 'bob')), portable(await inboxOf(from, 'bob')));
  assert.deepEqual(portable(await to.inbox(carol)), portable(await from.inbox(carol)));
  assert.deepEqual(await exportLines(to), exported);
  assert.deepEqual(new Set(statuses(await importLines(from, exported))), new Set(['existing']));
  const times = exported.map(({ at }) => Date.parse(at));
  assert.deepEqual(
    times,
    times.toSorted((a, b) => a - b),
  );
  // Where a merger has put them behind, only the export of one inbox has its order.
  const other = await service.createApp();
  await users.importLines(other, await users.exportLines(from));
  const alices = await exportLines(from, `?imId=${from.appId}:alice`);
  await importLines(other, alices);
  assert.deepEqual(portable(await inboxOf(other, 'alice')), portable(await inboxOf(from, 'alice')));
  assert.deepEqual(await exportLines(to, `?imId=${to.appId}:nobody-yet`), []);
});

test('gzip goes in and out, a key that repeats is refused, and other content types too', async () => {
  const app = await service.createApp();
  const zipped = gzipSync(`${JSON.stringify(past(1, alice, bob))}\n`);
  assert.deepEqual(statuses(await importText(app, zipped, NDJSON, { 'content-encoding': 'gzip' })), [
    'created',
  ]);
  const exported = await fetch(`${service.url}${app.path}/messages/export`, {
    headers: { authorization: `Bearer ${app.apiKey}` },
  });
  assert.equal(exported.headers.get('content-encoding'), 'gzip');
  assert.deepEqual(parseLines(await exported.text()), [past(1, alice, bob)]);
  const ask = (headers: Record<string, string>) =>
    service.call('POST', `${app.path}/messages/import`, { key: app.apiKey, body: '{}\n', headers });
  for (const [headers, pointer] of [
    [{ 'content-type': NDJSON, 'idempotency-key': 'again' }, '#/idempotency-key'],
    [{ 'content-type': 'application/json' }, '#/content-type'],
  ] as const) {
    const { status, body } = await ask(headers);
    assert.deepEqual([status, body.errors[0].pointer], [400, pointer]);
  }
});

test('exports that nobody reads hold up nobody else, and let go when they are given up', async () => {
  const app = await service.createApp();
  await importLines(app, [past(1, alice, bob)]);
  await service.database.pool.query(
    `insert into message (app_id, id, recipient_id, recipient_seq, client_id, part, content, at)
    select $1, gen_random_uuid(), id, n, n::text, 0, to_json(repeat('x', 16000)), now()
    from identity, generate_series(2, 800) as n where app_id = $1 and name = 'bob'`,
    [app.appId],
  );
  const { responses, areOpen } = await leaveUnread(app, CONNECTIONS + 1);
  assert.deepEqual(statuses(await importLines(app, [past(2, bob, alice)])), ['created']);
  assert.equal(parseLines((await bytesOf(responses[0]!)).toString()).length, 800, 'as it was before');
  for (const response of responses.slice(1)) response.destroy();
  await areOpen(0, 'the exports to end');
});

test('a connection that repeats what was brought along is answered', async () => {
  const app = await service.createApp(['composed']);
  const live = await app.connect(bob);
  await live.say(alice, 'before');
  const [joined] = await importLines(app, [past(1, bob, alice)]);
  const sent = await live.say(alice, 'past 1', 'old-1');
  assert.deepEqual([sent.type, sent.messageId, sent.seq], ['sent', joined.messageId, 2]);
});

test('recalling what was brought along leaves unread what is', async () => {
  const app = await service.createApp(['composed']);
  const live = await app.connect(alice);
  const at = new Date(Date.now() - 1_000).toISOString();
  const [{ messageId }] = await importLines(app, [past(1, alice, bob, { at })]);
  await live.say(bob, 'unread');
  const token = await app.token(bob);
  const unread = async () => (await service.call('GET', '/v1/me', { key: token })).body.unread;
  assert.equal(await unread(), 1);
  live.send({ type: 'recall', id: 'r', messageId });
  assert.equal((await live.wait(({ id }) => id === 'r')).type, 'sent');
  assert.equal(await unread(), 1);
});

test('who has to start over is shown what was brought along', async () => {
  const app = await service.createApp();
  await importLines(app, [past(1, alice, bob)]);
  const client = await app.connect(bob, { device: 'phone', after: 1, epoch: 'another' });
  assert.equal(client.welcome.resumed, false);
  assert.equal((await client.messages(1))[0].content, 'past 1');
});

test('who was cut off while it was shown all there is goes on with the rest, and with nothing that comes later', async () => {
  const app = await service.createApp();
  await importLines(app, [past(1, alice, bob), past(2, alice, bob)]);
  const first = await app.connect(bob, { device: 'phone', after: 0 });
  await first.messages(2);
  await importLines(app, [past(3, alice, bob)]);
  await first.wait(({ type, seq }) => type === 'skip' && seq === 3);
  await first.close();
  const again = await app.connect(bob, { device: 'phone', after: 1, epoch: first.welcome.epoch });
  await again.wait(({ seq }) => seq === 3, 1);
  assert.deepEqual(
    again.frames.slice(1).map(({ type, seq }) => [type, seq]),
    [
      ['message', 2],
      ['skip', 3],
    ],
  );
});
