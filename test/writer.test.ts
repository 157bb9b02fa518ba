// Messages that are stored together: what is wrong with one is nobody else's trouble, and nobody's order flips for it.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { eventually, startService, type Client, type Json, type Service, type Tenant } from './harness.ts';

let service: Service;
before(async () => {
  service = await startService();
});

/** Refuses to store these contents, as a disk or a constraint would. */
async function poison(contents: readonly string[]): Promise<void> {
  await service.database.pool.query(`
    create or replace function refuse() returns trigger language plpgsql as $$ begin
      if new.content = any ('{${contents.map((content) => JSON.stringify(JSON.stringify(content))).join()}}') then
        raise exception 'poisoned';
      end if;
      return new;
    end $$;
    create or replace trigger refuse before insert on message for each row execute function refuse()`);
}

/** Counts the statements of a process that Postgres has rolled back, while `act` lasts. */
async function countFailures({ database: { pipeline } }: Service, act: () => Promise<void>): Promise<number> {
  const { query } = pipeline;
  let failures = 0;
  pipeline.query = async (config) => {
    try {
      return await query(config);
    } catch (error) {
      failures += 1;
      throw error;
    }
  };
  try {
    await act();
    return failures;
  } finally {
    pipeline.query = query;
  }
}

const answersOf = (client: Client): Json[] =>
  client.frames.filter(({ type }) => type === 'sent' || type === 'error');

const contentsOf = (inbox: readonly Json[], uid: string): Json[] =>
  inbox.filter(({ from }) => from.uid === uid).map(({ content }) => content);

async function connectAll(app: Tenant, count: number): Promise<Client[]> {
  return Promise.all(Array.from({ length: count }, (_, i) => app.connect({ uid: `u${i}` })));
}

test('messages that can’t be stored fail alone, each with its own error', async () => {
  const app = await service.createApp();
  const clients = await connectAll(app, 20);
  await poison(['poison-3-10', 'poison-3-11', 'poison-7-0']);
  for (let n = 0; n < 20; n++)
    for (const [i, client] of clients.entries()) {
      const isBad = (i === 3 && (n === 10 || n === 11)) || (i === 7 && n === 0);
      client.send({
        type: 'send',
        id: `m${n}`,
        to: { uid: 'all' },
        content: isBad ? `poison-${i}-${n}` : `${i}-${n}`,
      });
    }
  for (const client of clients) await eventually(() => answersOf(client).length === 20, 'all answers');
  const refused = clients.flatMap((client, i) =>
    answersOf(client)
      .filter(({ type }) => type === 'error')
      .map(({ id, code }) => [i, id, code]),
  );
  assert.deepEqual(refused, [
    [3, 'm10', 'unavailable'],
    [3, 'm11', 'unavailable'],
    [7, 'm0', 'unavailable'],
  ]);
  const inbox = await app.inbox(`${app.appId}:all`);
  assert.equal(inbox.length, 20 * 20 - 3);
  for (const i of clients.keys())
    assert.deepEqual(
      contentsOf(inbox, `u${i}`),
      Array.from({ length: 20 }, (_, n) => `${i}-${n}`).filter(
        (content) => !['3-10', '3-11', '7-0'].includes(content),
      ),
    );
  await poison([]);
  assert.equal((await clients[3]!.say({ uid: 'all' }, 'poison-3-10', 'm10')).type, 'sent');
});

test('who repeats what another process has stored is answered the same, keeps the order, and costs the others nothing', async () => {
  const app = await service.createApp();
  const other = await startService({ on: service });
  const token = await app.token({ uid: 'u0' });
  const former = await other.connect(token);
  const first: Json[] = [];
  for (let n = 0; n < 60; n += 2) first.push(await former.say({ uid: 'all' }, n, `m${n}`));
  await other.close();

  const clients = await connectAll(app, 10);
  const failures = await countFailures(service, async () => {
    for (let n = 0; n < 60; n++)
      for (const client of clients)
        client.send({ type: 'send', id: `m${n}`, to: { uid: 'all' }, content: n });
    for (const client of clients) await eventually(() => answersOf(client).length === 60, 'all answers');
  });
  // The first repeat makes its flush, and perhaps the one behind it, run again.
  assert.ok(failures >= 1 && failures <= 3, `${failures} statements failed`);
  const answers = answersOf(clients[0]!);
  for (const { id, messageId, seq, at } of first)
    assert.deepEqual(
      answers.find((answer) => answer.id === id),
      { type: 'sent', id, messageId, seq, at },
    );
  const inbox = await app.inbox(`${app.appId}:all`);
  const even = Array.from({ length: 30 }, (_, n) => n * 2);
  assert.deepEqual(contentsOf(inbox, 'u0'), [...even, ...even.map((n) => n + 1)]);
  for (let i = 1; i < 10; i++)
    assert.deepEqual(
      contentsOf(inbox, `u${i}`),
      Array.from({ length: 60 }, (_, n) => n),
    );
});

test('repeats that this process has answered before never reach the database', async () => {
  const app = await service.createApp();
  const client = await app.connect({ uid: 'u' });
  const sent = await client.say({ uid: 'v' }, 1, 'again');
  const failures = await countFailures(service, async () => {
    for (let n = 0; n < 50; n++) client.send({ type: 'send', id: 'again', to: { uid: 'v' }, content: 1 });
    await eventually(() => answersOf(client).length === 51, 'all answers');
  });
  assert.equal(failures, 0);
  assert.ok(answersOf(client).every(({ messageId }) => messageId === sent.messageId));
  assert.equal((await app.inbox(`${app.appId}:v`)).length, 1);
});

test('a name that moves under way sends one sender’s messages on to its next holder, in order', async () => {
  const app = await service.createApp(['composed']);
  const clients = await connectAll(app, 5);
  for (const client of clients) await client.say({ uid: 'target' }, 'before', 'before');
  await app.call('PATCH', `/identities/${app.appId}:target`, { uid: 'former' });
  for (let n = 0; n < 20; n++)
    for (const client of clients)
      client.send({ type: 'send', id: `m${n}`, to: { uid: 'target' }, content: n });
  for (const client of clients) await eventually(() => answersOf(client).length === 21, 'all answers');
  assert.equal((await app.inbox(`${app.appId}:former`)).length, 5);
  const inbox = await app.inbox(`${app.appId}:target`);
  for (const i of clients.keys())
    assert.deepEqual(
      contentsOf(inbox, `u${i}`),
      Array.from({ length: 20 }, (_, n) => n),
    );
});

test('two names that led to one user at different times are not taken for a message to oneself', async () => {
  const app = await service.createApp(['composed']);
  await app.call('POST', '/messages', { from: { uid: 'a' }, to: { uid: 'a' }, content: 'to myself' });
  // Of the names only a is remembered, as that of the user who is c now.
  const renames = [
    { imId: `${app.appId}:a`, uid: 'c' },
    { imId: `${app.appId}:c`, uid: 'a' },
  ];
  assert.equal((await app.call('POST', '/identities/rename', { renames })).body.renamed, 2);
  const { body } = await app.call('POST', '/messages', {
    from: { uid: 'a' },
    to: { uid: 'c' },
    content: 'to c',
  });
  assert.equal(body.seq, 2);
  const [, atC] = await app.inbox(`${app.appId}:c`);
  assert.deepEqual([atC!.from.uid, atC!.to.uid], ['a', 'c']);
  assert.deepEqual(
    (await app.inbox(`${app.appId}:a`)).map(({ content }: Json) => content),
    ['to c'],
  );
});

test('three processes that store for the same users, in any order, never deadlock', async () => {
  const services = [
    service,
    ...(await Promise.all([startService({ on: service }), startService({ on: service })])),
  ];
  const app = await service.createApp();
  const users = Array.from({ length: 30 }, (_, i) => ({ uid: `u${i}` }));
  const failures = await Promise.all(
    services.map((one, place) =>
      countFailures(one, async () => {
        await Promise.all(
          Array.from({ length: 60 }, async (_, n) => {
            if (n % 3 !== place) return;
            const body = {
              from: users[(n * 7) % 30],
              to: n % 2 === 0 ? users : users.toReversed(),
              content: n,
            };
            const answer = await one.call('POST', `${app.path}/messages`, { key: app.apiKey, body });
            assert.equal(answer.status, 201);
          }),
        );
      }),
    ),
  );
  assert.deepEqual(failures, [0, 0, 0]);
  for (const uid of ['u0', 'u29']) {
    const inbox = await app.inbox(`${app.appId}:${uid}`);
    assert.deepEqual(
      inbox.map(({ seq }) => seq),
      inbox.map((_, i) => i + 1),
    );
    assert.equal(new Set(inbox.filter(({ to }) => to.uid === uid).map(({ content }) => content)).size, 60);
  }
});

test('an inbox that is locked for long holds up those who send to it, and nobody else', async () => {
  const app = await service.createApp(['composed']);
  const [waiting, other] = await connectAll(app, 2);
  for (const client of [waiting!, other!])
    for (const uid of ['locked', 'free']) await client.say({ uid }, 'before');
  const holder = await service.database.pool.connect();
  await holder.query('begin');
  await holder.query(`select from identity where app_id = $1 and name = 'locked' for update`, [app.appId]);
  const held = waiting!.say({ uid: 'locked' }, 'held');
  const behind = waiting!.say({ uid: 'free' }, 'behind');
  for (let n = 0; n < 20; n++) assert.equal((await other!.say({ uid: 'free' }, n)).type, 'sent');
  assert.equal(answersOf(waiting!).length, 2);
  assert.equal((await other!.say({ uid: 'locked' }, 'in vain')).code, 'unavailable');
  await holder.query('rollback');
  holder.release();
  await eventually(async () => (await waiting!.say({ uid: 'locked' }, 'after')).type === 'sent', 'the lock');
  assert.deepEqual([(await held).code, (await behind).type], ['unavailable', 'sent']);
  assert.deepEqual(contentsOf(await app.inbox(`${app.appId}:locked`), 'u0'), ['before', 'after']);
});
