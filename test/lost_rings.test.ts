// What several processes do to each other's connections and rings at the worst moment, and what is counted of it.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import pg from 'pg';
import { Delivery } from '../src/routing/delivery.ts';
import { createConnections } from '../src/routing/connections.ts';
import { createDatabase, startService } from './harness.ts';
import { openDatabase } from '../src/store/database.ts';

const T = { timeout: 60_000 };

test('a ring that finds nothing yet does not hide a message that is offered meanwhile', T, async () => {
  const shown: number[] = [];
  let answer!: (entries: never[]) => void;
  const delivery = new Delivery({
    peer: { buffered: 0, drained: () => Promise.resolve(true) } as never,
    read: () => new Promise((resolve) => (answer = resolve)),
    show: (entry) => shown.push(entry.seq),
    onStalled: () => {},
    onError: () => {},
  });
  delivery.begin(0, 0);
  delivery.look();
  await sleep(5);
  const before = answer;
  delivery.offer({ seq: 1 } as never);
  before([]);
  await sleep(5);
  if (answer !== before) answer([{ seq: 1 }] as never);
  await sleep(5);
  assert.deepEqual(shown, [1]);
});

test('opening ends when the user is merged away while its device is taken in elsewhere', T, async () => {
  const { name, connection } = await createDatabase();
  void name;
  const database = await openDatabase({ connection: { ...connection, max: 5 }, log: () => {} });
  const service = await startService({ at: { name, connection } });
  const app = await service.createApp();
  await app.register('a');
  await app.register('b');
  const { rows } = await database.pool.query('select id from identity where app_id = $1 order by name', [
    app.appId,
  ]);
  const [a, b] = rows.map((r) => r.id as number);
  const other = new pg.Client(connection);
  await other.connect();
  await other.query('begin');
  await other.query('insert into device (app_id, identity_id, id, acked_seq) values ($1, $2, $3, 0)', [
    app.appId,
    a,
    'phone',
  ]);
  await other.query('update identity set merged_into = $1 where id = $2', [b, a]);
  let asks = 0;
  const query = database.pool.query.bind(database.pool) as (...args: unknown[]) => unknown;
  database.pool.query = ((...args: unknown[]) => {
    if ((args[0] as { name?: string }).name === 'open_connections' && (asks += 1) > 200)
      return Promise.reject(new Error('asked 200 times'));
    return query(...args);
  }) as never;
  const connections = createConnections({
    database,
    processId: '00000000-0000-0000-0000-000000000001',
    rings: { tell() {} } as never,
    log() {},
  });
  const opening = connections.open({
    appId: Number(app.appId) as never,
    identityId: a!,
    deviceId: 'phone',
    connectionId: '00000000-0000-0000-0000-000000000002',
    scheme: 'composed',
    state: 'foreground',
    tokenAt: new Date(),
    isAnonymous: false,
    isClosed: false,
    close() {},
  } as never);
  await sleep(100);
  await other.query('commit');
  await other.end();
  const outcome = await opening.catch((e: Error) => e.message);
  await service.close();
  await database.close();
  assert.equal(outcome, undefined, `after ${asks} asks`);
});

test('a send behind a lock that is no row lock is refused in time', T, async () => {
  const service = await startService();
  const app = await service.createApp();
  const alice = await app.connect({ uid: 'alice' });
  await alice.say({ uid: 'bob' }, 1);
  const other = new pg.Client((service.database.pool as never as { options: pg.ClientConfig }).options);
  await other.connect();
  await other.query('begin');
  await other.query('lock table message in share mode'); // as `create index` does
  const at = performance.now();
  const said = await alice.say({ uid: 'bob' }, 2).then(
    (f) => f.type,
    (e: Error) => e.message.slice(0, 60),
  );
  const ms = performance.now() - at;
  await other.query('rollback');
  await other.end();
  await service.close();
  assert.ok(ms < 9_000, `${said} after ${ms}`);
});

test('of three processes only one keeps the device, also when no ring is heard', T, async () => {
  const deaf = { natsUrl: 'nats://127.0.0.1:1' };
  const one = await startService({ app: deaf });
  const two = await startService({ on: one, app: deaf });
  const three = await startService({ on: one, app: deaf });
  await sleep(1_500);
  const app = await one.createApp();
  const token = await app.token({ uid: 'bob' });
  const a = await one.connect(token, { device: 'phone' });
  const b = await two.connect(token, { device: 'phone' });
  const c = await three.connect(token, { device: 'phone' });
  await sleep(5_000);
  const state = [a, b, c].map((x) => x.closed?.code);
  await Promise.all([one, two, three].map((s) => s.close()));
  assert.deepEqual(state, [4503, 4503, undefined]);
});

test('a client without a device that has to start over is counted as over', T, async () => {
  const service = await startService();
  const app = await service.createApp();
  const bob = await app.connect({ uid: 'bob' }, { after: 5, epoch: 'another' });
  const { text } = await service.call('GET', '/metrics');
  const resumed = bob.welcome.resumed;
  await service.close();
  assert.equal(resumed, false);
  assert.match(text, /imid_resumes_total\{outcome="over"\} 1/);
});

test('of two connections the one with the newer token stays, also when it came by renewal', T, async () => {
  const service = await startService();
  const app = await service.createApp();
  const t1 = await app.token({ uid: 'bob' });
  await sleep(1_100);
  const t2 = await app.token({ uid: 'bob' });
  await sleep(1_100);
  const t3 = await app.token({ uid: 'bob' });
  const a = await service.connect(t1, { device: 'phone' });
  a.send({ type: 'token', token: t3 });
  await a.say({ uid: 'x' }, 1);
  const b = await service.connect(t2, { device: 'phone' }).catch((e: Error) => e);
  await sleep(300);
  const codes = [a.closed?.code, b instanceof Error ? 'refused' : b.closed?.code];
  await service.close();
  assert.equal(codes[0], undefined, JSON.stringify(codes));
});

test('a note without a time is heard all the same', T, async () => {
  const { createRings } = await import('../src/routing/rings.ts');
  const { createMeters } = await import('../src/routing/meters.ts');
  const { Registry } = await import('prom-client');
  const rings = createRings({
    database: { clock: { now: () => new Date() } } as never,
    processId: 'x',
    meters: createMeters(new Registry()),
    log() {},
  });
  const heard: unknown[] = [];
  rings.begin({ ring() {} } as never, { inbox: (ids: unknown) => heard.push(ids) } as never);
  rings.hear(JSON.stringify({ fact: 'inbox', ids: [1] }));
  assert.deepEqual(heard, [[1]]);
});
