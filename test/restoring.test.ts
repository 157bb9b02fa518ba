// A backup is put back: the operator's command, what processes that run notice, and what clients are told.

import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import pg from 'pg';
import { createCommands } from './commands.ts';
import {
  ADMIN_KEY,
  call,
  createDatabase,
  eventually,
  startService,
  urlOf,
  type Service,
  type Tenant,
} from './harness.ts';
import { makeDirectory, Process } from './process.ts';

const { run } = createCommands();
const restored = (env: Record<string, string>) => run(['restored'], { env });

/** What a backup would hold of inboxes, kept beside them. */
const BACK_UP = `create schema backup;
  create table backup.message as table message;
  create table backup.identity as select app_id, id, last_seq from identity;
  create table backup.device as table device`;
const PUT_BACK = `begin;
  truncate message;
  insert into message table backup.message;
  update identity i set last_seq = b.last_seq from backup.identity b where b.app_id = i.app_id and b.id = i.id;
  delete from device;
  insert into device table backup.device;
  commit`;

const seqs = (count: number): number[] => Array.from({ length: count }, (_, n) => n + 1);

test('once a backup was put back, clients start over, and what they send again is stored again, on every process', async () => {
  const { name, connection } = await createDatabase();
  const first = await startService({ at: { name, connection } });
  const second = await startService({ on: first });
  const services = [first, second];
  const app = await first.createApp();
  const token = await app.token({ uid: 'bob' });
  const alice = await app.connect({ uid: 'alice' }, { device: 'phone' });
  const bob = await second.connect(token, { device: 'phone' });
  for (const n of [1, 2, 3]) await alice.say({ uid: 'bob' }, n, `id-${n}`);
  bob.send({ type: 'ack', seq: (await bob.messages(3))[2].seq });
  const { pool } = first.database;
  await eventually(async () => (await pool.query('select from device where acked_seq = 3')).rowCount === 1);
  await pool.query(BACK_UP);
  const lost = [4, 5].map((n) => [{ uid: 'bob' }, n, `id-${n}`] as const);
  for (const message of lost) await alice.say(...message);
  const byBackend = { from: { uid: 'carol' }, to: { uid: 'bob' }, content: 6, id: 'order-6' };
  await second.call('POST', `${app.path}/messages`, { key: app.apiKey, body: byBackend });
  bob.send({ type: 'ack', seq: (await bob.messages(6))[5].seq });
  const { epoch } = bob.welcome;
  const query = `?imId=${app.appId}:bob`;
  const epochsAt = async ({ call: ask }: Service): Promise<string[]> => [
    (await ask('GET', '/v1/me/messages', { key: token })).body.epoch,
    (await ask('GET', `${app.path}/messages${query}`, { key: app.apiKey })).body.epoch,
  ];
  assert.deepEqual(await epochsAt(first), [epoch, epoch]);

  await pool.query(PUT_BACK);
  const { code, stdout, stderr } = await restored({ DATABASE_URL: urlOf(connection, name) });
  const changedAt = performance.now();
  assert.deepEqual([code, stderr], [0, '']);
  assert.match(
    stdout,
    /^The database has a new epoch, [\da-f-]{36}\.\nProcesses .* run on it: 2\..*1001\.\nClients /,
  );
  for (const client of [alice, bob]) assert.equal((await client.waitClosed()).code, 1001);
  assert.ok(performance.now() - changedAt < 2_500);

  const epochs = new Set((await Promise.all(services.map(epochsAt))).flat());
  assert.equal(epochs.size, 1);
  assert.ok(!epochs.has(epoch));
  for (const service of services)
    for (const resume of [{ after: 6, epoch }, { after: 2, epoch }, { epoch }, { after: 6 }] as Record<
      string,
      any
    >[]) {
      const client = await service.connect(token, resume);
      assert.deepEqual([client.welcome.resumed, client.welcome.seq], [false, 3], JSON.stringify(resume));
      assert.ok(epochs.has(client.welcome.epoch));
      assert.deepEqual(
        (await client.messages(3)).map(({ seq }) => seq),
        [1, 2, 3],
      );
      await client.close();
    }
  const phone = await second.connect(token, { device: 'phone' });
  assert.deepEqual([phone.welcome.acked, phone.welcome.resumed], [3, true]);

  await resend(app, first, second);
  const inbox = await app.inbox(`${app.appId}:bob`);
  assert.deepEqual(
    inbox.map(({ seq }) => seq),
    seqs(6),
  );
  assert.deepEqual(
    inbox.map(({ content }) => content).toSorted((a, b) => a - b),
    seqs(6),
  );
  assert.deepEqual(
    (await phone.messages(3)).map(({ seq }) => seq),
    [4, 5, 6],
  );

  async function resend(tenant: Tenant, ...at: Service[]): Promise<void> {
    const aliceToken = await tenant.token({ uid: 'alice' });
    for (const [i, message] of lost.entries()) {
      const client = await at[i]!.connect(aliceToken, {
        device: 'phone',
        after: 5,
        epoch: alice.welcome.epoch,
      });
      assert.equal(client.welcome.resumed, false);
      assert.equal((await client.say(...message)).type, 'sent');
      const kept = await client.say({ uid: 'bob' }, 3, 'id-3');
      assert.equal(kept.seq, 3);
    }
    for (const service of at) {
      const { status } = await service.call('POST', `${tenant.path}/messages`, {
        key: tenant.apiKey,
        body: byBackend,
      });
      assert.equal(status, 201);
    }
  }
});

test('the embedded database is given a new epoch while the service is stopped, and not while it runs', async () => {
  const env = { IMID_DATA_DIR: await makeDirectory(), IMID_ADMIN_KEY: ADMIN_KEY };
  const before = new Process(env);
  const url = await before.url();
  const { body: app } = await call(url, 'POST', '/v1/apps', {
    body: { name: 'chat', schemes: ['composed'] },
  });
  const readEpoch = async (at: string): Promise<string> =>
    (await call(at, 'GET', `/v1/apps/${app.appId}/messages?imId=${app.appId}:bob`)).body.epoch;
  const epoch = await readEpoch(url);
  const refused = await restored(env);
  assert.deepEqual([refused.code, refused.stdout], [3, '']);
  assert.match(
    refused.stderr,
    new RegExp(
      `^imid: Another imid \\(pid ${before.child.pid}\\) is running on .* Nothing was changed; stop`,
    ),
  );
  assert.equal(await readEpoch(url), epoch);
  assert.equal(await before.end('SIGTERM'), 0);

  const { code, stdout } = await restored(env);
  assert.equal(code, 0);
  assert.match(stdout, /^The database has a new epoch, [\da-f-]{36}\.\nClients /);
  const after = new Process(env);
  assert.notEqual(await readEpoch(await after.url()), epoch);
  assert.equal(await after.end('SIGTERM'), 0);
});

test('where there is no database of imid, none is made', async () => {
  const directory = await makeDirectory();
  const none = await restored({ IMID_DATA_DIR: directory });
  assert.deepEqual([none.code, none.stdout], [2, '']);
  assert.match(none.stderr, /^imid: There is no database in .*IMID_DATA_DIR.* DATABASE_URL is not set\.\n$/);
  await assert.rejects(stat(join(directory, 'postgres')), { code: 'ENOENT' });

  const { name, connection } = await createDatabase();
  const client = new pg.Client(connection);
  await client.connect();
  await client.query(`create database ${name}_empty`);
  await client.end();
  const empty = await restored({ DATABASE_URL: urlOf(connection, `${name}_empty`) });
  assert.deepEqual([empty.code, empty.stdout], [3, '']);
  assert.match(
    empty.stderr,
    /^imid: The database of DATABASE_URL can't be used: there is no imid in it\.\n$/,
  );
  const nobody = await restored({ DATABASE_URL: 'postgres://imid:Geheimnis@127.0.0.1:1/imid' });
  assert.equal(nobody.code, 3);
  assert.match(nobody.stderr, /^imid: The database of DATABASE_URL can't be used: .*ECONNREFUSED/);
  assert.ok(!nobody.stderr.includes('Geheimnis'));
});
