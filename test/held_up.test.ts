// Senders that are held up, by a merger or by Postgres: their order stays, they are told in time, and are not dropped.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import pg from 'pg';
import { startService } from './harness.ts';

const T = { timeout: 60_000 };

test('what a sender says around a merger of it is stored in order', T, async () => {
  const service = await startService();
  const flips: unknown[] = [];
  for (let round = 0; round < 8; round++) {
    const app = await service.createApp();
    const bId = await app.register('b');
    const a = await app.connect({ uid: 'a' });
    await a.say({ uid: 'sink' }, 'warm');
    let n = 0;
    const talk = { isOver: false };
    const talking = (async () => {
      while (!talk.isOver && n < 4_000) {
        for (let i = 0; i < 10; i++) a.send({ type: 'send', id: `n${++n}`, to: { uid: 'sink' }, content: n });
        await sleep(1);
      }
    })();
    await sleep(30 + round * 7);
    const merged = await app.call('POST', `/identities/${bId}/merge`, { from: { uid: 'a' } });
    assert.equal(merged.status, 200);
    await sleep(60);
    talk.isOver = true;
    await talking;
    await a.wait((f) => f.id === `n${n}`);
    await sleep(300);
    const errors = a.frames.filter((f) => f.type === 'error');
    const inbox = (await app.inbox(`${app.appId}:sink`))
      .map((m) => m.content)
      .filter((c) => typeof c === 'number');
    for (let i = 1; i < inbox.length; i++)
      if (inbox[i]! < inbox[i - 1]!) flips.push([round, inbox[i - 1], inbox[i], errors.length]);
    await a.close();
  }
  await service.close();
  assert.deepEqual(flips, []);
});

test('what a sender says while a merger of it waits for its inbox is stored in order', T, async () => {
  const service = await startService();
  const app = await service.createApp();
  await app.register('b');
  const a = await app.connect({ uid: 'a' });
  await a.say({ uid: 'sink' }, 0);
  // The recipient of the first is locked, so that it is parked; then the sender is merged, and says the second.
  const other = new pg.Client((service.database.pool as never as { options: pg.ClientConfig }).options);
  await other.connect();
  await other.query('begin');
  await other.query("select from identity where app_id = $1 and name = 'sink' for update", [app.appId]);
  a.send({ type: 'send', id: 'n1', to: { uid: 'sink' }, content: 1 });
  await sleep(700);
  const { body } = await app.call('POST', '/resolve', { addresses: [{ userId: 'b' }] });
  const merged = await app.call('POST', `/identities/${body.results[0].imId}/merge`, { from: { uid: 'a' } });
  assert.equal(merged.status, 200, JSON.stringify(merged.body));
  await a.wait((f) => f.type === 'welcome' && f !== a.welcome);
  a.send({ type: 'send', id: 'n2', to: { uid: 'sink' }, content: 2 });
  a.send({ type: 'send', id: 'n3', to: { uid: 'third' }, content: 3 });
  await sleep(300);
  await other.query('rollback');
  await other.end();
  await a.wait((f) => f.id === 'n2');
  await a.wait((f) => f.id === 'n3');
  await a.wait((f) => f.id === 'n1');
  const own = a.frames.filter((f) => ['n1', 'n2', 'n3'].includes(f.id)).map((f) => [f.id, f.type, f.seq]);
  const inbox = (await app.inbox(`${app.appId}:sink`)).map((m) => m.content);
  await service.close();
  assert.deepEqual(inbox, [0, 1, 2], JSON.stringify(own));
});

test('a client whose sends wait for Postgres answers pings, and is not dropped', T, async () => {
  const service = await startService({ app: { pingMs: 500 } });
  const app = await service.createApp();
  const a = await app.connect({ uid: 'a' });
  await a.say({ uid: 'sink' }, 0);
  const other = new pg.Client((service.database.pool as never as { options: pg.ClientConfig }).options);
  await other.connect();
  await other.query('begin');
  await other.query("select from identity where app_id = $1 and name = 'sink' for update", [app.appId]);
  for (let i = 1; i <= 200; i++) a.send({ type: 'send', id: `n${i}`, to: { uid: 'sink' }, content: i });
  await sleep(2_000);
  await other.query('rollback');
  await other.end();
  await sleep(500);
  const code = a.closed?.code;
  await service.close();
  assert.equal(code, undefined);
});

test('what is counted of flushes adds up after a failure', T, async () => {
  const service = await startService();
  const app = await service.createApp();
  const a = await app.connect({ uid: 'a' });
  await a.say({ uid: 'sink' }, 0);
  await service.database.pool.query(
    "create function fail() returns trigger language plpgsql as $$ begin raise 'disk full' using errcode = '53100'; end $$",
  );
  await service.database.pool.query('create trigger fail before insert on message execute function fail()');
  for (let i = 0; i < 5; i++) assert.equal((await a.say({ uid: 'sink' }, 1)).type, 'error');
  const { text } = await service.call('GET', '/metrics');
  await service.close();
  const of = (name: string) => Number(new RegExp(`^${name} (\\S+)`, 'm').exec(text)![1]);
  assert.deepEqual(
    { units: of('imid_flush_units_sum'), stored: of('imid_messages_stored_total') },
    { units: 1, stored: 1 },
  );
});
