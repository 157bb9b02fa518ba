// Several processes on one database agree on who is who and where a seq stands.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { eventually, startService, type Service, type Tenant } from './harness.ts';

let first: Service;
let second: Service;
before(async () => {
  first = await startService();
  second = await startService({ on: first });
});

/** The same app, called through the other process. */
const through = (service: Service, app: Tenant) => (method: string, path: string, body?: unknown) =>
  service.call(method, app.path + path, { key: app.apiKey, body });

test('a token of one process is good on the other, and keys are the same', async () => {
  const app = await first.createApp();
  const token = await app.token({ uid: 'bob' });
  assert.equal((await second.call('GET', '/v1/me', { key: token })).body.uid, 'bob');
  const jwks = await Promise.all(
    [first, second].map((service) => service.call('GET', '/.well-known/jwks.json')),
  );
  assert.deepEqual(jwks[0]!.body, jwks[1]!.body);
});

test('both number one inbox without a gap, and what one stores reaches the connections of the other', async () => {
  const app = await first.createApp();
  const token = await app.token({ uid: 'bob' });
  const clients = await Promise.all([
    first.connect(token, { device: 'a' }),
    second.connect(token, { device: 'b' }),
  ]);
  await Promise.all(
    Array.from({ length: 100 }, (_, n) =>
      through(n % 2 ? first : second, app)('POST', '/messages', {
        from: { uid: `s${n % 5}` },
        to: { uid: 'bob' },
        content: n,
      }),
    ),
  );
  for (const client of clients)
    assert.deepEqual(
      (await client.messages(100)).map((message) => message.seq),
      Array.from({ length: 100 }, (_, n) => n + 1),
    );
});

test('a user registered on both at once is one user', async () => {
  const app = await first.createApp();
  for (let n = 0; n < 20; n++) {
    const answers = await Promise.all(
      [first, second].map((service) => through(service, app)('POST', '/identities', { userId: `u${n}` })),
    );
    assert.equal(answers[0]!.body.imId, answers[1]!.body.imId);
    assert.equal(answers[0]!.status + answers[1]!.status, 200 + 201);
  }
});

test('with warm caches on both, a renamed, erased and reused name is right at once on the other', async () => {
  const app = await first.createApp();
  const sender = await second.connect(await app.token({ uid: 'sender' }));
  for (let round = 0; round < 10; round++) {
    await sender.say({ uid: 'bob' }, `warm ${round}`);
    await app.call('PATCH', `/identities/${app.appId}:bob`, { uid: `bob-${round}` });
    await sender.say({ uid: 'bob' }, `to the new bob ${round}`);
    await app.call('DELETE', `/identities/${app.appId}:bob`);
    await sender.say({ uid: 'bob' }, `to the newest bob ${round}`);
    const contentsOf = async (name: string) =>
      (await app.inbox(`${app.appId}:${name}`)).map((message) => message.content);
    assert.deepEqual(await contentsOf('bob'), [`to the newest bob ${round}`]);
    assert.deepEqual((await contentsOf(`bob-${round}`)).at(-1), `warm ${round}`);
    await app.call('DELETE', `/identities/${app.appId}:bob`);
  }
});

test('a user erased on one process loses its sockets on the other', async () => {
  const app = await first.createApp();
  const client = await second.connect(await app.token({ uid: 'bob' }));
  await app.call('DELETE', `/identities/${app.appId}:bob`);
  const sending = client.say({ uid: 'x' }, 1).catch(() => undefined);
  assert.equal((await client.waitClosed()).code, 4502);
  await sending;
  assert.equal((await app.inbox(`${app.appId}:x`)).length, 0);
});

test('a scheme enabled or disabled on one process holds on the other within a second', async () => {
  const app = await first.createApp(['composed']);
  const other = through(second, app);
  assert.equal((await other('POST', '/tokens', { userId: 'x' })).body.code, 'scheme_disabled');
  await app.call('PATCH', '', { schemes: ['registered'] });
  await eventually(
    async () => (await other('POST', '/tokens', { uid: 'x' })).body.code === 'scheme_disabled',
  );
  assert.equal((await other('POST', '/identities', { userId: 'x' })).status, 201);
});

test('a key deleted on one process is refused on the other within a second', async () => {
  const app = await first.createApp();
  const other = through(second, app);
  assert.equal((await other('GET', '')).status, 200);
  const [key] = (await app.call('GET', '/keys')).body.items;
  await first.call('DELETE', `${app.path}/keys/${key.keyId}`);
  await eventually(async () => (await other('GET', '')).status === 401);
});
