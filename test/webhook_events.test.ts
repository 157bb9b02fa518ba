// Events that the backend of an app is told by its webhook: signed, at least once, whatever ends in between. The receiver
// takes no body but those of docs/webhooks.md, and verifies by the text of Standard Webhooks, without the library that signs.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text as readText } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import {
  deleteOldEvents,
  deleteSurplusEvents,
  insertEvents,
  leaseEvents,
  returnEvent,
  type NewWebhookEvent,
} from '../src/store/webhook_events.ts';
import type { Executor } from '../src/store/database.ts';
import type { AppId } from '../src/ids.ts';
import { eventually, startService, type Json, type Service, type Tenant } from './harness.ts';
import { startReceiver, type Receiver } from './webhook_receiver.ts';

const EVENTS = ['message.offline', 'device.gone', 'push.failed'];
const MESSAGE_ID = '019af3c2-5c1e-7000-8a2b-3c4d5e6f7a8b';
const running = { after };
let service: Service;
before(async () => {
  service = await startService({
    app: { allowPrivateUrls: true, webhookIntervalMs: 50, webhookRetryMs: 50 },
  });
});

/** An app with alice, and bob who is registered, whose backend is told of events. */
async function createTold(events = EVENTS): Promise<{ app: Tenant; receiver: Receiver }> {
  const app = await service.createApp();
  await app.token({ uid: 'alice' });
  await app.register('bob');
  await app.call('POST', '/messages', { from: { uid: 'alice' }, to: { userId: 'bob' }, content: 1 });
  const receiver = await startReceiver(running);
  const { status, body } = await app.call('PUT', '/webhook', { url: receiver.url, events });
  assert.deepEqual([status, body.secrets.length], [201, 1]);
  receiver.secrets.push(...body.secrets);
  return { app, receiver };
}

async function happen(
  app: Tenant,
  events: (rowOf: (name: string) => number) => NewWebhookEvent[],
  db: Executor = service.database.kysely,
): Promise<void> {
  const { pool, clock } = service.database;
  // A little ago, so that it is due by every clock.
  const now = new Date(clock.now().getTime() - 1_000);
  const { rows } = await pool.query<{ name: string; id: number }>(
    'select name, id from identity where app_id = $1',
    [app.appId],
  );
  const ids = new Map(rows.map(({ name, id }) => [name, id]));
  await insertEvents(
    db,
    Number(app.appId) as AppId,
    events((name) => ids.get(name)!),
    now,
  );
}

const goneOf = (userId: number, deviceId = 'phone'): NewWebhookEvent => ({
  type: 'device.gone',
  userId,
  deviceId,
  provider: 'fcm',
});
const waiting = async (app: Tenant): Promise<Json[]> =>
  (await service.database.pool.query('select * from webhook_event where app_id = $1', [app.appId])).rows;
const scrape = async (series: string): Promise<number> =>
  Number(
    (await service.call('GET', '/metrics', { key: '' })).text
      .split('\n')
      .find((line) => line.startsWith(`${series} `))
      ?.split(' ')[1] ?? 0,
  );

test('what happens is told once, signed, with users as backends are shown them', async () => {
  const { app, receiver } = await createTold();
  const at = new Date('2026-11-26T05:00:00.000Z');
  const series = 'imid_webhook_events_total{type="push.failed",outcome="delivered"}';
  const start = await scrape(series);
  await happen(app, (rowOf) => [
    {
      type: 'message.offline',
      userId: rowOf('bob'),
      senderId: rowOf('alice'),
      messageId: MESSAGE_ID,
      seq: 1,
      at,
      unread: 3,
      devices: 2,
    },
    {
      type: 'message.offline',
      userId: rowOf('alice'),
      senderId: undefined,
      messageId: MESSAGE_ID,
      seq: 2,
      at,
      unread: 1,
      devices: 0,
    },
    goneOf(rowOf('alice')),
    {
      type: 'push.failed',
      userId: rowOf('bob'),
      deviceId: 'pad',
      provider: 'apns',
      messageId: MESSAGE_ID,
      reason: 'refused: why',
    },
  ]);
  const events = await receiver.events(4);
  const alice = { imId: `${app.appId}:alice`, uid: 'alice' };
  const [{ items }] = [(await app.call('GET', '/identities?userId=bob')).body];
  const bob = { imId: items[0].imId, userId: 'bob' };
  assert.deepEqual(
    events
      .map(({ type, data }) => ({ type, ...data }))
      .toSorted((a, b) => a.type.localeCompare(b.type) || a.seq - b.seq),
    [
      { type: 'device.gone', user: alice, deviceId: 'phone', provider: 'fcm' },
      {
        type: 'message.offline',
        from: alice,
        to: bob,
        messageId: MESSAGE_ID,
        seq: 1,
        at: at.toISOString(),
        unread: 3,
        devices: 2,
      },
      {
        type: 'message.offline',
        from: { erased: true },
        to: alice,
        messageId: MESSAGE_ID,
        seq: 2,
        at: at.toISOString(),
        unread: 1,
        devices: 0,
      },
      {
        type: 'push.failed',
        user: bob,
        deviceId: 'pad',
        provider: 'apns',
        messageId: MESSAGE_ID,
        reason: 'refused: why',
      },
    ],
  );
  await eventually(async () => (await waiting(app)).length === 0);
  assert.equal(receiver.ids.size, 4);
  assert.equal((await scrape(series)) - start, 1);
});

test('an app is told of the types that it has asked for, and of nothing once it has no webhook', async () => {
  const { app, receiver } = await createTold(['device.gone']);
  const failed = (userId: number): NewWebhookEvent => ({
    type: 'push.failed',
    userId,
    deviceId: 'pad',
    provider: 'apns',
    messageId: MESSAGE_ID,
    reason: 'refused: why',
  });
  await happen(app, (rowOf) => [failed(rowOf('bob')), goneOf(rowOf('alice'))]);
  assert.deepEqual(
    (await receiver.events(1)).map(({ type }) => type),
    ['device.gone'],
  );
  assert.equal((await app.call('DELETE', '/webhook')).status, 204);
  await happen(app, (rowOf) => [goneOf(rowOf('alice'))]);
  assert.deepEqual(await waiting(app), []);
  for (const [method, path] of [
    ['GET', ''],
    ['DELETE', ''],
    ['POST', '/test'],
  ] as const)
    assert.equal((await app.call(method, `/webhook${path}`)).status, 404);
});

test('what was not taken is told again under the same id, by the new name, and to nobody of who was erased', async () => {
  const { app, receiver } = await createTold();
  receiver.answer({ status: 500 });
  await happen(app, (rowOf) => [goneOf(rowOf('bob')), goneOf(rowOf('alice'))]);
  await eventually(() => receiver.ids.size === 2 && receiver.requests() >= 4);
  const { body } = await app.call('GET', '/identities?userId=bob');
  assert.equal(
    (await app.call('PATCH', `/identities/${body.items[0].imId}`, { userId: 'robert' })).status,
    200,
  );
  assert.equal((await app.call('DELETE', `/identities/${app.appId}:alice`)).status, 204);
  await eventually(async () => (await waiting(app)).length === 1);
  receiver.answer(undefined);
  const [event] = await receiver.events(1);
  assert.equal(event.data.user.userId, 'robert');
  await eventually(async () => (await waiting(app)).length === 0);
  assert.equal(receiver.ids.size, 2);
  assert.ok((await scrape('imid_webhook_failures_total{type="device.gone",reason="unavailable"}')) >= 4);
});

test('a Retry-After is waited for', async () => {
  const { app, receiver } = await createTold();
  receiver.answer({ status: 429, headers: { 'retry-after': '3600' } });
  await happen(app, (rowOf) => [goneOf(rowOf('bob'))]);
  const { due_at: dueAt } = await eventually(async () =>
    (await waiting(app)).find((row) => row.due_at - row.at > 1_000_000),
  );
  assert.ok(Math.abs(dueAt - Date.now() - 3_600_000) < 60_000);
  assert.equal(receiver.requests(), 1);
});

test('who answers 410 is told nothing any more, until the webhook is put again', async () => {
  const { app, receiver } = await createTold();
  const dropped = 'imid_webhook_events_total{type="device.gone",outcome="disabled"}';
  const start = await scrape(dropped);
  receiver.answer({ status: 410 });
  await happen(app, (rowOf) => [goneOf(rowOf('bob'))]);
  const { body } = await eventually(async () => {
    const answer = await app.call('GET', '/webhook');
    return answer.body.disabledAt && answer;
  });
  assert.ok(Date.parse(body.disabledAt) >= Date.parse(body.changedAt));
  await eventually(async () => (await scrape(dropped)) - start === 1);
  await happen(app, (rowOf) => [goneOf(rowOf('bob'))]);
  assert.deepEqual(await waiting(app), []);
  assert.match((await app.call('POST', '/webhook/test')).body.detail, /^gone: /);
  receiver.answer(undefined);
  assert.match((await app.call('POST', '/webhook/test')).body.detail, /^disabled: /);
  const again = await app.call('PUT', '/webhook', { url: receiver.url, events: EVENTS });
  assert.deepEqual([again.status, again.body.secrets, again.body.disabledAt], [200, undefined, undefined]);
  assert.equal((await app.call('GET', '/webhook')).body.disabledAt, undefined);
  await happen(app, (rowOf) => [goneOf(rowOf('bob'), 'another')]);
  assert.equal((await receiver.events(2)).at(-1).data.deviceId, 'another');
});

test('an app that never answers holds up no other', async () => {
  const [silent, other] = await Promise.all([createTold(), createTold()]);
  silent.receiver.answer('never');
  await happen(silent.app, (rowOf) => Array.from({ length: 50 }, () => goneOf(rowOf('bob'))));
  await eventually(() => silent.receiver.requests() > 0);
  await happen(other.app, (rowOf) => Array.from({ length: 50 }, () => goneOf(rowOf('bob'))));
  await other.receiver.events(50);
  assert.equal(silent.receiver.requests(), 20); // all that are under way at once
  assert.equal((await silent.app.call('DELETE', '/webhook')).status, 204);
});

test('what a worker has taken that was killed is told by another one, and is not put off by who comes too late', async () => {
  const { app, receiver } = await createTold();
  receiver.answer({ status: 500 });
  const { kysely, pool, clock } = service.database;
  const lease = { leaseMs: 25_000, perApp: 10, limit: 10, except: [] };
  // Before any other worker sees it.
  const [taken] = await kysely.transaction().execute(async (trx) => {
    await happen(app, (rowOf) => [goneOf(rowOf('bob'))], trx);
    return (await leaseEvents(trx, lease)).filter(({ appId }) => String(appId) === app.appId);
  });
  assert.deepEqual(
    (await leaseEvents(kysely, lease)).filter(({ id }) => id === taken!.id),
    [],
  );
  await pool.query('update webhook_event set due_at = now() where id = $1', [taken!.id]); // the lease is over
  await eventually(() => receiver.requests() > 0);
  await returnEvent(kysely, taken!, new Date(clock.now().getTime() + 3_600_000));
  receiver.answer(undefined);
  await receiver.events(1);
  assert.deepEqual([...receiver.ids], [taken!.id]);
});

test('what is too old, and what is too much, is dropped, the oldest first', async () => {
  const { app, receiver } = await createTold();
  receiver.answer({ status: 429, headers: { 'retry-after': '3600' } });
  const { kysely, clock } = service.database;
  for (const deviceId of ['first', 'second', 'third'])
    await happen(app, (rowOf) => [goneOf(rowOf('bob'), deviceId)]);
  const kept = async (): Promise<string[]> =>
    (await waiting(app))
      .map(({ data }) => JSON.parse(data).deviceId as string)
      .toSorted((a, b) => a.localeCompare(b));
  assert.deepEqual(await deleteSurplusEvents(kysely, 3), []);
  assert.ok((await deleteSurplusEvents(kysely, 2)).includes('device.gone'));
  assert.deepEqual(await kept(), ['second', 'third']);
  await deleteOldEvents(kysely, new Date(clock.now().getTime() - 60_000));
  assert.deepEqual(await kept(), ['second', 'third']);
  assert.ok((await deleteOldEvents(kysely, new Date(clock.now().getTime() + 1_000))).length >= 2);
  assert.deepEqual(await kept(), []);
});

test('a secret is shown once, where it was made here, and is changed without a gap', async () => {
  const { app, receiver } = await createTold();
  const [made] = receiver.secrets as [string];
  const given = `whsec_${Buffer.alloc(24, 7).toString('base64')}`;
  const put = await app.call('PUT', '/webhook', {
    url: receiver.url,
    events: EVENTS,
    secrets: [made, given],
  });
  assert.equal(put.status, 200);
  receiver.secrets.splice(0, 1, given);
  assert.deepEqual((await app.call('POST', '/webhook/test')).body, { ok: true });
  const read = await app.call('GET', '/webhook');
  assert.deepEqual(read.body, { url: receiver.url, events: EVENTS, changedAt: put.body.changedAt });
  for (const { text } of [put, read]) assert.ok(!text.includes('whsec_'));
  const { rows } = await service.database.pool.query('select w::text as row from webhook w');
  for (const { row } of rows) assert.ok(!row.includes(made) && !row.includes(given));
  receiver.secrets.splice(0, 1, `whsec_${Buffer.alloc(24, 8).toString('base64')}`);
  const { body } = await app.call('POST', '/webhook/test');
  assert.deepEqual([body.ok, body.detail.startsWith('credential: the webhook answers 401')], [false, true]);
});

test('a webhook that can’t be told is refused, naming the field', async () => {
  const app = await service.createApp();
  const url = 'https://chat.customer.example/imid';
  for (const [body, pointer] of [
    [{ url: 'ftp://chat.customer.example', events: EVENTS }, '#/url'],
    [{ url: '', events: EVENTS }, '#/url'],
    [{ url, events: [] }, '#/events'],
    [{ url, events: ['device.gone', 'device.gone'] }, '#/events'],
    [{ url, events: ['webhook.test'] }, '#/events/0'],
    [{ url, events: EVENTS, secrets: [] }, '#/secrets'],
    [{ url, events: EVENTS, secrets: ['whsec_short'] }, '#/secrets/0'],
    [{ url }, '#/events'],
    [{ url, events: EVENTS, more: 1 }, '#/more'],
  ] as const) {
    const refused = await app.call('PUT', '/webhook', body);
    assert.deepEqual([refused.status, refused.body.errors?.[0].pointer], [400, pointer], refused.text);
  }
  const strict = await startService({ on: service });
  const refused = await strict.call('PUT', `${app.path}/webhook`, {
    key: app.apiKey,
    body: { url: 'https://127.0.0.1/', events: EVENTS },
  });
  assert.deepEqual([refused.status, refused.body.errors[0].pointer], [400, '#/url']);
  // It would refuse what the other one may push to.
  await strict.close();
  assert.equal((await app.call('GET', '/webhook')).status, 404);
});

test('the backend of the guide takes what is signed for it, and nothing else', async (t) => {
  const guide = await readFile(new URL('../docs/webhooks.md', import.meta.url), 'utf8');
  const [, code = ''] = /```js\n([^`]+)```/.exec(guide)!;
  const secrets = [`whsec_${Buffer.alloc(32, 1).toString('base64')}`];
  process.env['IMID_WEBHOOK_SECRET'] = secrets[0];
  const library = JSON.stringify(import.meta.resolve('standardwebhooks'));
  const module = code.replace("'standardwebhooks'", library);
  const { server } = (await import(`data:text/javascript,${encodeURIComponent(module)}`)) as {
    server: Server;
  };
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const log = t.mock.method(console, 'log', () => {});
  const app = await service.createApp();
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  await app.call('PUT', '/webhook', { url, events: EVENTS, secrets });
  assert.deepEqual((await app.call('POST', '/webhook/test')).body, { ok: true });
  assert.deepEqual(log.mock.calls[0]!.arguments.slice(1), ['webhook.test', {}]);
  await app.call('PUT', '/webhook', { url, events: EVENTS, secrets: [`${secrets[0]!.slice(0, -4)}AAA=`] });
  assert.match((await app.call('POST', '/webhook/test')).body.detail, /^credential: /);
  assert.equal(log.mock.callCount(), 1);
});

test('a backend is told of what comes for a user who is not there, of dead push tokens, and of pushes given up', async () => {
  const { app, receiver } = await createTold();
  const told = async (type: string): Promise<Json[]> =>
    (await receiver.events(0)).filter((event) => event.type === type);
  const say = (to: object, more: object = {}) =>
    app.call('POST', '/messages', { from: { uid: 'alice' }, to, content: 'hello', ...more });
  const { body: first } = await say({ userId: 'bob' });
  await eventually(async () => (await told('message.offline')).length > 0, 'the first event');
  const [{ data }] = (await told('message.offline')) as [Json];
  assert.deepEqual([data.from.uid, data.to.userId, data.seq, data.devices], ['alice', 'bob', first.seq, 0]);

  const carol = await app.connect({ uid: 'carol' }, { device: 'phone', state: 'foreground' });
  const { body: seen } = await say({ uid: 'carol' });
  await carol.messages(1);
  carol.send({ type: 'ack', seq: seen.seq });
  const bind = (uid: string, pushToken: string) =>
    app.as({ uid }, 'PUT', '/devices/phone', { platform: 'android', provider: 'webhook', pushToken });
  await bind('dead', 'dead');
  await bind('refused', 'refused');
  const sender = createServer((request, response) => {
    void readText(request).then((body) =>
      response.writeHead(body.includes('"token":"dead"') ? 410 : 400).end(),
    );
  }).listen(0, '127.0.0.1');
  await once(sender, 'listening');
  after(() => sender.close().closeAllConnections());
  const url = `http://127.0.0.1:${(sender.address() as AddressInfo).port}/`;
  const put = await app.call('PUT', '/push/webhook', { url, secrets: receiver.secrets });
  assert.equal(put.status, 201, put.text);
  await say({ uid: 'dead' });
  const { body: failed } = await say({ uid: 'refused' });
  await eventually(
    async () => (await told('device.gone')).length > 0 && (await told('push.failed')).length > 0,
    'both',
  );
  assert.deepEqual((await told('device.gone'))[0]!.data, {
    user: { imId: `${app.appId}:dead`, uid: 'dead' },
    deviceId: 'phone',
    provider: 'webhook',
  });
  const { user, reason, ...rest } = (await told('push.failed'))[0]!.data;
  assert.deepEqual(rest, { deviceId: 'phone', provider: 'webhook', messageId: failed.messageId });
  assert.deepEqual([user.uid, reason], ['refused', 'refused: the provider answers 400']);
  const offline = (await told('message.offline')).map((event) => event.data);
  assert.ok(
    offline.every(({ to }) => to.uid !== 'carol'),
    'of who is there nobody is told',
  );
  assert.equal(new Set(offline.map(({ messageId }) => messageId)).size, offline.length);
});

test('a process that has only just started knows who is told of what comes', async () => {
  const { app, receiver } = await createTold();
  const fresh = await startService({ on: service, app: { allowPrivateUrls: true } });
  const body = { from: { uid: 'alice' }, to: { userId: 'bob' }, content: 2 };
  const sent = await fresh.call('POST', `${app.path}/messages`, { key: app.apiKey, body });
  const [event] = await receiver.events(1);
  await fresh.close();
  assert.deepEqual([event?.type, event?.data.messageId], ['message.offline', sent.body.messageId]);
});

test('what is held back while a secret is changed is told when its time has come', async () => {
  const { app, receiver } = await createTold();
  const doNotDisturbUntil = new Date(Date.now() + 2_500).toISOString();
  await app.as({ userId: 'bob' }, 'PUT', '/notifications', { doNotDisturbUntil });
  const message = { from: { uid: 'alice' }, to: { userId: 'bob' }, content: 2 };
  const { body } = await app.call('POST', '/messages', message);
  const changed = { url: receiver.url, events: EVENTS, secrets: receiver.secrets };
  assert.equal((await app.call('PUT', '/webhook', changed)).status, 200);
  const [event] = await receiver.events(1);
  assert.deepEqual([event?.type, event?.data.messageId], ['message.offline', body.messageId]);
});

test('a merger tells of nothing again, and of what comes after it', async () => {
  const { app, receiver } = await createTold(['message.offline']);
  const say = (uid: string) =>
    app.call('POST', '/messages', { from: { uid: 'alice' }, to: { uid }, content: 1 });
  const sent = [await say('guest'), await say('guest'), await say('carol')];
  await receiver.events(3);
  await eventually(
    async () => (await service.database.pool.query('select from push_due')).rowCount === 0,
    'nothing to be due',
  );
  await app.call('POST', `/identities/${app.appId}:carol/merge`, { from: { uid: 'guest' } });
  sent.push(await say('carol'));
  const told = await receiver.events(4);
  assert.deepEqual(
    new Set(told.map(({ data }) => data.messageId)),
    new Set(sent.map(({ body }) => body.messageId)),
  );
  assert.deepEqual([told.length, told.at(-1)!.data.seq], [4, 4]);
});
