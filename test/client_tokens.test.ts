// The client library and its token: asked for once at a time, renewed before it is over, told apart from a lost network.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { issueToken, watch, watchUser } from './clients.ts';
import { eventually, startService, type Service, type Tenant } from './harness.ts';

let service: Service;
let app: Tenant;
before(async () => {
  service = await startService();
  app = await service.createApp();
});

const tokenFor = (uid: string, ttlSeconds: number): Promise<string> => issueToken(app, uid, ttlSeconds);

test('a token is renewed before it is over, on the same connection', async () => {
  const { client, reasons, seen } = watchUser(service, app, {}, { getToken: () => tokenFor('renewer', 3) });
  await client.connect();
  await eventually(() => reasons.length === 3);
  assert.deepEqual(reasons, ['first', 'expiring', 'expiring']);
  await client.send({ uid: 'renewer' }, 'with the third');
  assert.deepEqual([seen.state.map(({ state }) => state), seen.error], [['connecting', 'open'], []]);
});

test('a token that can’t be renewed in time ends the connection, and the next one has another', async () => {
  let isDown = true;
  const { client, reasons, wait, seen } = watchUser(
    service,
    app,
    {},
    {
      getToken: ({ reason }) =>
        reason === 'expiring' && isDown ? Promise.reject(new Error('down')) : tokenFor('unlucky', 2),
    },
  );
  await client.connect();
  const { error } = await wait('state', ({ state }) => state === 'waiting');
  assert.deepEqual([error!.code, error!.closeCode], ['token_expired', 4001]);
  isDown = false;
  await wait('state', ({ state }) => state === 'open', seen.state.length);
  assert.ok(reasons.includes('expired'));
  assert.equal(seen.error[0]!.code, 'no_token');
  assert.equal((seen.error[0]!.cause as Error).message, 'down');
});

test('a token of before, that is over, is told from no network, and asked for anew', async () => {
  const old = await tokenFor('stale', 1);
  await eventually(async () => (await service.call('GET', '/v1/me', { key: old })).status === 401);
  const { client, reasons, seen } = watchUser(
    service,
    app,
    {},
    {
      getToken: ({ reason }) => (reason === 'first' ? Promise.resolve(old) : tokenFor('stale', 60)),
    },
  );
  await client.connect();
  assert.deepEqual(reasons, ['first', 'expired']);
  const { error } = seen.state.find(({ state }) => state === 'waiting')!;
  assert.equal(error!.code, 'token_expired');
});

test('a token that is not taken though it is fresh ends it: the app has to do something', async () => {
  const { client, seen } = watchUser(service, app, {}, { getToken: () => Promise.resolve('ey.no.token') });
  await assert.rejects(client.connect(), { code: 'unauthorized' });
  assert.deepEqual(
    seen.state.map(({ state }) => state),
    ['connecting', 'closed'],
  );
  const bound = watchUser(service, app, { uid: 'bound', deviceId: 'phone' }, { deviceId: 'tablet' });
  await assert.rejects(bound.client.connect(), { code: 'forbidden' });
});

test('a user whose tokens are revoked is closed and stays so, until the app connects with another', async () => {
  const { client, wait, reasons } = watchUser(service, app, { uid: 'revoked' });
  await client.connect();
  await app.call('POST', '/tokens/revoke', { uid: 'revoked' });
  const { error } = await wait('state', ({ state }) => state === 'closed');
  assert.deepEqual([error!.code, error!.closeCode], ['token_revoked', 4502]);
  const sending = client.send({ uid: 'revoked' }, 'later');
  await client.connect();
  await sending;
  assert.deepEqual(reasons, ['first', 'refused']);
  // Meanwhile, and so not told by a close.
  await client.close();
  await app.call('POST', '/tokens/revoke', { uid: 'revoked' });
  await client.connect();
  assert.deepEqual(reasons, ['first', 'refused', 'refused']);
});

test('nobody logged in, and a getToken that fails or is late, are told', async () => {
  const nobody = watchUser(service, app, {}, { getToken: () => Promise.resolve(null) });
  await assert.rejects(nobody.client.connect(), { code: 'no_token' });
  let tries = 0;
  const late = watchUser(
    service,
    app,
    {},
    {
      timeoutMs: 500,
      getToken: () => {
        tries += 1;
        if (tries === 1) throw new Error('at once');
        if (tries === 2) return new Promise(() => {});
        return tries === 3 ? Promise.resolve('<html>Bad gateway') : app.token({ uid: 'late' });
      },
    },
  );
  await late.client.connect();
  const told = late.seen.state.filter(({ state }) => state === 'waiting').map(({ error }) => error!);
  assert.deepEqual(
    told.map(({ code }) => code),
    ['no_token', 'no_token', 'no_token'],
  );
  assert.match(told[1]!.message, /took too long/);
  assert.match(told[2]!.message, /is no token/);
});

test('after a logout, a token that comes late is dropped, and nothing of the user is left', async () => {
  const store = new Map<string, string>();
  const asked = Promise.withResolvers<string>();
  let aborted = false;
  const { client, reasons, seen } = watch({
    url: service.url,
    store,
    getToken({ signal }) {
      signal.addEventListener('abort', () => (aborted = true));
      return reasons.length === 1 ? asked.promise : app.token({ uid: 'next' });
    },
  });
  const connecting = client.connect();
  const sending = client.send({ uid: 'x' }, 'never');
  await eventually(() => reasons.length === 1 && store.size === 1);
  await client.logout();
  asked.resolve(await app.token({ uid: 'former' }));
  await assert.rejects(connecting, { code: 'logged_out' });
  await assert.rejects(sending, { code: 'logged_out' });
  assert.deepEqual([aborted, store.size, client.state, client.me], [true, 0, 'closed', undefined]);
  assert.deepEqual((await client.connect()).me, { scheme: 'composed', uid: 'next' });
  assert.deepEqual([reasons, seen.sent], [['first', 'first'], []]);
  assert.deepEqual(await app.inbox(`${app.appId}:x`), []);
});

test('whatever needs a token at the same time asks for it once', async () => {
  const { client, reasons } = watchUser(service, app, { uid: 'many' });
  const [page, profile] = await Promise.all([client.contacts(), client.profile(), client.connect()]);
  assert.deepEqual([page.items, profile.scheme, reasons], [[], 'composed', ['first']]);
  await app.call('POST', '/tokens/revoke', { uid: 'many' });
  const both = await Promise.all([client.history(), client.history({ after: 0, limit: 1 })]);
  assert.deepEqual(
    both.map(({ items }) => items),
    [[], []],
  );
  assert.deepEqual(reasons, ['first', 'refused']);
  await assert.rejects(client.history({ limit: 0 }), { code: 'invalid_request' });
});
