// What changes while a push is held back, or under way: nobody is forgotten, and nobody gets what isn't theirs. Two processes.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { eventually, startService, type Answer, type Json, type Service, type Tenant } from './harness.ts';
import { startWebhook } from './push/webhook_stand_in.ts';
import { startReceiver, type Receiver } from './webhook_receiver.ts';

const GRACE_MS = 1_000;
const SECRET = 'whsec_bm90IGEgc2VjcmV0LCBidXQgMzIgYnl0ZXMgbG9uZyE=';
const webhook = await startWebhook({ after, diagnostic: () => {} }, () => SECRET);

let service: Service;
let other: Service;
let app: Tenant;
before(async () => {
  const options = {
    allowPrivateUrls: true,
    pushTiming: { windowMs: 200, graceMs: GRACE_MS },
    pushIntervalMs: 50,
    webhookIntervalMs: 50,
  };
  service = await startService({ app: options });
  other = await startService({ on: service, app: options });
});
beforeEach(async () => {
  app = await service.createApp();
  await app.call('PUT', '/push/webhook', { url: webhook.hook, secrets: [SECRET] });
});

let count = 0;
async function bind(uid: string, deviceId: string): Promise<string> {
  const pushToken = `token-${(count += 1)}`;
  const binding = { platform: 'any', provider: 'webhook', pushToken };
  const { status, text } = await app.as({ uid }, 'PUT', `/devices/${deviceId}`, binding);
  assert.equal(status, 200, text);
  return pushToken;
}
async function send(body: string, more: object = {}): Promise<Json> {
  const message = { from: { uid: 'x' }, to: { uid: 'ann' }, content: 1, push: { body }, ...more };
  const answer = await app.call('POST', '/messages', message);
  assert.equal(answer.status, 201, answer.text);
  return answer.body;
}
const heard = (pushToken: string): string[] =>
  webhook.events
    .filter(({ data }) => data.device.token === pushToken)
    .map(({ data }) => data.notification.body);
const silenced = (pushToken: string): number =>
  webhook.events.filter(
    ({ data }) => data.device.token === pushToken && data.notification.data.cleared === 'true',
  ).length;
const query = async (text: string, ...values: unknown[]): Promise<Json[]> =>
  (await service.database.pool.query(text, values)).rows;
const due = (): Promise<Json[]> => query('select * from push_due where app_id = $1', app.appId);
/** How many statements wait for what another one has locked. */
const waiting = async (): Promise<number> =>
  (
    await query(
      "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    )
  ).length;
const holdBack = (): Promise<unknown> =>
  app.as({ uid: 'ann' }, 'PUT', '/notifications', {
    doNotDisturbUntil: new Date(Date.now() + 3_600_000).toISOString(),
  });
const letGo = (): Promise<unknown> => app.as({ uid: 'ann' }, 'PUT', '/notifications', {});

const isHeld = (): Promise<unknown> =>
  eventually(async () => {
    const [inbox] = await due();
    return inbox && inbox.leased_until === null && inbox.due_at > new Date(Date.now() + 60_000);
  }, 'to be held back');
const isOver = (): Promise<unknown> => eventually(async () => (await due()).length === 0, 'the end');
async function startTold(): Promise<Receiver> {
  const receiver = await startReceiver({ after });
  const { body } = await app.call('PUT', '/webhook', { url: receiver.url, events: ['message.offline'] });
  receiver.secrets.push(...body.secrets);
  return receiver;
}

test('a device that is new has handled nothing, so the others are pushed all the same', async () => {
  await app.call('PATCH', '', { pushWhen: 'user' });
  const phone = await bind('ann', 'phone');
  await holdBack();
  const { at } = await send('hello');
  await isHeld();
  await bind('ann', 'tablet');
  await (await app.connect({ uid: 'ann' }, { device: 'desk' })).close();
  const graceEnd = new Date(at).getTime() + GRACE_MS;
  await eventually(() => Date.now() > graceEnd, 'the time in which another one might have acked');
  await letGo();
  await isOver();
  assert.deepEqual(heard(phone), ['hello']);
});

test('the devices that a user brings along in a merger have handled nothing of the other one’s', async () => {
  await app.call('PATCH', '', { pushWhen: 'user' });
  const phone = await bind('ann', 'phone');
  await bind('guest', 'tablet');
  await holdBack();
  await send('hello');
  await isHeld();
  const merged = await app.call('POST', `/identities/${app.appId}:ann/merge`, { from: { uid: 'guest' } });
  assert.equal(merged.status, 200, merged.text);
  await query("update message set at = at - interval '1 minute' where app_id = $1", app.appId);
  await letGo();
  await isOver();
  assert.deepEqual(heard(phone), ['hello']);
});

test('what a device shows goes from it when it is read elsewhere, also after a merger', async () => {
  const phone = await bind('guest', 'phone');
  await bind('ann', 'tablet');
  await send('of her own');
  const { messageId } = await send('hello', { to: { uid: 'guest' } });
  await isOver();
  const merged = await app.call('POST', `/identities/${app.appId}:ann/merge`, { from: { uid: 'guest' } });
  assert.equal(merged.status, 200, merged.text);
  const desk = await app.connect({ uid: 'ann' }, { device: 'desk' });
  desk.send({ type: 'read', with: { uid: 'x' }, messageId });
  await eventually(() => silenced(phone) === 1, 'the push that takes it away');
  await isOver();
  assert.deepEqual(heard(phone), ['hello', undefined]);
});

test('a backend is told of what was held back, though a new device has come', async () => {
  const receiver = await startTold();
  await bind('ann', 'phone');
  await holdBack();
  const { messageId } = await send('hello');
  await bind('ann', 'tablet');
  await letGo();
  assert.equal((await receiver.events(1))[0]!.data.messageId, messageId);
});

test('a backend is told of all that was held back, however much, also of who it was never told of', async () => {
  await send('before');
  const receiver = await startTold();
  await holdBack();
  for (let n = 1; n <= 150; n++) await send(`${n}`);
  await isHeld();
  await letGo();
  const seqs = (await receiver.events(150)).map(({ data }) => data.seq);
  await isOver();
  assert.deepEqual(
    seqs.toSorted((a: number, b: number) => a - b),
    Array.from({ length: 150 }, (_, n) => n + 2),
  );
});

test('a backend is told at once when who has no device wants to be disturbed again', async () => {
  const receiver = await startTold();
  await holdBack();
  const { messageId } = await send('hello');
  await isHeld();
  await letGo();
  assert.equal((await receiver.events(1))[0]!.data.messageId, messageId);
});

test('a device that is bound while its token is revoked, on another process, is bound no more', async () => {
  const bound = async (): Promise<Json[]> =>
    (await app.call('GET', `/devices?imId=${app.appId}:bob`)).body.items.filter(
      ({ provider }: Json) => provider !== undefined,
    );
  /** What binding waits for, at first and in the end. */
  const locks = [
    `select pg_advisory_xact_lock(hashtextextended('${app.appId} webhook ' || $1, 0))`,
    'select from device where push_token = $1 for update',
  ];
  for (const lock of locks)
    for (const what of ['token', 'user', 'device', 'app']) {
      const pushToken = await bind('ann', 'phone');
      const { body: issued } = await app.call('POST', '/tokens', { uid: 'bob' });
      const { jti } = JSON.parse(Buffer.from(issued.token.split('.')[1], 'base64url').toString());
      const revocations: Record<string, object> = {
        token: { jti },
        user: { uid: 'bob' },
        device: { uid: 'bob', deviceId: 'phone' },
        app: { all: true },
      };
      const bindBob = (): Promise<Answer> =>
        other.call('PUT', '/v1/me/devices/phone', {
          key: issued.token,
          body: { platform: 'any', provider: 'webhook', pushToken },
        });
      const client = await service.database.pool.connect();
      try {
        await client.query('begin');
        await client.query(lock, [pushToken]);
        const binding = bindBob();
        await eventually(async () => (await waiting()) === 1, 'it to wait');
        let isRevoked = false;
        const revoking = app
          .call('POST', '/tokens/revoke', revocations[what])
          .finally(() => (isRevoked = true));
        await eventually(async () => isRevoked || (await waiting()) === 2, 'it to be revoked, or to wait');
        await client.query('commit');
        assert.equal((await revoking).status, 204);
        assert.ok([200, 401].includes((await binding).status));
      } finally {
        client.release();
      }
      assert.deepEqual(await bound(), [], what);
      await eventually(async () => (await bindBob()).status === 401, 'the other process to hear of it');
      assert.deepEqual(await bound(), [], what);
    }
});
