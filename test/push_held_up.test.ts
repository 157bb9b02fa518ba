// A push that can't be sent, or isn't to be yet, holds up no other, costs no other its own, and is either sent in the end or said
// to be given up. Two processes, against stand-ins of two providers.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import type { Pipeline } from '../src/store/pipeline.ts';
import { leaseDue, returnDue } from '../src/store/push_due.ts';
import { eventually, startService, type Json, type Service, type Tenant } from './harness.ts';
import { credentials, publicKey } from './push/apns_stage.ts';
import { refuseWith, startApns } from './push/apns_stand_in.ts';
import { startWebhook } from './push/webhook_stand_in.ts';

const SECRET = 'whsec_bm90IGEgc2VjcmV0LCBidXQgMzIgYnl0ZXMgbG9uZyE=';

const apns = await startApns({ ...credentials, publicKey }, { now: () => new Date(), streamsAtFirst: 1 });
after(() => apns.close());
const webhook = await startWebhook({ after, diagnostic: () => {} }, () => SECRET);

let service: Service;
let other: Service;
let app: Tenant;
before(async () => {
  const options = {
    allowPrivateUrls: true,
    pushEndpoints: { apns: { production: apns.origin, sandbox: apns.origin } },
    pushTiming: { windowMs: 200, graceMs: 1_000 },
    pushIntervalMs: 50,
  };
  service = await startService({ app: options });
  other = await startService({ on: service, app: options });
});
// Circuits are an app's own.
beforeEach(async () => {
  app = await service.createApp();
  await app.call('PUT', '/push/apns', credentials);
  await app.call('PUT', '/push/webhook', { url: webhook.hook, secrets: [SECRET] });
});

let count = 0;
/** A device of the user `ann`; gives back its push token. */
async function bind(deviceId: string, provider: string): Promise<string> {
  const pushToken = (count += 1).toString(16).padStart(64, '0');
  const binding = { platform: 'any', provider, pushToken };
  const { status, text } = await app.as({ uid: 'ann' }, 'PUT', `/devices/${deviceId}`, binding);
  assert.equal(status, 200, text);
  return pushToken;
}
async function send(body: string, more: object = {}): Promise<Json> {
  const message = { from: { uid: 'x' }, to: { uid: 'ann' }, content: 1, push: { body }, ...more };
  const answer = await app.call('POST', '/messages', message);
  assert.equal(answer.status, 201, answer.text);
  return answer.body;
}
const sendMany = async (many: number): Promise<void> => {
  for (let n = 1; n <= many; n++) await send(`${n}`);
};
/** What was said to a device, by a provider that took it. */
const heard = (pushToken: string): string[] => [
  ...webhook.events
    .filter(({ data }) => data.device.token === pushToken)
    .map(({ data }) => data.notification.body),
  ...apns.taken.filter(({ token }) => token === pushToken).map(({ payload }) => payload['aps'].alert.body),
];
const query = async (text: string, ...values: unknown[]): Promise<Json[]> =>
  (await service.database.pool.query(text, values)).rows;
const due = (): Promise<Json[]> =>
  query("select due_at > now() + interval '1 minute' as waits from push_due where app_id = $1", app.appId);
const failures = async (): Promise<Json[]> => (await app.call('GET', '/push/failures')).body.items;
const tries = async (pushToken: string): Promise<number> =>
  (await query('select push_attempts from device where push_token = $1', pushToken))[0].push_attempts;
const holdBack = (): Promise<unknown> =>
  app.as({ uid: 'ann' }, 'PUT', '/notifications', {
    doNotDisturbUntil: new Date(Date.now() + 3_600_000).toISOString(),
  });
const letGo = (): Promise<unknown> => app.as({ uid: 'ann' }, 'PUT', '/notifications', {});

test('a device that waits to be tried again holds up no other, however much waits for it', async () => {
  await bind('phone', 'apns');
  const tablet = await bind('tablet', 'webhook');
  apns.act(refuseWith(500, 'InternalServerError'));
  await sendMany(101);
  await send('the newest');
  await eventually(() => heard(tablet).includes('the newest'), 'the push to the other device');
  apns.act(undefined);
});

test('much that is held back is looked at when its time has come, and not before', async () => {
  const phone = await bind('phone', 'webhook');
  await holdBack();
  await sendMany(101);
  await eventually(async () => (await due())[0]?.waits, 'to wait');
  await letGo();
  await eventually(() => heard(phone).includes('101'), 'all of it');
});

test('a device that no push can be made for costs no other its own, and is given up in the end', async () => {
  const phone = await bind('phone', 'apns');
  const tablet = await bind('tablet', 'webhook');
  await query("update push_credential set sealed = '' where app_id = $1 and provider = 'apns'", app.appId);
  await send('once');
  await eventually(async () => (await tries(phone)) === 1, 'a try');
  await query('update device set push_attempts = 9 where push_token = $1', phone);
  await eventually(async () => (await failures()).length === 1, 'the failure');
  assert.match((await failures())[0].reason, /^given up: internal: /);
  assert.deepEqual(heard(tablet), ['once']);
});

test('an account whose pushes fail one after another is counted while nothing is sent by it', async () => {
  const open = async (provider: string): Promise<number[]> =>
    Promise.all(
      [service, other].map(async ({ call }) => {
        const { text } = await call('GET', '/metrics', { key: '' });
        return Number(
          RegExp(`^imid_push_circuits_open\\{provider="${provider}"\\} (\\d)$`, 'm').exec(text)?.[1],
        );
      }),
    );
  await bind('phone', 'apns');
  apns.act(refuseWith(503, 'ServiceUnavailable'));
  // All at once: behind the first that fails by itself they would wait for as long as Apple wants it.
  await holdBack();
  for (const uid of ['x', 'y', 'z', 'u', 'v']) await send('of each', { from: { uid } });
  await letGo();
  await eventually(async () => (await open('apns')).some((accounts) => accounts > 0), 'an open circuit');
  apns.act(undefined);
  assert.deepEqual(await open('fcm'), [0, 0]);
});

test('pushes by a provider that there are no credentials for are all given up at once, and go as soon as there are', async () => {
  await app.call('DELETE', '/push/webhook');
  const phone = await bind('phone', 'webhook');
  const senders = Array.from({ length: 25 }, (_, n) => `${n}`);
  for (const uid of senders) await send('in vain', { from: { uid } });
  await eventually(async () => (await failures()).length === senders.length, 'all failures');
  await app.call('PUT', '/push/webhook', { url: webhook.hook, secrets: [SECRET] });
  await send('at last', { from: { uid: 'y' } });
  await eventually(() => heard(phone).length > 0, 'the push');
});

test('inboxes that are locked hold up no other, however much of them is to be counted', async () => {
  const phone = await bind('phone', 'webhook');
  const locked = ['1', '2', '3', '4', '5'];
  for (const uid of locked) {
    const binding = { platform: 'any', provider: 'webhook', pushToken: `${phone}-${uid}` };
    await app.as({ uid }, 'PUT', '/devices/phone', binding);
  }
  const client = await service.database.pool.connect();
  try {
    await client.query('begin');
    const change = 'update identity set last_seq = last_seq + 500 where app_id = $1 and name = any ($2)';
    await query(change, app.appId, locked);
    const lock = 'select from identity where app_id = $1 and name = any ($2) for no key update';
    await client.query(lock, [app.appId, locked]);
    const makeDue =
      'insert into push_due (app_id, identity_id, due_at) select app_id, id, now() from identity where app_id = $1 and name = $2';
    // Each is taken by itself.
    for (const uid of locked) {
      await query(makeDue, app.appId, uid);
      await sleep(150);
    }
    await send('not locked');
    await eventually(() => heard(phone).length > 0, 'the push');
  } finally {
    await client.query('rollback');
    client.release();
  }
});

test('a push that was given up is listed by what its user is called now, also after a merger', async () => {
  await app.call('DELETE', '/push/webhook');
  await bind('phone', 'webhook');
  await send('in vain');
  await eventually(async () => (await failures()).length === 1, 'the failure');
  const account = await app.register('account');
  const merged = await app.call('POST', `/identities/${account}/merge`, { from: { uid: 'ann' } });
  assert.equal(merged.status, 200, merged.text);
  assert.equal((await failures())[0].imId, account);
});

test('what was read goes from a device, too, that waits to be tried again', async () => {
  const phone = await bind('phone', 'webhook');
  const tablet = await bind('tablet', 'webhook');
  const { messageId } = await send('first');
  await eventually(async () => (await due()).length === 0, 'the end of the first');
  const isWaiting = "push_attempts = 1, push_retry_at = now() + interval '1 hour'";
  await query(`update device set ${isWaiting} where push_token = $1`, phone);
  await send('second', { from: { uid: 'y' } });
  await eventually(() => heard(tablet).includes('second'), 'the push to the other device');
  const desk = await app.connect({ uid: 'ann' }, { device: 'desk' });
  desk.send({ type: 'read', with: { uid: 'x' }, messageId });
  await eventually(() => heard(phone).length === 2, 'what takes it away');
  await eventually(async () => (await due())[0]?.waits, 'to wait');
  await query('update device set push_retry_at = now() where push_token = $1', phone);
  await query('update push_due set due_at = now() where app_id = $1', app.appId);
  await eventually(() => heard(phone).includes('second'), 'the push that waited');
  assert.deepEqual(heard(phone), ['first', undefined, 'second']);
  assert.equal(webhook.events.filter(({ data }) => data.notification.isSilent).length, 2);
});

test('what comes after a push that was given up is tried as often as any other', async () => {
  const phone = await bind('phone', 'apns');
  apns.act(refuseWith(429, 'TooManyRequests'));
  await send('first');
  await eventually(async () => (await tries(phone)) === 1, 'a try');
  await query('update device set push_attempts = 9 where push_token = $1', phone);
  await eventually(async () => (await failures()).length === 1, 'the failure');
  await eventually(async () => (await due()).length === 0, 'its end');
  await send('second');
  await eventually(async () => (await tries(phone)) === 1, 'a try');
  apns.act(undefined);
  await eventually(() => heard(phone).includes('second'), 'another try');
});

test('what was given up is not tried again with what another sender has sent', async () => {
  const phone = await bind('phone', 'apns');
  await holdBack();
  await send('postponed');
  await send('refused', { from: { uid: 'y' } });
  apns.act(refuseWith(429, 'TooManyRequests'), refuseWith(413, 'PayloadTooLarge'), undefined);
  await letGo();
  await eventually(() => heard(phone).length > 0, 'another try');
  await eventually(async () => (await due()).length === 0, 'the end');
  assert.equal(heard(phone).length + (await failures()).length, 2);
});

test('a device that its provider calls dead at the last try of two conversations is unbound, and nothing is given up', async () => {
  const phone = await bind('phone', 'apns');
  await holdBack();
  await send('of one');
  await send('of another', { from: { uid: 'y' } });
  await query('update device set push_attempts = 9 where push_token = $1', phone);
  apns.act(refuseWith(410, 'Unregistered', Date.now() + 60_000));
  await letGo();
  await eventually(async () => (await due()).length === 0, 'the end');
  apns.act(undefined);
  assert.deepEqual(await query('select push_token from device where app_id = $1', app.appId), [
    { push_token: null },
  ]);
  assert.deepEqual(await failures(), []);
});

test('a push token that was bound after the provider had called it dead is tried again', async () => {
  const phone = await bind('phone', 'apns');
  apns.act(refuseWith(410, 'Unregistered', Date.now() - 60_000));
  await send('hello');
  await eventually(async () => (await tries(phone)) === 1, 'a try');
  apns.act(undefined);
  await eventually(() => heard(phone).includes('hello'), 'another try');
});

test('what was held back for longer than it is worth a push gets none', async () => {
  const phone = await bind('phone', 'webhook');
  await holdBack();
  await send('', { push: { body: 'a call', ttlSeconds: 60 } });
  await send('', { push: { body: 'news', ttlSeconds: 7_200 } });
  await query("update message set at = at - interval '1 hour' where app_id = $1", app.appId);
  await send('', { from: { uid: 'y' }, push: { body: 'another call', ttlSeconds: 60 } });
  await letGo();
  await eventually(() => heard(phone).length === 2, 'the pushes');
  assert.deepEqual(new Set(heard(phone)), new Set(['news', 'another call']));
  const ttls = webhook.events.slice(-2).map(({ data }) => data.notification.ttlSeconds);
  assert.ok(
    ttls.every((ttl) => ttl <= 3_600),
    String(ttls),
  );
});

test('who was blocked while something of it was held back is not pushed', async () => {
  const phone = await bind('phone', 'webhook');
  await holdBack();
  await send('unwanted', { from: { uid: 'pest' } });
  await send('wanted');
  assert.equal((await app.as({ uid: 'ann' }, 'PUT', '/blocked', { items: [{ uid: 'pest' }] })).status, 200);
  await letGo();
  await eventually(() => heard(phone).length > 0, 'the push');
  await eventually(async () => (await due()).length === 0, 'the end');
  assert.deepEqual(heard(phone), ['wanted']);
});

test('however much is due, no more of it is read than is taken, also where little was for long', async () => {
  const client = await service.database.pool.connect();
  const pipeline = { query: (asked: pg.QueryConfig) => client.query(asked) } as Pipeline;
  const insert = `insert into push_due (app_id, identity_id, due_at) select $1, n, now() from generate_series($2::int, $3) n`;
  try {
    // Nobody else sees any of it; the users need not be there.
    await client.query('begin');
    await client.query('set local session_replication_role = replica');
    await client.query(insert, [app.appId, 1, 200]);
    await client.query('analyze push_due');
    for (let n = 0; n < 10; n++) await leaseDue(pipeline, 10, 1_000);
    await client.query(insert, [app.appId, 201, 20_000]);
    const read = `select seq_tup_read::int as count from pg_stat_xact_user_tables where relname = 'push_due'`;
    const { rows: readSoFar } = await client.query(read);
    assert.equal((await leaseDue(pipeline, 10, 1_000)).length, 10);
    assert.deepEqual((await client.query(read)).rows, readSoFar);
  } finally {
    await client.query('rollback');
    client.release();
  }
});

test('what was pushed is written down, though Postgres may break it off once to end a deadlock', async () => {
  const phone = await bind('phone', 'webhook');
  await query('create sequence breaks');
  await query(`
    create function break_off() returns trigger language plpgsql as $$
    begin
      if nextval('breaks') = 1 then raise exception 'broken off' using errcode = '40P01'; end if;
      return new;
    end $$`);
  await query(
    `create trigger break_off before update of pushed_seq on device for each row execute function break_off()`,
  );
  await send('hello');
  await eventually(async () => (await due()).length === 0, 'the end');
  await query('drop trigger break_off on device');
  assert.deepEqual(await query('select last_value::int > 1 as was from breaks'), [{ was: true }]);
  assert.deepEqual(heard(phone), ['hello']);
});

test('who was stopped for longer than its lease gives nothing back that somebody else has taken since', async () => {
  const client = await service.database.pool.connect();
  const pipeline = { query: (asked: pg.QueryConfig) => client.query(asked) } as Pipeline;
  const pool = client as unknown as pg.Pool;
  const insert = `insert into push_due (app_id, identity_id, due_at) values ($1, 1, now() - interval '1 hour')`;
  const text = `select leased_until > now() as is_taken, due_at > now() as waits from push_due where app_id = $1`;
  const inbox = async (): Promise<Json[]> => (await client.query(text, [app.appId])).rows;
  try {
    // Nobody else sees it; the user need not be there.
    await client.query('begin');
    await client.query('set local session_replication_role = replica');
    await client.query(insert, [app.appId]);
    const [stopped] = await leaseDue(pipeline, 1, -1);
    const [later] = await leaseDue(pipeline, 1, 60_000);
    await returnDue(pool, [{ ...stopped!, againMs: undefined }]);
    await returnDue(pool, [{ ...stopped!, againMs: 0 }]);
    assert.deepEqual(await inbox(), [{ is_taken: true, waits: false }]);
    await returnDue(pool, [{ ...later!, againMs: 60_000 }]);
    assert.deepEqual(await inbox(), [{ is_taken: null, waits: true }]);
  } finally {
    await client.query('rollback');
    client.release();
  }
});

test('who gives inboxes back and who stores messages for them never wait for each other', async () => {
  for (const userId of ['a', 'b']) await app.register(userId);
  const users = await query(
    `insert into push_due (app_id, identity_id, due_at, leased_until)
     select app_id, id, now() + interval '1 hour', now() + interval '1 hour'
     from identity where app_id = $1 returning app_id, identity_id as id, leased_until::text as lease`,
    app.appId,
  );
  const [low, high] = users.toSorted((a, b) => a.id - b.id);
  const lock = `select from push_due where identity_id = $1 for update`;
  const client = await service.database.pool.connect();
  try {
    await client.query('begin');
    await client.query(lock, [low.id]);
    const done = [high, low].map(({ app_id: appId, id, lease }) => ({
      appId,
      id,
      lease,
      version: 1,
      clears: false,
      againMs: undefined,
    }));
    const returned = returnDue(service.database.pool, done);
    const waiting = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    await eventually(async () => (await query(waiting)).length > 0, 'it to wait');
    await client.query(lock, [high.id]);
    await client.query('commit');
    await returned;
  } finally {
    client.release();
  }
  assert.deepEqual(await due(), []);
});
