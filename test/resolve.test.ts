// Resolving many addresses at once, former names among them, and what another process sees of a change.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import type { QueryConfig } from 'pg';
import { parseAppId, type Name } from '../src/ids.ts';
import { createLookups } from '../src/identity/lookups.ts';
import { eventually, startService, type Json, type Service, type Tenant } from './harness.ts';

let service: Service;
let other: Service;
before(async () => {
  service = await startService();
  other = await startService({ on: service });
});

async function resolve(
  on: Service,
  app: Tenant,
  addresses: object[],
  formerNames?: boolean,
): Promise<Json[]> {
  const body = { addresses, ...(formerNames !== undefined && { formerNames }) };
  const answer = await on.call('POST', `${app.path}/resolve`, { key: app.apiKey, body });
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer.body.results as Json[];
}

/** Asks both processes before the act, so that their caches are warm, and waits for what the other one answers then. */
async function seenByBoth(
  app: Tenant,
  address: object,
  act: () => Promise<unknown>,
  expected: (result: Json) => boolean,
): Promise<void> {
  for (const on of [service, other]) for (let i = 0; i < 3; i++) await resolve(on, app, [address]);
  await act();
  const [here] = await resolve(service, app, [address]);
  assert.ok(expected(here), `the process that did it sees it at once: ${JSON.stringify(here)}`);
  await eventually(async () => expected((await resolve(other, app, [address]))[0]));
}

test('1000 addresses of all forms and schemes are answered in order, by at most two queries', async () => {
  const app = await service.createApp();
  const imIds = await Promise.all(Array.from({ length: 50 }, (_, i) => app.register(`r${i}`)));
  const addresses = Array.from({ length: 1000 }, (_, i) => {
    const k = i % 50;
    return [
      { uid: `r${k}` },
      { userId: `r${k}` },
      { imId: imIds[k] },
      { imId: `${app.appId}:r${k}` },
      { uid: `nobody${k}` },
      { userId: `nobody${k}` },
      { imId: `9${app.appId}:r${k}` },
    ][i % 7]!;
  });
  let queries = 0;
  const { pool } = service.database;
  const query = pool.query.bind(pool);
  pool.query = ((first: { name: string }, ...rest: unknown[]) => {
    if (first.name.startsWith('find_')) queries += 1;
    return (query as (...all: unknown[]) => unknown)(first, ...rest);
  }) as typeof pool.query;
  const results = await resolve(service, app, addresses);
  assert.equal(queries, 1);
  assert.deepEqual(await resolve(service, app, addresses, true), results);
  assert.equal(queries, 3);
  pool.query = query;
  results.forEach((result, i) => {
    const k = i % 50;
    if (i % 7 < 4) assert.deepEqual(result, { imId: imIds[k], scheme: 'registered', userId: `r${k}` });
    else if (i % 7 === 4)
      assert.deepEqual(result, { imId: `${app.appId}:nobody${k}`, scheme: 'composed', uid: `nobody${k}` });
    else assert.equal(result.error.code, 'not_found');
  });
});

test('look-ups that arrive together are one query, and what was just asked is none', async () => {
  const app = await service.createApp();
  const appId = parseAppId(app.appId)!;
  const names = Array.from({ length: 30 }, (_, i) => `u${i}` as Name);
  await Promise.all(names.map((name) => app.register(name)));
  const { database } = service;
  let queries = 0;
  const query = ((...args: Parameters<typeof database.pool.query>) => {
    queries += 1;
    return database.pool.query(...args);
  }) as typeof database.pool.query;
  const lookups = createLookups({
    database: { ...database, pool: { query } as typeof database.pool },
    onChange: () => {},
  });
  const targetOf = (name: Name) => ({ by: 'name' as const, name, registeredOnly: false });
  const found = await Promise.all(names.map((name) => lookups.findRecent(appId, [targetOf(name)])));
  assert.deepEqual(
    found.map(([user]) => user?.name),
    names,
  );
  assert.equal(queries, 1);
  await Promise.all(names.map((name) => lookups.findRecent(appId, [targetOf(name)])));
  assert.equal(queries, 1);
  lookups.forget();
  await lookups.findRecent(appId, [targetOf(names[0]!)]);
  assert.equal(queries, 2);
});

test('what was being looked up while somebody changed is answered, and not remembered', async () => {
  const app = await service.createApp();
  const appId = parseAppId(app.appId)!;
  await app.register('u');
  const { database } = service;
  const { promise: open, resolve: openGate } = Promise.withResolvers<void>();
  let queries = 0;
  const query = (async (config: QueryConfig) => {
    queries += 1;
    const answer = await database.pool.query(config);
    await open;
    return answer;
  }) as unknown as typeof database.pool.query;
  const lookups = createLookups({
    database: { ...database, pool: { query } as typeof database.pool },
    onChange: () => {},
  });
  const targets = [{ by: 'name' as const, name: 'u' as Name, registeredOnly: false }];
  const finding = lookups.findRecent(appId, targets);
  await eventually(() => queries === 1);
  lookups.forget();
  openGate();
  assert.equal((await finding)[0]?.name, 'u');
  await lookups.findRecent(appId, targets);
  assert.equal(queries, 2);
});

test('a composed-only app is answered without the database', async () => {
  const app = await service.createApp(['composed']);
  await resolve(service, app, []);
  const { pool } = service.database;
  const query = pool.query.bind(pool);
  let queries = 0;
  pool.query = ((...args: Parameters<typeof query>) => {
    queries += 1;
    return query(...args);
  }) as typeof pool.query;
  const [result] = await resolve(service, app, [{ uid: 'anybody' }]);
  pool.query = query;
  assert.deepEqual([queries, result.imId], [0, `${app.appId}:anybody`]);
});

test('an adoption, a rename, a merger, an erasure and a disabled scheme are seen by another process', async () => {
  const app = await service.createApp();
  await app.call('POST', '/messages', { from: { uid: 'x' }, to: { uid: 'a' }, content: 1 });
  let imId = '';
  await seenByBoth(
    app,
    { uid: 'a' },
    async () => (imId = await app.register('a')),
    (result) => result.imId === imId && result.scheme === 'registered',
  );
  await seenByBoth(
    app,
    { imId },
    () => app.call('PATCH', `/identities/${imId}`, { userId: 'b' }),
    (result) => result.userId === 'b',
  );
  const target = await app.register('target');
  await seenByBoth(
    app,
    { uid: 'b' },
    () => app.call('POST', `/identities/${target}/merge`, { from: { imId } }),
    (result) => result.imId === target,
  );
  await seenByBoth(
    app,
    { imId: target },
    () => app.call('DELETE', `/identities/${target}`),
    (result) => result.error?.code === 'not_found',
  );
  await seenByBoth(
    app,
    { uid: 'x' },
    () => service.call('PATCH', `/v1/apps/${app.appId}`, { body: { schemes: ['registered'] } }),
    (result) => result.error?.code === 'scheme_disabled',
  );
});

test('a merger in a composed-only app is seen by another process', async () => {
  const app = await service.createApp(['composed']);
  await seenByBoth(
    app,
    { uid: 'guest' },
    () => app.call('POST', `/identities/${app.appId}:account/merge`, { from: { uid: 'guest' } }),
    (result) => result.uid === 'account',
  );
});

test('a process with warm caches never routes to an erased inbox, nor to the name’s former holder', async () => {
  const app = await service.createApp();
  const bob = await app.register('bob');
  const send = async (to: object, content: unknown): Promise<Json> =>
    (
      await other.call('POST', `${app.path}/messages`, {
        key: app.apiKey,
        body: { from: { uid: 'x' }, to, content },
      })
    ).body;
  for (const to of [{ uid: 'bob' }, { userId: 'bob' }, { imId: bob }])
    assert.ok((await send(to, 'warm')).seq);
  await app.call('DELETE', `/identities/${bob}`);
  assert.equal((await send({ imId: bob }, 1)).code, 'unknown_recipient');
  assert.equal((await send({ userId: 'bob' }, 1)).code, 'unknown_recipient');
  assert.equal((await send({ uid: 'bob' }, 'to the next bob')).seq, 1);
  assert.deepEqual(
    (await app.inbox(`${app.appId}:bob`)).map(({ content }) => content),
    ['to the next bob'],
  );
});

test('formerNames: a name that nobody has leads to who had it last, by all forms of a name', async () => {
  const app = await service.createApp();
  const imId = await app.register('first');
  for (const userId of ['second', 'third']) await app.call('PATCH', `/identities/${imId}`, { userId });
  const now = { imId, scheme: 'registered', userId: 'third' };
  const former = { ...now, formerName: true };
  const addresses = [
    { uid: 'first' },
    { userId: 'second' },
    { imId: `${app.appId}:first` },
    { userId: 'third' },
    { uid: 'never' },
    { userId: 'never' },
  ];
  const [never, nobody] = (await resolve(service, app, addresses)).slice(4);
  assert.equal(never.scheme, 'composed');
  assert.equal(nobody.error.code, 'not_found');
  assert.deepEqual(await resolve(service, app, addresses, true), [
    former,
    former,
    former,
    now,
    never,
    nobody,
  ]);
  assert.deepEqual((await resolve(service, app, [{ uid: 'first' }]))[0].uid, 'first');

  const next = await app.register('first');
  assert.deepEqual(await resolve(service, app, [{ uid: 'first' }], true), [
    { imId: next, scheme: 'registered', userId: 'first' },
  ]);
  await app.call('DELETE', `/identities/${imId}`);
  const erased = await resolve(service, app, [{ userId: 'second' }], true);
  assert.equal(erased[0].error.code, 'not_found');
});
