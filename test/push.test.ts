// From a message to the push that a device gets: who gets one, when, and what becomes of what goes wrong. Against APNs' strict
// stand-in.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { decide, GRACE_MS } from '../src/routing/push_decision.ts';
import { eventually, startService, type Json, type Service, type Tenant } from './harness.ts';
import { credentials, publicKey } from './push/apns_stage.ts';
import { refuseWith, startApns, type ApnsStandIn } from './push/apns_stand_in.ts';

let apns: ApnsStandIn;
let service: Service;
let second: Service;
let app: Tenant;
before(async () => {
  apns = await startApns({ ...credentials, publicKey }, { now: () => new Date(), streamsAtFirst: 1 });
  const pushEndpoints = { apns: { production: apns.origin, sandbox: apns.origin } };
  service = await startService({ app: { pushEndpoints, pushIntervalMs: 50 } });
  second = await startService({ on: service, app: { pushEndpoints, pushIntervalMs: 50 } });
  app = await service.createApp();
  const put = await app.call('PUT', '/push/apns', credentials);
  assert.equal(put.status, 201, put.text);
});
after(() => apns.close());

let count = 0;
/** A user with one bound device, whose push token it gives back. */
async function bind(uid: string, deviceId = 'phone'): Promise<string> {
  const pushToken = (count += 1).toString(16).padStart(64, '0');
  const { status, text } = await service.call('PUT', `/v1/me/devices/${deviceId}`, {
    key: await app.token({ uid }),
    body: { platform: 'ios', provider: 'apns', pushToken },
  });
  assert.equal(status, 200, text);
  return pushToken;
}
const send = async (uid: string, more: object = {}): Promise<Json> => {
  const { status, body } = await app.call('POST', '/messages', {
    from: { uid: 'x' },
    to: { uid },
    content: 1,
    ...more,
  });
  assert.equal(status, 201);
  return body;
};
const taken = (token: string): Json[] => apns.taken.filter((each: Json) => each.token === token);
const connect = async (uid: string, query: Record<string, string>) =>
  service.connect(await app.token({ uid }), query);

test('who is offline gets a push for what it was sent, once, however many processes look', async () => {
  const token = await bind('ann');
  await app.call('POST', '/messages', { from: { uid: 'ann' }, to: { uid: 'x' }, content: 'of her own' });
  const { messageId } = await send('ann', { push: { title: 'x', body: 'hello' } });
  const [first] = await eventually(() => taken(token).length > 0 && taken(token), 'the push');
  assert.deepEqual(first!.payload.aps.alert, { title: 'x', body: 'hello' });
  assert.equal(first!.payload.aps.badge, 1);
  assert.match(JSON.stringify(first!.payload), new RegExp(messageId));
  await send('ann');
  await eventually(() => taken(token).length === 2, 'the next one');
  const due = async () => (await second.database.pool.query('select from push_due')).rowCount;
  await eventually(async () => (await due()) === 0, 'nothing to be due');
  assert.equal(taken(token).length, 2);
});

test('a device in the foreground gets none once it has acked; in the background it does; nobody does twice', async () => {
  const token = await bind('bea');
  const phone = await connect('bea', { device: 'phone' });
  const { seq } = await send('bea');
  await phone.messages(1);
  phone.send({ type: 'ack', seq });
  phone.send({ type: 'state', state: 'background' });
  await eventually(async () => {
    const { body } = await app.call('GET', `/presence?imId=${app.appId}:bea`);
    return body.items[0].foreground === false;
  });
  await send('bea', { push: { body: 'in the background' } });
  const [only] = await eventually(() => taken(token).length > 0 && taken(token), 'the push');
  assert.equal(only!.payload.aps.alert.body, 'in the background');
});

test('a token that the provider calls dead is unbound; what it refuses is shown as a failure', async () => {
  const token = await bind('cid');
  apns.act(refuseWith(410, 'Unregistered', Date.now() + 60_000));
  await send('cid');
  const devices = async () => (await app.call('GET', `/devices?imId=${app.appId}:cid`)).body.items;
  await eventually(async () => (await devices())[0].provider === undefined, 'the end of the binding');
  apns.act(undefined);
  assert.ok(token);
});

test('credentials are checked, listed without themselves, sealed, and deleted; without them pushes fail visibly', async () => {
  const tenant = await service.createApp();
  const bad = await tenant.call('PUT', '/push/apns', { ...credentials, keyId: 'x' });
  assert.deepEqual([bad.status, bad.body.errors[0].pointer], [400, '#/keyId']);
  assert.equal((await tenant.call('PUT', '/push/pigeon', {})).status, 400);
  assert.equal((await tenant.call('PUT', '/push/apns', credentials)).status, 201);
  assert.equal((await tenant.call('PUT', '/push/apns', credentials)).status, 200);
  const listed = await tenant.call('GET', '/push');
  assert.deepEqual(
    listed.body.items.map(({ provider }: Json) => provider),
    ['apns'],
  );
  assert.doesNotMatch(listed.text, /BEGIN|ABC123/);
  const { rows } = await service.database.pool.query('select sealed from push_credential');
  assert.ok(rows.every(({ sealed }) => !/BEGIN|ABC123/.test(sealed)));
  assert.deepEqual((await tenant.call('POST', '/push/apns/test')).body, { ok: true });
  assert.equal((await tenant.call('DELETE', '/push/apns')).status, 204);
  assert.equal((await tenant.call('POST', '/push/apns/test')).status, 404);
  await service.call('PUT', '/v1/me/devices/phone', {
    key: await tenant.token({ uid: 'dan' }),
    body: { platform: 'android', provider: 'fcm', pushToken: 'a' },
  });
  const { body: sent } = await tenant.call('POST', '/messages', {
    from: { uid: 'x' },
    to: { uid: 'dan' },
    content: 1,
  });
  const failures = async () => (await tenant.call('GET', '/push/failures')).body.items;
  const [failure] = await eventually(async () => (await failures()).length > 0 && failures(), 'the failure');
  assert.deepEqual(
    [failure.imId, failure.deviceId, failure.provider, failure.messageId, failure.reason],
    [`${tenant.appId}:dan`, 'phone', 'fcm', sent.messageId, 'credential: the app has none for this provider'],
  );
});

test('the table of who gets a push when', () => {
  const now = new Date('2026-01-01T00:00:00Z');
  const ago = (ms: number): Date => new Date(now.getTime() - ms);
  const old = [{ seq: 5, at: ago(GRACE_MS) }];
  const fresh = [{ seq: 5, at: ago(GRACE_MS - 1) }];
  for (const isForeground of [undefined, false, true])
    for (const hasForeground of isForeground ? [true] : [false, true])
      for (const pushWhen of ['device', 'user'] as const)
        for (const messages of [old, fresh])
          for (const behindSeq of [4, 5])
            for (const maxAcked of [4, 5]) {
              const decision = decide(
                { isForeground, hasForeground, pushWhen, messages, behindSeq, maxAcked, retryAt: undefined },
                now,
              );
              const isLenient = pushWhen === 'user' && hasForeground;
              const expected =
                behindSeq === 5
                  ? 'nothing'
                  : isLenient && maxAcked === 5
                    ? 'drop'
                    : (isForeground || isLenient) && messages === fresh
                      ? 'wait'
                      : 'push';
              assert.equal(
                decision.do,
                expected,
                JSON.stringify({ isForeground, hasForeground, pushWhen, behindSeq, maxAcked }),
              );
              if (decision.do === 'wait') assert.deepEqual(decision.until, new Date(now.getTime() + 1));
            }
  const retryAt = new Date(now.getTime() + 5);
  const base = {
    isForeground: undefined,
    hasForeground: false,
    pushWhen: 'device',
    messages: old,
    behindSeq: 4,
    maxAcked: 4,
  } as const;
  assert.deepEqual(decide({ ...base, retryAt }, now), { do: 'wait', until: retryAt });
  assert.deepEqual(decide({ ...base, retryAt: now }, now), { do: 'push', seq: 5 });
});
