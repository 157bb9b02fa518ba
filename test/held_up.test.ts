// Senders that are held up, by a merger or by Postgres: their order stays, they are told in time, and are not dropped.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { before, test } from 'node:test';
import pg from 'pg';
import { eventually, startService, type Client, type Service, type Tenant } from './harness.ts';

let service: Service;
before(async () => {
  service = await startService();
});

/** Holds a lock of Postgres in a transaction of its own, until it is let go. */
async function hold(held: Service, statement: string, values: unknown[] = []): Promise<() => Promise<void>> {
  const connection = JSON.parse(process.env['IMID_TEST_CONNECTION']!) as pg.ClientConfig;
  const client = new pg.Client({ ...connection, database: held.databaseName });
  await client.connect();
  await client.query('begin');
  await client.query(statement, values);
  return async () => {
    await client.query('rollback');
    await client.end();
  };
}

const holdInbox = (held: Service, app: Tenant, name: string) =>
  hold(held, 'select from identity where app_id = $1 and name = $2 for update', [app.appId, name]);

const say = (client: Client, n: number, uid = 'sink'): void =>
  client.send({ type: 'send', id: `n${n}`, to: { uid }, content: n });

const secondWelcome = (client: Client) =>
  client.wait((frame) => frame.type === 'welcome' && frame !== client.welcome);

async function merge(app: Tenant, imId: string): Promise<void> {
  const { status, body } = await app.call('POST', `/identities/${imId}/merge`, { from: { uid: 'a' } });
  assert.equal(status, 200, JSON.stringify(body));
}

test('what a sender says around a merger of it is stored in order', async () => {
  for (let round = 0; round < 6; round++) {
    const app = await service.createApp();
    const account = await app.register('account');
    const client = await app.connect({ uid: 'a' });
    await client.say({ uid: 'sink' }, 0);
    const talk = { last: 0, isOver: false };
    const talking = (async () => {
      while (!talk.isOver) {
        if (talk.last < client.frames.length + 100) say(client, (talk.last += 1));
        await turn();
      }
    })();
    await client.wait((frame) => frame.id === `n${40 + round * 20}`);
    await merge(app, account);
    await secondWelcome(client);
    const behind = talk.last + 100;
    await eventually(() => talk.last >= behind, 'a hundred more');
    talk.isOver = true;
    await talking;
    await client.wait((frame) => frame.id === `n${talk.last}`);
    const contents = (await app.inbox(`${app.appId}:sink`)).map((message) => message.content as number);
    assert.deepEqual(
      contents,
      contents.toSorted((x, y) => x - y),
    );
    await client.close();
  }
});

test('what a sender says while a merger of it waits for its inbox is stored in order', async () => {
  const app = await service.createApp();
  const account = await app.register('account');
  const client = await app.connect({ uid: 'a' });
  await client.say({ uid: 'sink' }, 0);
  const release = await holdInbox(service, app, 'sink');
  say(client, 1);
  await eventually(async () => {
    const { text } = await service.call('GET', '/metrics');
    return /imid_flushes_apart_total\{reason="locked"\} [1-9]/.test(text);
  }, 'the first to wait');
  await merge(app, account);
  await secondWelcome(client);
  say(client, 2);
  say(client, 3, 'third');
  client.socket.ping();
  await once(client.socket, 'pong'); // they were read
  await release();
  for (const n of [1, 2, 3]) await client.wait((frame) => frame.id === `n${n}`);
  assert.deepEqual(
    (await app.inbox(`${app.appId}:sink`)).map((message) => message.content),
    [0, 1, 2],
  );
});

test('a send behind a lock that is no row lock is told so', async () => {
  const app = await service.createApp();
  const client = await app.connect({ uid: 'alice' });
  await client.say({ uid: 'bob' }, 1);
  const release = await hold(service, 'lock table message in share mode'); // as `create index` does
  assert.equal((await client.say({ uid: 'bob' }, 2)).code, 'unavailable');
  await release();
  assert.equal((await client.say({ uid: 'bob' }, 3)).type, 'sent');
});

test('a client whose sends wait for Postgres answers pings, and is not dropped', async () => {
  const pinged = await startService({ app: { pingMs: 500 } });
  const app = await pinged.createApp();
  const client = await app.connect({ uid: 'a' });
  const other = await app.connect({ uid: 'other' });
  let pings = 0;
  other.socket.on('ping', () => (pings += 1));
  await client.say({ uid: 'sink' }, 0);
  const release = await holdInbox(pinged, app, 'sink');
  for (let n = 1; n <= 200; n++) say(client, n);
  await eventually(() => pings >= 4, 'four pings');
  await release();
  await client.wait((frame) => frame.id === 'n200');
  assert.equal((await client.say({ uid: 'other' }, 'still here')).type, 'sent');
  await pinged.close();
});
