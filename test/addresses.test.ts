// The table of DESIGN.md section 2: what each form of address means in an app of each kind.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { startService, type Service, type Tenant } from './harness.ts';

let service: Service;
before(async () => {
  service = await startService();
});

/** An app in which `reg` is registered and `com` is in use as a uid, whatever its schemes are in the end. */
async function createUsed(schemes: string[]): Promise<{ app: Tenant; imId: string }> {
  const app = await service.createApp();
  const imId = await app.register('reg');
  await app.call('POST', '/messages', { from: { uid: 'com' }, to: { uid: 'com' }, content: 1 });
  await app.call('PATCH', '', { schemes });
  return { app, imId };
}

const resolve = async (app: Tenant, ...addresses: object[]) =>
  (await app.call('POST', '/resolve', { addresses })).body.results;

const codeOf = (result: { error?: { code: string }; imId?: string }) => result.error?.code ?? result.imId;

test('a composed-only app knows uids and composed imIds', async () => {
  const { app, imId } = await createUsed(['composed']);
  const results = await resolve(
    app,
    { uid: 'x' },
    { imId: `${app.appId}:x` },
    { userId: 'reg' },
    { imId },
    { imId: '999:x' },
  );
  assert.deepEqual(results.slice(0, 2), [
    { imId: `${app.appId}:x`, scheme: 'composed', uid: 'x' },
    { imId: `${app.appId}:x`, scheme: 'composed', uid: 'x' },
  ]);
  assert.deepEqual(results.slice(2).map(codeOf), ['scheme_disabled', 'scheme_disabled', 'not_found']);
});

test('an app with both schemes finds every user by every form of address', async () => {
  const { app, imId } = await createUsed(['composed', 'registered']);
  const results = await resolve(
    app,
    { uid: 'com' },
    { uid: 'reg' },
    { uid: 'nobody yet' },
    { imId: `${app.appId}:reg` },
    { userId: 'reg' },
    { imId },
    { userId: 'com' },
    { userId: 'nobody yet' },
    { imId: 'im_00000000000000000000000000' },
    { imId: '999:x' },
  );
  assert.deepEqual(results.map(codeOf), [
    `${app.appId}:com`,
    imId,
    `${app.appId}:nobody yet`,
    imId,
    imId,
    imId,
    'not_found',
    'not_found',
    'not_found',
    'not_found',
  ]);
  assert.deepEqual(results[1], { imId, scheme: 'registered', userId: 'reg' });
});

test('a registered-only app knows userIds and opaque imIds', async () => {
  const { app, imId } = await createUsed(['registered']);
  const results = await resolve(
    app,
    { uid: 'reg' },
    { imId: `${app.appId}:reg` },
    { userId: 'reg' },
    { imId },
    { userId: 'com' },
  );
  assert.deepEqual(results.map(codeOf), ['scheme_disabled', 'scheme_disabled', imId, imId, 'not_found']);
});

test('whom nobody can find is not_found in a look-up and unknown_recipient in a send', async () => {
  const { app } = await createUsed(['composed', 'registered']);
  const ghost = 'im_00000000000000000000000000';
  assert.equal((await app.call('GET', `/identities/${ghost}`)).status, 404);
  assert.equal((await app.call('GET', `/messages?imId=${ghost}`)).status, 404);
  assert.equal((await app.call('POST', '/tokens', { userId: 'nobody yet' })).body.code, 'not_found');
  for (const to of [{ userId: 'nobody yet' }, { imId: ghost }, { imId: '999:x' }]) {
    const answer = await app.call('POST', '/messages', { from: { uid: 'com' }, to, content: 1 });
    assert.deepEqual(
      [answer.status, answer.body.code, answer.body.errors[0].pointer],
      [422, 'unknown_recipient', '#/to'],
    );
  }
  const sender = await app.call('POST', '/messages', {
    from: { userId: 'x' },
    to: { uid: 'com' },
    content: 1,
  });
  assert.deepEqual(
    [sender.status, sender.body.code, sender.body.errors[0].pointer],
    [404, 'not_found', '#/from'],
  );
  const client = await app.connect({ uid: 'com' });
  assert.equal((await client.say({ userId: 'nobody yet' }, 1)).code, 'unknown_recipient');
});

test('a userId never reaches who is a uid only, also right after a message to that uid', async () => {
  const app = await service.createApp();
  const send = async (to: object) => {
    const { status, body } = await app.call('POST', '/messages', { from: { uid: 'a' }, to, content: 1 });
    return status === 201 ? body.seq : body.code;
  };
  for (const seq of [1, 2]) {
    assert.equal(await send({ userId: 'x' }), 'unknown_recipient');
    assert.equal(await send({ uid: 'x' }), seq);
  }
  await app.register('x');
  assert.equal(await send({ userId: 'x' }), 3);
});

test('an imId of another app is like one that does not exist', async () => {
  const { app } = await createUsed(['composed', 'registered']);
  const other = await service.createApp();
  const foreign = await other.register('reg');
  await other.call('POST', '/messages', { from: { uid: 'com' }, to: { uid: 'com' }, content: 1 });
  for (const imId of [foreign, `${other.appId}:com`, `${other.appId}:ghost`]) {
    assert.deepEqual((await resolve(app, { imId })).map(codeOf), ['not_found']);
    assert.equal((await app.call('GET', `/identities/${imId}`)).status, 404);
    assert.equal((await app.call('PATCH', `/identities/${imId}`, { uid: 'stolen' })).status, 404);
    assert.equal((await app.call('DELETE', `/identities/${imId}`)).status, 404);
    assert.equal((await app.call('POST', '/tokens', { imId })).status, 404);
    assert.equal((await app.call('GET', `/contacts/${imId}`)).status, 404);
  }
  assert.equal((await other.inbox(`${other.appId}:com`)).length, 1);
});

test('a scheme that is disabled again stops tokens, sends and connects, and keeps the inboxes whole', async () => {
  const app = await service.createApp();
  await app.register('reg');
  const token = await app.token({ uid: 'com' });
  const client = await service.connect(token);
  await client.say({ uid: 'reg' }, 'before');
  await app.call('PATCH', '', { schemes: ['registered'] });
  assert.equal((await client.say({ userId: 'reg' }, 'after')).code, 'scheme_disabled');
  assert.equal((await app.call('POST', '/tokens', { uid: 'com' })).body.code, 'scheme_disabled');
  assert.equal((await service.call('GET', '/v1/me', { key: token })).body.code, 'scheme_disabled');
  await assert.rejects(service.connect(token), { status: 409 });
  await app.call('PATCH', '', { schemes: ['composed', 'registered'] });
  assert.deepEqual(
    (await app.inbox(`${app.appId}:com`)).map((message) => message.content),
    ['before'],
  );
});

test('the scheme of the viewer decides how everybody is shown', async () => {
  const app = await service.createApp();
  const imId = await app.register('reg');
  const composed = await app.connect({ uid: 'com' });
  const registered = await app.connect({ userId: 'reg' });
  await composed.say({ imId }, 1);
  await registered.say({ uid: 'com' }, 2);
  const [toRegistered] = await registered.messages(1);
  assert.deepEqual([toRegistered.from, toRegistered.to], [{ imId: `${app.appId}:com` }, { imId }]);
  const [toComposed] = await composed.messages(1);
  assert.deepEqual([toComposed.from, toComposed.to], [{ uid: 'reg' }, { uid: 'com' }]);
  const [first] = await app.inbox(imId);
  assert.deepEqual(first.from, { imId: `${app.appId}:com`, uid: 'com' });
  assert.deepEqual(first.to, { imId, userId: 'reg' });
});

test('GET schemes shows both schemes side by side', async () => {
  const { app } = await createUsed(['composed', 'registered']);
  await app.register('second');
  await app.connect({ userId: 'second' });
  await app.call('PATCH', '', { schemes: ['registered'] });
  assert.deepEqual((await app.call('GET', '/schemes')).body, {
    composed: { enabled: false, users: 1, connections: 0 },
    registered: { enabled: true, users: 2, connections: 1 },
  });
});
