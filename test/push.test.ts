// From a message to the push that a device gets: who gets one, when, and what becomes of what goes wrong. Against APNs' strict
// stand-in.

import assert from 'node:assert/strict';
import { after, before, test, type TestContext } from 'node:test';
import { eventually, startService, type Client, type Json, type Service, type Tenant } from './harness.ts';
import { credentials, publicKey } from './push/apns_stage.ts';
import { refuseWith, startApns, type ApnsStandIn } from './push/apns_stand_in.ts';

let apns: ApnsStandIn;
let service: Service;
let second: Service;
let app: Tenant;
before(async () => {
  apns = await startApns({ ...credentials, publicKey }, { now: () => new Date(), streamsAtFirst: 1 });
  const pushTiming = { windowMs: 300, graceMs: 600 };
  const pushEndpoints = { apns: { production: apns.origin, sandbox: apns.origin } };
  service = await startService({ app: { pushEndpoints, pushTiming, pushIntervalMs: 50 } });
  second = await startService({ on: service, app: { pushEndpoints, pushTiming, pushIntervalMs: 50 } });
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

const WAITS = "select from push_due where due_at > now() + interval '1 minute'";

/**
 * An app whose devices have all the time to ack, until it is told to pass. On a database of its own, and so with another token,
 * which Apple would take no sooner than it wants to.
 */
async function createPatient(t: TestContext) {
  const apple = await startApns({ ...credentials, publicKey }, { now: () => new Date(), streamsAtFirst: 1 });
  const pushEndpoints = { apns: { production: apple.origin, sandbox: apple.origin } };
  const pushTiming = { windowMs: 300, graceMs: 3_600_000 };
  const patient = await startService({ app: { pushEndpoints, pushTiming, pushIntervalMs: 50 } });
  t.after(async () => {
    await patient.close();
    await apple.close();
  });
  const tenant = await patient.createApp();
  await tenant.call('PUT', '/push/apns', credentials);
  const holds = (query: string, ...values: unknown[]): Promise<unknown> =>
    eventually(async () => (await patient.database.pool.query(query, values)).rowCount === 1, query);
  return {
    tenant,
    taken: apple.taken,
    holds,
    bind: (uid: string, deviceId: string) =>
      tenant.as({ uid }, 'PUT', `/devices/${deviceId}`, {
        platform: 'ios',
        provider: 'apns',
        pushToken: '9'.repeat(64),
      }),
    send: async (uid: string, more: object = {}): Promise<Json> =>
      (await tenant.call('POST', '/messages', { from: { uid: 'x' }, to: { uid }, content: 1, ...more })).body,
    async ack(client: Client, seq: number): Promise<void> {
      await client.wait((frame) => frame.type === 'message' && frame.seq === seq);
      client.send({ type: 'ack', seq });
      const acked =
        'select from device where acked_seq = $1 union all select from connection where acked_seq = $1';
      await holds(acked, seq);
    },
    /** Until nothing is due any more. */
    async pass(): Promise<void> {
      const { pool } = patient.database;
      await pool.query("update message set at = at - interval '2 hours'");
      await eventually(
        async () => (await pool.query('update push_due set due_at = now()')).rowCount === 0,
        'nothing to be due',
      );
    },
  };
}

test('a device in the foreground gets none once it has acked; in the background it does; nobody does twice', async (t) => {
  const { tenant, taken: pushes, holds, bind: bindPhone, send: say, ack } = await createPatient(t);
  await bindPhone('bea', 'phone');
  const phone = await tenant.connect({ uid: 'bea' }, { device: 'phone' });
  await ack(phone, (await say('bea')).seq);
  phone.send({ type: 'state', state: 'background' });
  await holds('select from connection where not is_foreground');
  await say('bea', { push: { body: 'in the background' } });
  const [only] = await eventually(() => pushes.length > 0 && pushes, 'the push');
  assert.equal(only!.payload['aps'].alert.body, 'in the background');
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
  const pushToken = 'f'.repeat(64);
  const binding = { platform: 'ios', provider: 'apns', pushToken };
  await tenant.as({ uid: 'dot' }, 'PUT', '/devices/tablet', binding);
  const testing = `/push/apns/test?imId=${tenant.appId}:dot`;
  const tested = await tenant.call('POST', testing);
  assert.deepEqual(tested.body, { ok: true, devices: [{ deviceId: 'tablet', ok: true }] });
  // Apple wants one token of a key, from however many processes.
  await second.call('POST', `${tenant.path}${testing}`, { key: tenant.apiKey });
  assert.equal(taken(pushToken).length, 2);
  assert.equal(new Set(taken(pushToken).map(({ headers }) => headers.authorization)).size, 1);
  apns.act(refuseWith(400, 'TopicDisallowed'));
  const { body: faulty } = await tenant.call('POST', testing);
  apns.act(undefined);
  assert.deepEqual([faulty.ok, faulty.devices[0].ok], [false, false]);
  assert.match(faulty.detail, /^credential: .*bundleId/);
  assert.equal((await tenant.call('POST', `${testing}&deviceId=phone`)).status, 404);
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

const alerts = (token: string): Json[] =>
  taken(token)
    .map((each) => each.payload.aps.alert)
    .filter((alert) => alert !== undefined);
const silent = (token: string): Json[] => taken(token).filter((each) => each.payload.aps.alert === undefined);
const settled = (): Promise<boolean> =>
  eventually(
    async () => (await service.database.pool.query('select from push_due')).rowCount === 0,
    'nothing to be due',
  );
const notifications = (uid: string, body: object) => app.as({ uid }, 'PUT', '/notifications', body);

test('a burst is one push per conversation and window: the newest text, how many, and what is unread in all', async () => {
  const token = await bind('eve');
  await send('eve', { from: { uid: 'y' }, push: { body: 'from y' } });
  for (let n = 1; n <= 10; n++) await send('eve', { push: { body: `x ${n}` } });
  await eventually(() => alerts(token).some(({ body }) => body === 'x 10'), 'the newest');
  await settled();
  const pushes = taken(token);
  assert.ok(pushes.length <= 4, `${pushes.length} pushes`);
  const last = pushes.findLast(({ payload }) => payload.aps.alert.body === 'x 10')!;
  assert.deepEqual([last.payload.count, last.payload.aps.badge], ['10', 11]);
  assert.equal(last.payload.sender, `${app.appId}:x`);
  const ids = new Set(pushes.map(({ headers }) => headers['apns-collapse-id']));
  assert.equal(ids.size, 2, 'one for each conversation');
});

test('a foreground device that does not ack in time gets its push after all', async (t) => {
  const { tenant, taken: pushes, holds, bind: bindPhone, send: say, pass } = await createPatient(t);
  await bindPhone('flo', 'phone');
  const phone = await tenant.connect({ uid: 'flo' }, { device: 'phone', state: 'foreground' });
  await say('flo', { push: { body: 'not acked' } });
  await phone.messages(1);
  await holds(WAITS);
  assert.deepEqual(pushes, []);
  await pass();
  assert.equal(pushes.length, 1);
});

test('while one device is in the foreground the others wait for it, where the app says so', async (t) => {
  const { tenant, taken: pushes, holds, bind: bindTablet, send: say, ack, pass } = await createPatient(t);
  await tenant.call('PATCH', '', { pushWhen: 'user' });
  await bindTablet('gus', 'tablet');
  const phone = await tenant.connect({ uid: 'gus' }, { device: 'phone' });
  await ack(phone, (await say('gus')).seq);
  await pass();
  assert.deepEqual(pushes, []);
  // Acked by a device that isn't there any more when the time is over.
  const { seq } = await say('gus');
  await holds(WAITS);
  await ack(phone, seq);
  await phone.close();
  await pass();
  assert.deepEqual(pushes, []);
  // So does a tab, which is no device, for as long as it is there.
  const tab = await tenant.connect({ uid: 'gus' }, {});
  await ack(tab, (await say('gus')).seq);
  await pass();
  assert.deepEqual(pushes, []);
  await tab.close();
  // This one isn't acked.
  await tenant.connect({ uid: 'gus' }, { device: 'phone' });
  await say('gus');
  await pass();
  assert.equal(pushes.length, 1);
});

test('read on one device clears what the others show, and says what is left; so does a recall', async () => {
  const token = await bind('hal');
  const x = await connect('x-hal', {});
  const first = await x.say({ uid: 'hal' }, 1);
  await send('hal', { from: { uid: 'y' } });
  await eventually(() => alerts(token).length === 2, 'both pushes');
  const tablet = await connect('hal', { device: 'tablet' });
  tablet.send({ type: 'read', with: { uid: 'x-hal' }, messageId: first.messageId });
  const [cleared] = await eventually(() => silent(token).length > 0 && silent(token), 'the clearing');
  const shown = taken(token).find(({ payload }) => payload.sender === `${app.appId}:x-hal`)!;
  assert.equal(cleared!.payload.collapseId, shown.headers['apns-collapse-id']);
  assert.equal(cleared!.payload.seq, shown.payload.seq);
  assert.deepEqual([cleared!.payload.cleared, cleared!.payload.aps.badge], ['true', 1]);
  const wrong = await x.say({ uid: 'hal' }, 'oops');
  await eventually(() => alerts(token).length === 3, 'the third push');
  x.send({ type: 'recall', id: 'r', messageId: wrong.messageId });
  await eventually(() => silent(token).length === 2, 'the second clearing');
});

test('a message says what its push is, or that there is none; what was read before it could be pushed is not', async () => {
  const token = await bind('ida');
  await send('ida', { push: false });
  const push = { title: 'T', body: 'B', data: { screen: 'chat' }, priority: 'normal', ttlSeconds: 60 };
  await send('ida', { push });
  const [only] = await eventually(() => taken(token).length > 0 && taken(token), 'the push');
  await settled();
  assert.deepEqual(alerts(token), [{ title: 'T', body: 'B' }]);
  assert.equal(only!.payload.screen, 'chat');
  assert.equal(only!.headers['apns-priority'], '5');
  const bad = await app.call('POST', '/messages', {
    to: { uid: 'ida' },
    content: 1,
    push: { data: { from: 'x' } },
  });
  assert.equal(bad.status, 400);
  assert.match(bad.body.errors[0].pointer, /^#\/push/);
  const forged = await app.call('POST', '/messages', {
    to: { uid: 'ida' },
    content: 1,
    push: { data: { cleared: 'true' } },
  });
  assert.equal(forged.status, 400);
  const faultOf = async (wrong: unknown): Promise<unknown> =>
    (await app.call('POST', '/messages', { to: { uid: 'ida' }, content: 1, push: wrong })).body.errors;
  assert.deepEqual(await faultOf({ title: 1 }), [
    { in: 'body', pointer: '#/push/title', detail: 'must be string' },
  ]);
  assert.deepEqual(await faultOf('no'), [
    { in: 'body', pointer: '#/push', detail: 'must be false or an object' },
  ]);
});

test('pushes say what the template of the device’s language makes of a message, or nothing of it', async () => {
  const tenant = await service.createApp();
  await tenant.call('PUT', '/push/apns', credentials);
  const pushTemplates = {
    default: { title: '{sender}', body: '{text}', hidden: 'Something new' },
    de: { title: '{sender} schreibt', body: '{text} ({count})', hidden: 'Neue Nachricht' },
  };
  assert.equal(
    (await tenant.call('PATCH', '', { pushTemplates: { default: { body: '{name}' } } })).status,
    400,
  );
  assert.deepEqual((await tenant.call('PATCH', '', { pushTemplates })).body.pushTemplates, pushTemplates);
  const devices = [
    ['phone', 'de-AT', 'b'.repeat(64)],
    ['tablet', 'fr', 'c'.repeat(64)],
  ] as const;
  for (const [id, locale, pushToken] of devices)
    await tenant.as({ uid: 'jo' }, 'PUT', `/devices/${id}`, {
      platform: 'ios',
      provider: 'apns',
      pushToken,
      locale,
    });
  await tenant.call('PUT', `/contacts/${tenant.appId}:jo`, {
    items: [{ uid: 'x', displayName: 'Xenia' }],
  });
  const say = (content: unknown) =>
    tenant.call('POST', '/messages', { from: { uid: 'x' }, to: { uid: 'jo' }, content });
  await say({ text: 'hallo' });
  await eventually(() => devices.every(([, , token]) => alerts(token).length === 1), 'both');
  assert.deepEqual(alerts(devices[0][2]), [{ title: 'Xenia schreibt', body: 'hallo (1)' }]);
  assert.deepEqual(alerts(devices[1][2]), [{ title: 'Xenia', body: 'hallo' }]);
  await tenant.call('PATCH', '', { pushShowsText: false });
  await eventually(async () => (await tenant.call('GET', '')).body.pushShowsText === false);
  await say('secret');
  await eventually(() => devices.every(([, , token]) => alerts(token).length === 2), 'both again');
  assert.deepEqual(alerts(devices[0][2])[1], { title: 'Xenia schreibt', body: 'Neue Nachricht' });
});

test('what comes while nobody is to be disturbed is pushed after that; from who is muted, nothing is', async () => {
  const token = await bind('kim');
  const inHours = (hours: number): string => new Date(Date.now() + hours * 3_600_000).toISOString();
  const until = inHours(2);
  const muted = [{ user: { uid: 'pest' } }, { user: { uid: 'bore' }, until: inHours(1) }];
  const put = await notifications('kim', { doNotDisturbUntil: until, muted });
  assert.deepEqual(put.body, {
    quietHours: null,
    doNotDisturbUntil: until,
    showText: true,
    muted,
  });
  await send('kim', { from: { uid: 'pest' } });
  await send('kim', { push: { body: 'held back' } });
  await send('kim', { from: { uid: 'bore' } });
  const { pool } = service.database;
  await eventually(async () => {
    const { rows } = await pool.query<{ due_at: Date }>('select due_at from push_due');
    return rows.length === 1 && Math.abs(rows[0]!.due_at.getTime() - Date.parse(until)) < 10_000;
  }, 'to wait until then');
  assert.deepEqual(alerts(token), []);
  for (const comes of [
    'update muted_peer set until = now() where app_id = $1 and until is not null',
    'update notification_setting set paused_until = now() where app_id = $1',
    'update push_due set due_at = now() where app_id = $1',
  ])
    await pool.query(comes, [app.appId]);
  await eventually(() => alerts(token).length > 0, 'the push');
  await settled();
  assert.deepEqual(
    alerts(token).map(({ body }) => body),
    ['held back'],
    'of who was muted until before that neither',
  );
  const all = { from: '00:00', to: '00:00', timeZone: 'UTC' };
  assert.deepEqual((await notifications('kim', { quietHours: all })).body.quietHours, all);
  assert.deepEqual((await app.as({ uid: 'kim' }, 'GET', '/notifications')).body.muted, []);
  const bad = await notifications('kim', { quietHours: { ...all, timeZone: 'Mars/Olympus' } });
  assert.deepEqual([bad.status, bad.body.errors[0].pointer], [400, '#/quietHours/timeZone']);
  await send('kim');
  await notifications('kim', {});
  await eventually(() => alerts(token).length === 2, 'what was held back, once it is wanted');
  await settled();
});

test('what nobody took is tried again, and given up in the end; a worker that is gone leaves it to others', async () => {
  const token = await bind('lea');
  apns.act(refuseWith(429, 'TooManyRequests'));
  await send('lea');
  const { pool } = service.database;
  await eventually(async () => {
    const { rows } = await pool.query('select push_attempts from device where push_token = $1', [token]);
    return rows[0].push_attempts > 0;
  }, 'a try');
  apns.act(undefined);
  await eventually(() => taken(token).length === 1, 'another try');
  // As a worker leaves it that is killed right after it has taken it.
  await pool.query("update push_due set leased_until = now() + interval '1 second'");
  await pool.query(
    `insert into push_due (app_id, identity_id, due_at, leased_until)
     select app_id, id, now(), now() + interval '1 second' from identity where app_id = $1 and name = 'lea'
     on conflict do nothing`,
    [app.appId],
  );
  await send('lea', { push: { body: 'taken over' } });
  await eventually(() => alerts(token).some(({ body }) => body === 'taken over'), 'the other one');
  await settled();
});

test('a merger pushes nothing again, and loses nothing that was still to be pushed', async () => {
  const tenant = await service.createApp(['composed']);
  await tenant.call('PUT', '/push/apns', credentials);
  const [guest, account] = ['d'.repeat(64), 'e'.repeat(64)];
  const put = (uid: string, pushToken: string) =>
    tenant.as({ uid }, 'PUT', `/devices/${uid}`, { platform: 'ios', provider: 'apns', pushToken });
  await put('guest', guest);
  await put('account', account);
  const say = (uid: string, body: string) =>
    tenant.call('POST', '/messages', { from: { uid: 'x' }, to: { uid }, content: 1, push: { body } });
  await say('guest', 'old');
  await eventually(() => taken(guest).length === 1);
  await settled();
  await tenant.as({ uid: 'guest' }, 'PUT', '/notifications', { doNotDisturbUntil: '2099-01-01T00:00:00Z' });
  await say('guest', 'held back');
  await tenant.call('POST', `/identities/${tenant.appId}:account/merge`, { from: { uid: 'guest' } });
  assert.ok((await tenant.as({ uid: 'account' }, 'GET', '/notifications')).body.doNotDisturbUntil);
  await tenant.as({ uid: 'account' }, 'PUT', '/notifications', {});
  await eventually(() => alerts(account).length > 0 && alerts(guest).length > 1, 'both devices');
  await settled();
  assert.equal(alerts(account).at(-1)!.body, 'held back');
  await say('account', 'new');
  await eventually(
    () => alerts(account).at(-1)!.body === 'new' && alerts(guest).at(-1)!.body === 'new',
    'the next',
  );
});
