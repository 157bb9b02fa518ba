// A device has one connection on all processes together: which one stays, what is told of it, and what is left when a
// process dies or Postgres forgets.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { WebSocket } from 'ws';
import {
  ADMIN_KEY,
  Client,
  eventually,
  startService,
  type Json,
  type Service,
  type Tenant,
} from './harness.ts';
import { makeDirectory, Process } from './process.ts';
import { SECRET } from './logs.ts';

const DEVICE = 'phone';

let first: Service;
let second: Service;
before(async () => {
  first = await startService();
  second = await startService({ on: first });
});

/** Connects, and waits for the welcome or the close. */
async function attempt(url: string, token: string, device = DEVICE): Promise<Client> {
  const client = new Client(
    new WebSocket(`${url.replace('http', 'ws')}/v1/connect?device=${device}`, ['imid.v1', `bearer.${token}`]),
  );
  await eventually(() => client.welcome ?? client.closed, 'the welcome or the close');
  return client;
}

/** Tokens for one user, each newer than the one before. */
async function issue(app: Tenant, uid: string, count: number): Promise<string[]> {
  const tokens: string[] = [];
  for (let n = 0; n < count; n++) {
    const issuedAt = Date.now();
    tokens.push(await app.token({ uid }));
    await eventually(() => Date.now() > issuedAt + 2);
  }
  return tokens;
}

async function isUndisturbed(client: Client, uid: string): Promise<void> {
  assert.equal((await client.say({ uid }, 'still here')).type, 'sent');
  assert.equal(client.closed, undefined);
}

const presence = async (service: Service, app: Tenant, uid: string): Promise<Json> =>
  (await service.call('GET', `${app.path}/presence?imId=${app.appId}:${uid}`, { key: app.apiKey })).body
    .items[0];
const connections = async (service: Service, app: Tenant): Promise<number> =>
  (await service.call('GET', `${app.path}/schemes`, { key: app.apiKey })).body.composed.connections;
const rowsOf = async (app: Tenant): Promise<string[]> =>
  (await first.database.pool.query('select id from connection where app_id = $1', [app.appId])).rows.map(
    (row) => row.id,
  );

for (const [where, at] of [
  ['on the same process', () => first],
  ['on another process', () => second],
] as const) {
  test(`a connection with a newer token replaces one of the same device ${where}`, async () => {
    const app = await first.createApp();
    const [older, newer] = await issue(app, 'bob', 2);
    const one = await attempt(first.url, older!);
    const two = await attempt(at().url, newer!);
    assert.equal((await one.waitClosed()).code, 4503);
    await isUndisturbed(two, 'bob');
  });

  test(`one with an older token is refused with 4503, and the newer one ${where} isn’t disturbed`, async () => {
    const app = await first.createApp();
    const [older, newer] = await issue(app, 'bob', 2);
    const one = await attempt(at().url, newer!);
    const two = await attempt(first.url, older!);
    assert.equal((await two.waitClosed()).code, 4503);
    assert.deepEqual(two.frames, []);
    await isUndisturbed(one, 'bob');
    assert.equal((await presence(first, app, 'bob')).online, true);
    assert.deepEqual(await rowsOf(app), [one.welcome.connectionId]);
  });

  test(`with the same token the newer connection wins ${where}`, async () => {
    const app = await first.createApp();
    const token = await app.token({ uid: 'bob' });
    const one = await attempt(first.url, token);
    const two = await attempt(at().url, token);
    assert.equal((await one.waitClosed()).code, 4503);
    await isUndisturbed(two, 'bob');
    assert.deepEqual(await rowsOf(app), [two.welcome.connectionId]);
  });
}

test('of many connections of a device that are opened at once on both, one is left, and written down', async () => {
  const app = await first.createApp();
  const tokens = await issue(app, 'bob', 2);
  for (let round = 0; round < 5; round++) {
    const all = await Promise.all(
      Array.from({ length: 24 }, (_, n) =>
        attempt((n % 2 ? first : second).url, tokens[Math.floor(n / 2) % 2]!),
      ),
    );
    const open = () => all.filter((client) => !client.closed);
    await eventually(() => open().length === 1, 'one connection');
    const [left] = open();
    await isUndisturbed(left!, 'bob');
    assert.deepEqual(
      await eventually(async () => {
        const rows = await rowsOf(app);
        return rows.length === 1 ? rows : undefined;
      }),
      [left!.welcome.connectionId],
    );
    for (const client of all) if (client !== left) assert.equal(client.closed!.code, 4503);
  }
});

test('a connection that was replaced on another process is closed also where nobody rings', async () => {
  const app = { natsUrl: 'nats://127.0.0.1:1' };
  const one = await startService({ app });
  const other = await startService({ on: one, app });
  const tenant = await one.createApp();
  const token = await tenant.token({ uid: 'bob' });
  const former = await attempt(one.url, token);
  const latter = await attempt(other.url, token);
  assert.equal((await former.waitClosed()).code, 4503);
  await isUndisturbed(latter, 'bob');
  await one.close();
  await other.close();
});

test('connections are counted on all processes, and those of one that was killed are forgotten', async () => {
  const app = await first.createApp();
  const { host, port, user } = first.database.pool.options;
  const third = new Process({
    DATABASE_URL: `postgres://${user}@localhost:${port}/${first.databaseName}?host=${host}`,
    IMID_DATA_DIR: await makeDirectory(),
    IMID_ADMIN_KEY: ADMIN_KEY,
    IMID_SECRET: SECRET,
    IMID_PUBLIC_URL: 'https://imid.example',
  });
  const url = await third.url();
  const users = ['newer', 'equal', 'older'];
  const tokens = new Map<string, string[]>();
  for (const uid of users) tokens.set(uid, await issue(app, uid, 3));
  const lost: Client[] = [];
  for (const uid of users) lost.push(await attempt(url, tokens.get(uid)![1]!));
  await attempt(first.url, await app.token({ uid: 'here' }));
  await attempt(second.url, await app.token({ uid: 'there' }));
  for (const service of [first, second]) {
    assert.equal(await connections(service, app), 5);
    for (const uid of [...users, 'here', 'there'])
      assert.equal((await presence(service, app, uid)).online, true, uid);
  }

  await third.end('SIGKILL');
  for (const client of lost) await client.waitClosed();
  await isUndisturbed(await attempt(first.url, tokens.get('newer')![2]!), 'newer');
  await isUndisturbed(await attempt(second.url, tokens.get('equal')![1]!), 'equal');
  assert.equal((await attempt(first.url, tokens.get('older')![0]!)).closed?.code, 4503);

  await first.database.pool.query(
    `update process set seen_at = seen_at - interval '10 seconds'
     where id = (select process_id from connection where id = $1)`,
    [lost[2]!.welcome.connectionId],
  );
  for (const service of [first, second]) {
    assert.equal(await connections(service, app), 4);
    assert.equal((await presence(service, app, 'older')).online, false);
  }
  await isUndisturbed(await attempt(first.url, tokens.get('older')![0]!), 'older');
});

test('when Postgres has forgotten who is connected, the processes write it down again', async () => {
  const app = await first.createApp();
  const [older, newer] = await issue(app, 'bob', 2);
  const phone = await attempt(first.url, newer!);
  const closing = await attempt(first.url, await app.token({ uid: 'eve' }));
  await first.database.pool.query('truncate process, connection');
  const truncatedAt = performance.now();
  await closing.close();
  await eventually(async () => (await presence(second, app, 'bob')).online, 'the presence of bob');
  assert.ok(performance.now() - truncatedAt < 2_000);
  assert.deepEqual(await rowsOf(app), [phone.welcome.connectionId]);
  assert.equal((await attempt(second.url, older!)).closed?.code, 4503);
  await isUndisturbed(phone, 'bob');
  await phone.close();
  await eventually(async () => !(await presence(second, app, 'bob')).online);
});

test('a connection that could not be written down again at once is with the next beat', async () => {
  const app = await first.createApp();
  await attempt(first.url, await app.token({ uid: 'bob' }));
  const { pool } = first.database;
  await pool.query('create sequence failures');
  await pool.query(`
    create function fail() returns trigger language plpgsql as $$
    begin
      if nextval('failures') <= 2 then raise exception 'no room' using errcode = '53100'; end if;
      return new;
    end $$`);
  await pool.query(
    'create trigger fail before insert on connection for each statement execute function fail()',
  );
  await pool.query('truncate process, connection');
  await eventually(async () => (await presence(second, app, 'bob')).online, 'the presence of bob');
  await pool.query('drop trigger fail on connection');
  const { rows } = await pool.query('select last_value::int > 2 as was from failures');
  assert.deepEqual(rows, [{ was: true }]);
});

test('what connected elsewhere while Postgres had forgotten is judged by its token, once it is written down again', async () => {
  const app = await first.createApp();
  const cases = await Promise.all(
    [
      { uid: 'newer', tokens: [0, 1], isKept: false },
      { uid: 'equal', tokens: [0, 0], isKept: false },
      { uid: 'older', tokens: [1, 0], isKept: true },
    ].map(async ({ uid, tokens, isKept }) => {
      const issued = await issue(app, uid, 2);
      const [earlier, meanwhile] = tokens.map((n) => issued[n]!);
      return { uid, isKept, meanwhile: meanwhile!, one: await attempt(first.url, earlier!) };
    }),
  );
  await first.database.pool.query('truncate process, connection');
  for (const each of cases) {
    const two = await attempt(second.url, each.meanwhile);
    const [left, gone] = each.isKept ? [each.one, two] : [two, each.one];
    assert.equal((await gone.waitClosed()).code, 4503);
    await isUndisturbed(left, each.uid);
    assert.ok((await rowsOf(app)).includes(left.welcome.connectionId));
  }
  assert.equal((await rowsOf(app)).length, cases.length);
});

test('a token that came on the open connection counts, when another one connects on either process', async () => {
  const app = await first.createApp();
  const [oldest, between, newest] = await issue(app, 'bob', 3);
  const client = await first.connect(oldest!, { device: DEVICE });
  const tokenAt = async (): Promise<number> => {
    const { rows } = await first.database.pool.query<{ token_at: Date }>(
      'select token_at from connection where app_id = $1 and device_id = $2',
      [app.appId, DEVICE],
    );
    return rows[0]!.token_at.getTime();
  };
  const openedAt = await tokenAt();
  client.send({ type: 'token', token: newest });
  await eventually(async () => (await tokenAt()) > openedAt, 'the newer token to be written down');
  for (const { url } of [first, second])
    assert.equal((await (await attempt(url, between!)).waitClosed()).code, 4503);
  assert.equal((await client.say({ uid: 'x' }, 'still here')).type, 'sent');
});

test('of three connections on three processes one stays, also where nobody rings', async () => {
  const deaf = { natsUrl: 'nats://127.0.0.1:1' };
  const services = [await startService({ app: deaf })];
  for (let n = 1; n < 3; n++) services.push(await startService({ on: services[0]!, app: deaf }));
  const app = await services[0]!.createApp();
  const [token] = await issue(app, 'bob', 1);
  const clients: Client[] = [];
  for (const service of services) clients.push(await service.connect(token!, { device: DEVICE }));
  for (const former of clients.slice(0, 2)) assert.equal((await former.waitClosed()).code, 4503);
  assert.equal((await clients[2]!.say({ uid: 'x' }, 'here')).type, 'sent');
  await Promise.all(services.map((service) => service.close()));
});

test('opening ends when the user is merged away while its device is taken in elsewhere', async () => {
  const app = await first.createApp();
  await app.register('account');
  const token = await app.token({ userId: await app.register('guest').then(() => 'guest') });
  const { pool } = first.database;
  const elsewhere = await pool.connect();
  await elsewhere.query('begin');
  await elsewhere.query(
    `insert into device (app_id, identity_id, id, acked_seq)
     select app_id, id, $2, 0 from identity where app_id = $1 and name = 'guest'`,
    [app.appId, DEVICE],
  );
  await elsewhere.query(
    `update identity set merged_into = (select id from identity where app_id = $1 and name = 'account')
     where app_id = $1 and name = 'guest'`,
    [app.appId],
  );
  let asks = 0;
  const query = pool.query.bind(pool) as (...args: unknown[]) => unknown;
  pool.query = ((...args: unknown[]) => {
    if ((args[0] as { name?: string }).name === 'open_connections') asks += 1;
    return query(...args);
  }) as typeof pool.query;
  const connecting = attempt(first.url, token);
  await eventually(async () => {
    const { rowCount } = await elsewhere.query(
      `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    );
    return rowCount! > 0;
  }, 'the opening to wait');
  await elsewhere.query('commit');
  elsewhere.release();
  assert.equal((await connecting).welcome.type, 'welcome');
  for (const uid of ['x', 'y', 'z']) await app.connect({ uid });
  pool.query = query as typeof pool.query;
  assert.ok(asks < 12, `it was asked ${asks} times for 4 connections`);
});
