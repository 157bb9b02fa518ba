// What Postgres says of connections, by which it is decided who is pushed: as they are, also when it was gone meanwhile.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startGate, type Gate } from './gate.ts';
import {
  createDatabase,
  eventually,
  startService,
  type Client,
  type Service,
  type Tenant,
} from './harness.ts';

const PHONES = 150;
let gate: Gate;
let service: Service;
let app: Tenant;
let log = '';
before(async () => {
  const { name, connection } = await createDatabase();
  gate = await startGate(connection);
  const logTo = { write: (line: string) => void (log += line) };
  service = await startService({ at: { name, connection: gate.connection }, app: { logTo } });
});
beforeEach(async () => {
  app = await service.createApp();
});
after(() => gate.close());

const connect = (uid: string): Promise<Client> => app.connect({ uid }, { device: 'phone' });
/** How many connections of the app are written down, and how many of them as in the foreground. */
async function written(): Promise<[all: number, inForeground: number]> {
  const text = `select count(*) as all, count(*) filter (where is_foreground) as foreground from connection where app_id = $1`;
  const { rows } = await service.database.pool.query(text, [app.appId]);
  return [rows[0].all, rows[0].foreground];
}
async function isWritten(all: number, inForeground: number): Promise<void> {
  await eventually(async () => (await service.call('GET', '/readyz')).status === 200, 'the database');
  await eventually(
    async () => String(await written()) === String([all, inForeground]),
    `${all} connections, ${inForeground} in the foreground`,
  );
}
const isLogged = (text: string): Promise<unknown> => eventually(() => log.includes(text), text);

test('what has ended while Postgres was gone is not there when it is back', async () => {
  const phone = await connect('ann');
  await isWritten(1, 1);
  gate.shut();
  await phone.close();
  await isLogged('the end of a connection could not be written');
  gate.open();
  await isWritten(0, 0);
});

test('what has gone to the background while Postgres was gone is there when it is back', async () => {
  const phone = await connect('ann');
  await isWritten(1, 1);
  gate.shut();
  phone.send({ type: 'state', state: 'background' });
  await isLogged('the state of a connection could not be written');
  gate.open();
  await isWritten(1, 0);
});

test('however often and quickly clients go to the background and back, in the end they are where they are', async () => {
  const names = Array.from({ length: PHONES }, (_, n) => `user ${n}`);
  const phones = await Promise.all(names.map(connect));
  for (let turns = 1; turns <= 40; turns++) {
    const state = turns % 2 === 0 ? 'foreground' : 'background';
    for (const phone of phones) phone.send({ type: 'state', state });
    await sleep(Math.random() * 4);
    if (turns % 7 === 0) await isWritten(PHONES, state === 'foreground' ? PHONES : 0);
  }
  assert.ok(phones.every((phone) => !phone.closed));
});

test('what goes to the background while it becomes a connection of another user is there', async () => {
  const phone = await connect('guest');
  await (await connect('ann')).close();
  await isWritten(1, 1);
  const client = await service.database.pool.connect();
  try {
    // Somebody else's, of the same device, that comes to nothing.
    await client.query('begin');
    await client.query(
      `insert into connection select c.app_id, i.id, c.device_id, c.process_id, gen_random_uuid(), c.scheme, true, c.token_at
       from connection c join identity i on i.app_id = c.app_id and i.name = 'ann' where c.app_id = $1`,
      [app.appId],
    );
    await app.call('POST', `/identities/${app.appId}:ann/merge`, { from: { uid: 'guest' } });
    await eventually(
      async () =>
        (
          await service.database.pool.query(
            "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
          )
        ).rowCount === 1,
      'it to wait',
    );
    const seen = phone.frames.length;
    phone.send({ type: 'state', state: 'background' });
    phone.send({ type: 'ping' });
    await phone.wait(({ type }) => type === 'pong', seen);
    await sleep(100);
    await client.query('rollback');
  } finally {
    client.release();
  }
  await isWritten(1, 0);
});
