// Renaming by a CSV file while others send, rename and upload: each user is one user all the time.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { before, test } from 'node:test';
import { eventually, startService, type Json, type Service, type Tenant } from './harness.ts';
import { bytesOf, responseTo } from './imports.ts';
import { createRenames, toCsv, type Pair } from './rename_files.ts';

let service: Service;
before(async () => {
  service = await startService();
});
const { send, rename, dryRun, createUsers, namesOf, uidOf } = createRenames(() => service);

const SWAP: Pair[] = [
  ['u0', 'u1'],
  ['u1', 'u0'],
];

test('messages that are on their way to names that are swapped arrive once, at who had the name', async () => {
  const app = await createUsers(2);
  const [first, second] = [...(await namesOf(app)).keys()] as [string, string];
  const clients = await Promise.all(['s0', 's1', 's2'].map((uid) => app.connect({ uid })));
  const receivers = await Promise.all([first, second].map((imId) => app.connect({ imId })));
  const over = new AbortController();
  let sent = 0;
  const sending = clients.map(async (client, s) => {
    for (let n = 0; !over.signal.aborted; n++) {
      const answer = await client.say({ uid: 'u0' }, { s, n });
      assert.equal(answer.type, 'sent', JSON.stringify(answer));
      sent += 1;
    }
  });
  const swaps = 6;
  for (let round = 0; round < swaps; round++) {
    const from = sent;
    await eventually(() => sent > from + 6);
    assert.equal((await rename(app, SWAP)).status, 200);
  }
  const from = sent;
  await eventually(() => sent > from + 6);
  over.abort();
  await Promise.all(sending);
  const inboxes = await Promise.all([app.inbox(first), app.inbox(second)]);
  assert.equal(inboxes[0].length + inboxes[1].length, sent);
  for (const [i, client] of receivers.entries()) {
    const shown = await client.messages(inboxes[i]!.length);
    assert.deepEqual(
      shown.map((message) => message.content),
      inboxes[i]!.map((message) => message.content),
    );
  }
  for (const s of clients.keys()) {
    const owners = inboxes.flatMap((inbox, owner) =>
      inbox.filter(({ content }) => content.s === s).map(({ content }): Json => ({ n: content.n, owner })),
    );
    const inOrder = owners.toSorted((a, b) => a.n - b.n);
    assert.deepEqual(
      inOrder.map(({ n }) => n),
      inOrder.map((_, n) => n),
    );
    const changes = inOrder.filter(({ owner }, i) => i > 0 && owner !== inOrder[i - 1].owner).length;
    assert.equal(changes, swaps, 'once over to the other with each swap');
  }
});

test('a token issued while its name changes hands acts as one of the two users all the time', async () => {
  const app = await createUsers(2);
  const other = await startService({ on: service });
  for (const uid of ['u0', 'u1'])
    await app.call('POST', '/messages', { from: { uid }, to: { uid }, content: `of ${uid}` });
  const whoIs = async (key: string) =>
    (await service.call('GET', '/v1/me/messages?limit=1', { key })).body.items?.[0].content;
  const seen: { token: string; who: string }[] = [];
  const over = new AbortController();
  const issuing = [service, other].map(async (process) => {
    while (!over.signal.aborted) {
      const { body } = await process.call('POST', `${app.path}/tokens`, { body: { uid: 'u0' } });
      seen.push({ token: body.token, who: await whoIs(body.token) });
    }
  });
  for (let round = 0; round < 10; round++) {
    const from = seen.length;
    await eventually(() => seen.length > from + 5);
    await rename(app, SWAP);
    const next = await app.token({ uid: 'u0' });
    assert.equal(await whoIs(next), round % 2 === 0 ? 'of u1' : 'of u0');
  }
  over.abort();
  await Promise.all(issuing);
  for (const { token, who } of seen) assert.equal(await whoIs(token), who);
  assert.deepEqual(new Set(seen.map(({ who }) => who)), new Set(['of u0', 'of u1']));
});

test('two files that swap the same thousand users, and lists and messages to them, all come to pass', async () => {
  const app = await createUsers(1_000);
  const former = await namesOf(app);
  const swaps = Array.from({ length: 1_000 }, (_, i): Pair => [`u${i}`, `u${i ^ 1}`]);
  const list = {
    renames: [...former]
      .filter(([, name]) => ['u0', 'u1'].includes(name))
      .map(([imId, name]) => ({ imId, userId: name === 'u0' ? 'u1' : 'u0' })),
  };
  for (let round = 0; round < 3; round++) {
    const answers = await Promise.all([
      rename(app, swaps),
      rename(app, swaps.toReversed()),
      ...Array.from({ length: 10 }, (_, i) =>
        app.call('POST', '/messages', {
          from: { uid: `u${i}` },
          to: Array.from({ length: 50 }, (__, k) => ({ uid: `u${(i * 97 + k * 19) % 1_000}` })),
          content: round,
        }),
      ),
    ]);
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200, ...Array(10).fill(201)],
    );
    for (const { body } of answers.slice(2))
      assert.ok(body.results.every((result: Json) => result.messageId !== undefined));
    assert.deepEqual(await namesOf(app), former);
  }
  const [file, json] = await Promise.all([rename(app, swaps), app.call('POST', '/identities/rename', list)]);
  assert.deepEqual([file.status, json.status], [200, 200]);
  assert.deepEqual(new Set((await namesOf(app)).values()), new Set(former.values()));
});

test('of two files that give the same users different names one is done, and the other says who is nobody', async () => {
  const app = await createUsers(500);
  const toNames = (prefix: string) => Array.from({ length: 500 }, (_, i): Pair => [`u${i}`, `${prefix}${i}`]);
  const answers = await Promise.all([rename(app, toNames('a')), rename(app, toNames('b').toReversed())]);
  const statuses = answers.map(({ status }) => status);
  assert.deepEqual(new Set(statuses), new Set([200, 404]));
  const winner = statuses[0] === 200 ? 'a' : 'b';
  assert.deepEqual(
    new Set((await namesOf(app)).values()),
    new Set(toNames(winner).map(([, newName]) => newName)),
  );
});

test('a user that gets another name under way is never renamed as who it was', async () => {
  const app = await createUsers(2);
  const [first, second] = [...(await namesOf(app)).keys()] as [string, string];
  for (let round = 0; round < 15; round++) {
    const [a, b] = [...(await namesOf(app)).values()] as [string, string];
    // Whoever is called `a` gets `next`, while the two users swap by a list.
    const next = `next-${round}`;
    const [file, list] = await Promise.all([
      rename(app, [[a, next]]),
      app.call('POST', '/identities/rename', {
        renames: [
          { imId: first, userId: b },
          { imId: second, userId: a },
        ],
      }),
    ]);
    const names = await namesOf(app);
    assert.deepEqual([file.status, list.status], [200, 200]);
    // The list first: the second user had the name then. The file first: the list took it from the first.
    assert.ok(
      [`${b} ${next}`, `${b} ${a}`].includes([names.get(first), names.get(second)].join(' ')),
      JSON.stringify([a, b, ...names]),
    );
  }
});

test('a name that is taken while a file is checked is a conflict, or the file came first', async () => {
  const app = await createUsers(10);
  for (let round = 0; round < 10; round++) {
    const names = [...(await namesOf(app)).values()].slice(0, 10);
    const pairs = names.map((name, i): Pair => [name, `r${round}-${i}`]);
    const [file, taking] = await Promise.all([
      rename(app, pairs),
      app.call('POST', '/identities', { userId: `r${round}-9` }),
    ]);
    if (taking.status === 201) {
      assert.deepEqual([file.status, file.body.errors[0].pointer], [409, '#/11/newName']);
      assert.deepEqual([...(await namesOf(app)).values()].slice(0, 10), names);
      await app.call('DELETE', `/identities/${taking.body.imId}`);
    } else assert.deepEqual([file.status, taking.status], [200, 200]);
  }
});

test('a dry run waits for nobody, and a file that comes in keeps nobody waiting', async () => {
  const app = await createUsers(3);
  const holding = await service.database.pool.connect();
  try {
    await holding.query('begin');
    await holding.query('select from identity where app_id = $1 for update', [app.appId]);
    assert.deepEqual(await dryRun(app, toCsv(SWAP)), [{ lines: 2, renames: 2, unchanged: 0, faults: 0 }]);
    const renaming = rename(app, SWAP);
    await eventually(async () => {
      const { rows } = await holding.query('select from pg_locks where not granted');
      return rows.length > 0;
    }, 'the file to wait');
    assert.equal(await uidOf(await app.token({ uid: 'u2' })), 'u2');
    await holding.query('commit');
    assert.equal((await renaming).status, 200);
  } finally {
    holding.release();
  }
});

test('an upload that is cut does nothing; five at once are too many, and go when others have gone', async () => {
  const app = await createUsers(1);
  const begin = (tenant: Tenant) => {
    const sending = request(`${service.url}${tenant.path}/identities/rename`, {
      method: 'POST',
      headers: { authorization: `Bearer ${tenant.apiKey}`, 'content-type': 'text/csv' },
    });
    sending.on('error', () => {});
    sending.write('name,newName\nu0,v0\n');
    return sending;
  };
  const uploads = Array.from({ length: 4 }, () => begin(app));
  await eventually(async () => {
    const { rows } = await service.database.pool.query(
      "select from pg_stat_activity where datname = current_database() and query like 'insert into staged%'",
    );
    return rows.length === 4;
  }, 'four uploads to have come in');
  const refused = await send(app, toCsv([['u0', 'v0']]));
  assert.deepEqual([refused.status, refused.body.code], [429, 'rate_limited']);
  for (const upload of uploads.slice(1)) upload.destroy();
  await eventually(async () => (await send(app, toCsv([['nobody', 'v0']]))).status === 404);
  assert.deepEqual([...(await namesOf(app)).values()], ['u0']);
  uploads[0]!.end();
  const response = await responseTo(uploads[0]!);
  assert.deepEqual(JSON.parse((await bytesOf(response)).toString()), { renamed: 1 });
});

test('who stops reading a dry run holds nothing any more', async () => {
  const app = await createUsers(1);
  const file = toCsv(Array.from({ length: 40_000 }, (_, i): Pair => [`nobody${i}`, `n${i}`]));
  for (let round = 0; round < 5; round++) {
    const sending = request(`${service.url}${app.path}/identities/rename?dryRun=true`, {
      method: 'POST',
      headers: { authorization: `Bearer ${app.apiKey}`, 'content-type': 'text/csv' },
    });
    sending.on('error', () => {});
    sending.end(file);
    const response = await eventually(() => responseTo(sending));
    assert.equal(response.statusCode, 200);
    await once(response, 'data');
    response.destroy();
  }
  assert.equal((await rename(app, [['u0', 'v0']])).status, 200);
});
