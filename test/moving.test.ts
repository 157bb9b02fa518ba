// Moving an app between the schemes, both ways and with users renumbered on the way, under traffic that goes on all the
// time: every message arrives once and in order, whichever address it was sent to, and no socket is closed.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import type { Scheme } from '../src/ids.ts';
import { checkArrivals } from './arrivals.ts';
import { eventually, startService, type Json, type Service, type Tenant } from './harness.ts';
import { createTransfers, NDJSON } from './imports.ts';
import { openTraffic, type Traffic, type User } from './traffic.ts';

const USERS = 12;
const BOTH: Scheme[] = ['composed', 'registered'];

let services: [Service, Service];
before(async () => {
  const first = await startService();
  services = [first, await startService({ on: first })];
});

const through = (service: Service, app: Tenant, method: string, path: string, body?: unknown) =>
  service.call(method, app.path + path, { key: app.apiKey, body });

async function tokenFrom(service: Service, app: Tenant, address: object): Promise<string> {
  const { status, body } = await through(service, app, 'POST', '/tokens', address);
  assert.equal(status, 201, JSON.stringify(body));
  return body.token as string;
}

const isDisabled = async (service: Service, app: Tenant, address: object): Promise<boolean> =>
  (await through(service, app, 'POST', '/tokens', address)).body.code === 'scheme_disabled';

/** Hands the open sockets of a user tokens for `address`, one by one, each issued by the other process. */
async function moveOver(traffic: Traffic, user: User, scheme: Scheme, address: object): Promise<void> {
  await traffic.during(async () => {
    for (const device of user.devices) {
      const issuer = services.find((service) => service !== device.service)!;
      const token = await tokenFrom(issuer, traffic.app, address);
      assert.equal(await traffic.renew(user, device, scheme, token), undefined);
    }
  });
}

const { importLines } = createTransfers(() => services[0]);

async function rehearseImport(app: Tenant, lines: object[]): Promise<Json> {
  const { status, body } = await services[0].call('POST', `${app.path}/identities/import?dryRun=true`, {
    key: app.apiKey,
    body: lines.map((line) => JSON.stringify(line)).join('\n'),
    headers: { 'content-type': NDJSON },
  });
  assert.equal(status, 200, JSON.stringify(body));
  return body;
}

/** Users and connections of each scheme, the connections of both processes. */
/** Waits until so many of the connections are of the scheme: what the other process shows of its own comes a moment later. */
async function countUse(
  app: Tenant,
  scheme: Scheme,
  connections: number,
): Promise<Record<Scheme, { users: number; connections: number }>> {
  return eventually(async () => {
    const use = await readUse(app);
    return use[scheme].connections === connections ? use : undefined;
  }, `${connections} connections of the ${scheme} scheme`);
}

async function readUse(app: Tenant): Promise<Record<Scheme, { users: number; connections: number }>> {
  const { body } = await through(services[0], app, 'GET', '/schemes');
  const use = (scheme: Scheme) => ({
    users: body[scheme].users as number,
    connections: body[scheme].connections as number,
  });
  return { composed: use('composed'), registered: use('registered') };
}

const contactsOf = async (token: string): Promise<Json[]> =>
  (await services[1].call('GET', '/v1/me/contacts', { key: token })).body.items;

/** What is refused once a scheme is disabled, to whoever has not moved; its sockets stay open. */
async function checkRefusals(app: Tenant, late: User, address: object): Promise<void> {
  for (const service of services) assert.ok(await isDisabled(service, app, address));
  for (const { client } of late.devices)
    for (const to of [address, { imId: late.imId }])
      assert.equal((await client.say(to, 'refused')).code, 'scheme_disabled');
  const sent = await app.call('POST', '/messages', { from: address, to: address, content: 'refused' });
  assert.equal(sent.body.code, 'scheme_disabled');
}

test('from composed to registered, some users under new names', async () => {
  const app = await services[0].createApp(['composed']);
  const uids = Array.from({ length: USERS }, (_, i) => (i < 8 ? `u-${i}` : `guest-${i}`));
  const traffic = await openTraffic({
    app,
    services,
    scheme: 'composed',
    users: uids.map((name) => ({ name })),
  });
  const { users } = traffic;
  const [pioneer, second] = users as [User, User];
  const late = users.at(-1)!;
  const connections = users.flatMap((user) => user.devices).length;
  const tokenOfSecond = await app.token({ uid: 'u-1' });
  await app.call('PUT', `/contacts/${app.appId}:u-1`, { items: [{ uid: 'u-2' }, { uid: 'guest-10' }] });

  // The other process learns of it within a second. Until then a client that is refused there asks again.
  let early = '';
  await traffic.useSchemes(BOTH, async () => {
    if (early === '') {
      await traffic.changeNames(new Map([[pioneer, { name: 'u-0', isRegistered: true }]]), async () => {
        pioneer.imId = await app.register('u-0');
      });
      early = await tokenFrom(services[0], app, { userId: 'u-0' });
    }
    const device = pioneer.devices.find(({ service }) => service === services[1])!;
    const refusal = await traffic.renew(pioneer, device, 'registered', early);
    assert.ok([undefined, 'scheme_disabled'].includes(refusal));
    return refusal === undefined;
  });
  assert.deepEqual(await countUse(app, 'registered', 1), {
    composed: { users: USERS - 1, connections: connections - 1 },
    registered: { users: 1, connections: 1 },
  });

  const lines = uids.map((uid, i) => ({ userId: `u-${i}`, ...(uid === `u-${i}` ? {} : { adopt: { uid } }) }));
  const { adoptions, ...counts } = await traffic.during(() => rehearseImport(app, lines));
  assert.deepEqual(counts, {
    lines: USERS,
    created: 0,
    adopted: USERS - 1,
    existing: 1,
    refused: 0,
    refusals: [],
  });
  assert.deepEqual(
    adoptions.map(({ uid, userId }: Json) => uid ?? userId),
    uids.slice(1),
  );

  const renamed = users.map((user, i) => [user, { name: `u-${i}`, isRegistered: true }] as const);
  await traffic.changeNames(new Map(renamed), async () => {
    for (const [i, { imId, status }] of (await importLines(app, lines)).entries()) {
      assert.equal(status, i === 0 ? 'existing' : 'adopted');
      users[i]!.imId = imId;
    }
  });
  assert.deepEqual(await contactsOf(tokenOfSecond), [{ uid: 'u-2' }, { uid: 'u-10' }]);

  for (const user of users)
    if (user !== late) await moveOver(traffic, user, 'registered', { imId: user.imId });
  const use = await countUse(app, 'composed', late.devices.length);
  assert.equal(use.registered.users, USERS);
  assert.equal(use.registered.connections, connections - late.devices.length);
  assert.deepEqual(await contactsOf(await app.token({ imId: second.imId })), [
    { imId: users[2]!.imId },
    { imId: users[10]!.imId },
  ]);

  await traffic.useSchemes(['registered'], () => isDisabled(services[1], app, { uid: 'u-1' }));
  await checkRefusals(app, late, { uid: 'u-11' });
  await moveOver(traffic, late, 'registered', { userId: 'u-11' });
  await countUse(app, 'registered', connections);

  await app.call('PATCH', '', { schemes: BOTH });
  await checkArrivals(traffic);
});

test('from registered to composed, with names that change hands half-way', async () => {
  const app = await services[0].createApp(['registered']);
  const named = Array.from({ length: USERS }, (_, i) => `u-${i}`);
  const traffic = await openTraffic({
    app,
    services,
    scheme: 'registered',
    users: await Promise.all(named.map(async (name) => ({ name, imId: await app.register(name) }))),
  });
  const { users } = traffic;
  const late = users.at(-1)!;
  const connections = users.flatMap((user) => user.devices).length;
  const nameOf = (user: User) => traffic.names.now.get(user)!.name;

  await traffic.useSchemes(BOTH, async () => !(await isDisabled(services[1], app, { uid: 'u-1' })));
  for (const user of users.slice(0, USERS / 2))
    await moveOver(traffic, user, 'composed', { uid: nameOf(user) });

  // A swap, a ring across both halves, and one whose name is given up.
  const moves = { 1: 'u-2', 2: 'u-1', 5: 'u-6', 6: 'u-7', 7: 'u-5', 8: 'v-8' };
  const renames = Object.entries(moves).map(([i, userId]) => ({ imId: users[Number(i)]!.imId, userId }));
  const renamed = Object.entries(moves).map(
    ([i, name]) => [users[Number(i)]!, { name, isRegistered: true }] as const,
  );
  await traffic.changeNames(new Map(renamed), async () => {
    assert.deepEqual((await app.call('POST', '/identities/rename', { renames })).body, { renamed: 6 });
  });

  for (const user of users.slice(USERS / 2, -1))
    await moveOver(traffic, user, 'composed', { uid: nameOf(user) });
  const use = await countUse(app, 'composed', connections - late.devices.length);
  assert.equal(use.registered.users, USERS);
  assert.equal(use.registered.connections, late.devices.length);

  await traffic.useSchemes(['composed'], () => isDisabled(services[1], app, { userId: 'u-1' }));
  await checkRefusals(app, late, { userId: 'u-11' });
  await moveOver(traffic, late, 'composed', { uid: 'u-11' });
  await countUse(app, 'composed', connections);

  await app.call('PATCH', '', { schemes: BOTH });
  await checkArrivals(traffic);
});
