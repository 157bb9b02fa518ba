// Tokens that are revoked count no more: on every process, on live sockets, and wherever they are shown again.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { randomUUID } from 'node:crypto';
import { decodeJwt } from 'jose';
import { parse } from 'yaml';
import { makeUuidAt } from '../src/ids.ts';
import { deleteDeadProcesses } from '../src/store/connections.ts';
import { deleteOverRevocations } from '../src/store/revocations.ts';
import { startGate } from './gate.ts';
import {
  createDatabase,
  eventually,
  startService,
  type Client,
  type Json,
  type Service,
  type Tenant,
} from './harness.ts';

/** A process that others can't ring: what it is to learn it finds out by itself. */
const DEAF = { natsUrl: 'nats://127.0.0.1:1', heartbeatMs: 200 };

let first: Service;
let second: Service;
let deaf: Service;
before(async () => {
  first = await startService();
  second = await startService({ on: first });
  deaf = await startService({ on: first, app: DEAF });
});

const jtiOf = (token: string): string => decodeJwt(token).jti!;
const revoke = (app: Tenant, what: object) => app.call('POST', '/tokens/revoke', what);
const issue = async (app: Tenant, what: object): Promise<string> => {
  const answer = await app.call('POST', '/tokens', what);
  assert.equal(answer.status, 201, answer.text);
  return answer.body.token;
};
const codeOf = async (token: string, service = first) =>
  (await service.call('GET', '/v1/me', { key: token })).body.code;

const merge = (app: Tenant, into: string) =>
  app.call('POST', `/identities/${into}/merge`, { from: { uid: 'guest' } });

async function assertRevoked(token: string, query: Record<string, string> = {}): Promise<void> {
  for (const service of [first, second, deaf]) {
    await eventually(async () => (await codeOf(token, service)) === 'token_revoked');
    await assert.rejects(
      service.connect(token, query),
      (error: any) => error.status === 401 && error.body.code === 'token_revoked',
    );
  }
}

async function assertGood(token: string, query: Record<string, string> = {}): Promise<void> {
  for (const service of [first, second, deaf]) {
    assert.equal(await codeOf(token, service), undefined);
    await (await service.connect(token, query)).close();
  }
}

async function assertClosed(clients: Client[]): Promise<void> {
  for (const client of clients) {
    const { code, reason } = await client.waitClosed();
    assert.deepEqual([code, reason], [4502, 'token revoked']);
  }
}

test('one token is revoked by its jti, wherever it is in use; its user’s others are not', async () => {
  const app = await first.createApp();
  const [token, other] = [await issue(app, { uid: 'bob' }), await issue(app, { uid: 'bob' })];
  const live = await Promise.all([first, second, deaf].map((service) => service.connect(token)));
  const kept = await second.connect(other);
  assert.equal((await revoke(app, { jti: jtiOf(token) })).status, 204);
  await assertClosed(live);
  await assertRevoked(token);
  await assertGood(other);
  assert.equal((await kept.say({ uid: 'bob' }, 1)).type, 'sent');
  assert.equal((await revoke(app, { jti: jtiOf(token) })).status, 204);
});

test('a user is revoked with all that was issued to it until then, in either scheme, and with nothing later', async () => {
  const app = await first.createApp();
  const carol = await app.register('carol');
  for (const address of [{ uid: 'carol' }, { userId: 'carol' }, { imId: carol }]) {
    const tokens = [await issue(app, { uid: 'carol' }), await issue(app, { userId: 'carol' })];
    const live = [await first.connect(tokens[0]!), await deaf.connect(tokens[1]!)];
    const others = await issue(app, { uid: 'dave' });
    assert.equal((await revoke(app, address)).status, 204);
    const fresh = await issue(app, address);
    await assertClosed(live);
    for (const token of tokens) await assertRevoked(token);
    await assertGood(fresh);
    await assertGood(others);
  }
});

test('the instant of a revocation is sharp: what is issued before the call is refused, what comes after its answer is good', async () => {
  const app = await first.createApp();
  for (let i = 0; i < 20; i += 1) {
    const service = i % 2 ? first : second;
    const call = (path: string, body: object) =>
      service.call('POST', app.path + path, { key: app.apiKey, body });
    const earlier = (await call('/tokens', { uid: 'bob' })).body.token;
    assert.equal((await call('/tokens/revoke', { uid: 'bob' })).status, 204);
    const later = (await call('/tokens', { uid: 'bob' })).body.token;
    assert.equal(await codeOf(earlier, service), 'token_revoked');
    assert.equal(await codeOf(later, service), undefined);
  }
});

test('a name that nobody has used yet is revoked as well', async () => {
  const app = await first.createApp();
  const token = await issue(app, { uid: 'never-seen' });
  assert.equal((await revoke(app, { uid: 'never-seen' })).status, 204);
  await assertRevoked(token);
});

test('what is revoked stays revoked through an adoption, a renaming and a merger', async () => {
  const app = await first.createApp();
  const token = await issue(app, { uid: 'guest' });
  await revoke(app, { uid: 'guest' });
  const fresh = await issue(app, { uid: 'guest' });
  const imId = await app.register('guest');
  await assertRevoked(token);
  await app.call('PATCH', `/identities/${imId}`, { userId: 'renamed' });
  await assertRevoked(token);
  const alice = await app.register('alice');
  const merged = await app.call('POST', `/identities/${alice}/merge`, { from: { userId: 'renamed' } });
  assert.equal(merged.status, 200, merged.text);
  await assertRevoked(token);
  await assertGood(fresh);
  // And with the user that it is now, all that led to it goes.
  const live = await second.connect(fresh);
  await revoke(app, { userId: 'alice' });
  await assertClosed([live]);
  await assertRevoked(fresh);
});

test('a merger while a connection is open doesn’t hide it from a revocation of what it was opened as', async () => {
  const app = await first.createApp();
  const guest = await issue(app, { uid: 'guest' });
  const live = await deaf.connect(guest);
  await revoke(app, { uid: 'guest' });
  await app.register('alice');
  await app.call('POST', `/identities/${app.appId}:alice/merge`, { from: { uid: 'guest' } });
  await assertClosed([live]);
  await assertRevoked(guest);
});

test('a device is revoked with what is bound to it, and with the token that it is connected with', async () => {
  const app = await first.createApp();
  const bound = await issue(app, { uid: 'bob', deviceId: 'phone' });
  const unbound = await issue(app, { uid: 'bob' });
  const elsewhere = await issue(app, { uid: 'bob' });
  const [live, desk] = [
    await second.connect(unbound, { device: 'phone' }),
    await second.connect(elsewhere, { device: 'desk' }),
  ];
  assert.equal((await revoke(app, { uid: 'bob', deviceId: 'phone' })).status, 204);
  await assertClosed([live]);
  await assertRevoked(bound);
  // Under whichever name of a device it comes again.
  await assertRevoked(unbound, { device: 'other' });
  await assert.rejects(first.connect(elsewhere, { device: 'phone' }), { status: 401 });
  assert.equal((await desk.say({ uid: 'bob' }, 1)).type, 'sent');
  await assertGood(await issue(app, { uid: 'bob', deviceId: 'phone' }));
});

test('a device that is away is revoked with the token that it was here with last', async () => {
  const app = await first.createApp();
  const token = await issue(app, { uid: 'bob' });
  await (await first.connect(token, { device: 'phone' })).close();
  await eventually(
    async () =>
      (await first.database.pool.query('select from device where last_jti = $1', [jtiOf(token)])).rowCount,
  );
  await revoke(app, { uid: 'bob', deviceId: 'phone' });
  await assertRevoked(token, { device: 'laptop' });
});

test('a renewed connection lives by its new token: the old one is revoked without it, the new one with it', async () => {
  const app = await first.createApp();
  const [old, fresh] = [await issue(app, { uid: 'bob' }), await issue(app, { uid: 'bob' })];
  const live = await second.connect(old, { device: 'phone' });
  live.send({ type: 'token', token: fresh });
  assert.equal((await live.say({ uid: 'bob' }, 1)).type, 'sent');
  await revoke(app, { jti: jtiOf(old) });
  await assertRevoked(old);
  assert.equal((await live.say({ uid: 'bob' }, 2)).type, 'sent');
  live.send({ type: 'token', token: old });
  assert.equal((await live.wait((frame) => frame.type === 'error')).code, 'token_revoked');
  assert.equal((await live.say({ uid: 'bob' }, 3)).type, 'sent');
  await revoke(app, { jti: jtiOf(fresh) });
  await assertClosed([live]);
});

test('a fresh token renews a connection of the same user only, whatever its sub says', async () => {
  const app = await first.createApp();
  const live = await first.connect(await issue(app, { uid: 'bob' }));
  const stale = await issue(app, { uid: 'bob' });
  const imId = await app.register('bob');
  await app.call('PATCH', `/identities/${imId}`, { userId: 'robert' });
  const stranger = await issue(app, { uid: 'bob' }); // the name has another holder now
  for (const token of [stale, await issue(app, { imId })]) live.send({ type: 'token', token });
  assert.equal((await live.say({ uid: 'x' }, 1)).type, 'sent');
  assert.ok(!live.frames.some((frame) => frame.type === 'error'));
  live.send({ type: 'token', token: stranger });
  assert.equal((await live.wait((frame) => frame.type === 'error')).code, 'forbidden');
});

test('an app is revoked with everything that was issued in it until then, and no other app', async () => {
  const [app, other] = [await first.createApp(), await first.createApp()];
  const tokens = [await issue(app, { uid: 'bob' }), await issue(app, { uid: 'carol' })];
  const kept = await issue(other, { uid: 'bob' });
  const live = [
    await first.connect(tokens[0]!),
    await second.connect(tokens[1]!),
    await deaf.connect(tokens[0]!),
  ];
  const others = await deaf.connect(kept);
  assert.equal((await revoke(app, { all: true })).status, 204);
  await assertClosed(live);
  for (const token of tokens) await assertRevoked(token);
  await assertGood(await issue(app, { uid: 'bob' }));
  await assertGood(kept);
  assert.equal((await others.say({ uid: 'bob' }, 1)).type, 'sent');
});

test('what was revoked stands in the audit trail, and no token', async () => {
  const app = await first.createApp();
  const token = await issue(app, { uid: 'bob' });
  for (const what of [{ jti: jtiOf(token) }, { uid: 'bob' }, { uid: 'bob', deviceId: 'd' }, { all: true }])
    await revoke(app, what);
  const read = async (query: string) => {
    const { body, text } = await first.call(
      'GET',
      `/v1/audit?appId=${app.appId}&action=token.revoke${query}`,
    );
    assert.ok(!text.includes(token));
    return body.items.map((event: Json) => event.target);
  };
  assert.deepEqual(await read(''), [jtiOf(token), 'user', 'device', 'all']);
  assert.deepEqual(await read('&name=bob'), ['user', 'device']);
});

test('an app can’t revoke what another was issued', async () => {
  const [app, other] = [await first.createApp(), await first.createApp()];
  const token = await issue(other, { uid: 'bob' });
  assert.equal((await revoke(app, { jti: jtiOf(token) })).status, 204); // as for any jti
  await revoke(app, { uid: 'bob' });
  assert.equal((await revoke(app, { imId: `${other.appId}:bob` })).status, 404);
  await assertGood(token);
});

test('what can’t be meant is refused, and names the field', async () => {
  const app = await first.createApp();
  const future = makeUuidAt(new Date(Date.now() + 3_600_000));
  const bad: [object, string][] = [
    [{}, '#'],
    [{ all: false }, '#/all'],
    [{ jti: 'x' }, '#/jti'],
    [{ jti: future }, '#/jti'],
    [{ jti: '00000000-0000-4000-8000-000000000000' }, '#/jti'],
    [{ jti: makeUuidAt(new Date()), uid: 'bob' }, '#'],
    [{ uid: 'bob', userId: 'bob' }, '#'],
    [{ all: true, deviceId: 'phone' }, '#/deviceId'],
    [{ jti: makeUuidAt(new Date()), deviceId: 'phone' }, '#/deviceId'],
    [{ uid: 'bob', deviceId: ' ' }, '#/deviceId'],
    [{ uid: 'bob', more: 1 }, '#/more'],
  ];
  for (const [body, pointer] of bad) {
    const answer = await revoke(app, body);
    assert.deepEqual(
      [answer.status, answer.body.errors?.[0].pointer],
      [400, pointer],
      JSON.stringify(body) + answer.text,
    );
  }
  assert.equal((await revoke(app, { userId: 'nobody' })).status, 404);
});

test('after a restart what is revoked is known from the first moment on', async () => {
  const app = await first.createApp();
  const tokens = [await issue(app, { uid: 'bob' }), await issue(app, { uid: 'carol' })];
  await revoke(app, { jti: jtiOf(tokens[0]!) });
  await revoke(app, { uid: 'carol' });
  const later = await startService({ on: first });
  for (const token of tokens) assert.equal(await codeOf(token, later), 'token_revoked');
  await later.close();
});

test('a revocation that is committed late is not missed', async () => {
  const app = await first.createApp();
  const token = await issue(app, { uid: 'bob' });
  const live = await deaf.connect(token);
  const late = await first.database.pool.connect();
  await late.query('begin');
  await late.query(
    "insert into revocation (app_id, jti, expires_at) values ($1, $2, now() + interval '1 day')",
    [app.appId, jtiOf(token)],
  );
  // Others come and are followed meanwhile.
  const other = await issue(app, { uid: 'carol' });
  const gone = await deaf.connect(other);
  await revoke(app, { jti: jtiOf(other) });
  await assertClosed([gone]);
  assert.equal(await codeOf(token, deaf), undefined);
  await late.query('commit');
  late.release();
  await assertClosed([live]);
});

test('a revocation is kept until the token would be over, and no longer', async () => {
  const service = await startService();
  const app = await service.createApp();
  const { kysely, pool } = service.database;
  const token = await issue(app, { uid: 'bob' });
  await revoke(app, { jti: jtiOf(token) });
  const over = new Date(decodeJwt(token).iat! * 1_000 + 30 * 24 * 3_600_000);
  const { rows } = await pool.query('select expires_at from revocation');
  assert.ok(rows[0].expires_at >= over && rows[0].expires_at.getTime() < over.getTime() + 3_000);
  await deleteOverRevocations(kysely);
  assert.equal((await pool.query('select from revocation')).rowCount, 1);
  await pool.query("update revocation set expires_at = now() - interval '1 s'");
  await deleteOverRevocations(kysely);
  assert.equal((await pool.query('select from revocation')).rowCount, 0);
});

test('what an app has revoked is refused on the process that was asked as soon as it has answered', async () => {
  const app = await first.createApp();
  const token = await app.token({ uid: 'bob' });
  assert.equal(await codeOf(token), undefined);
  assert.equal((await revoke(app, { all: true })).status, 204);
  assert.equal(await codeOf(token), 'token_revoked');
});

test('what is revoked of a user that is being merged just then stays revoked', async () => {
  const app = await first.createApp();
  const bob = await app.register('bob');
  const token = await app.token({ uid: 'guest' });
  assert.equal(await codeOf(token), undefined);
  const blocker = await first.database.pool.connect();
  const isWaiting = async (what: string): Promise<boolean> => {
    const { rows } = await first.database.pool.query(
      `select from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and query like '%' || $1 || '%'`,
      [what],
    );
    return rows.length > 0;
  };
  let merging, revoking;
  try {
    // Holds the merger up when it has the users' rows, and is not committed.
    await blocker.query('begin');
    await blocker.query('select from app where id = $1 for no key update', [app.appId]);
    merging = merge(app, bob);
    await eventually(() => isWaiting('has_aliases'), 'the merger');
    revoking = revoke(app, { uid: 'guest' });
    await eventually(() => isWaiting('merged_into'), 'the revocation');
  } finally {
    await blocker.query('rollback');
    blocker.release();
  }
  assert.equal((await merging).status, 200);
  assert.equal((await revoking).status, 204);
  assert.equal(await codeOf(token), 'token_revoked');
});

test('a device that both had when they were merged is revoked with the token that either was last there with', async () => {
  const app = await first.createApp();
  const carol = await app.register('carol');
  await (await app.connect({ userId: 'carol' }, { device: 'phone' })).close();
  const token = await app.token({ uid: 'guest' });
  await (await first.connect(token, { device: 'phone' })).close();
  const { pool } = first.database;
  await eventually(async () => {
    const { rows } = await pool.query('select from device where app_id = $1 and last_jti is not null', [
      app.appId,
    ]);
    return rows.length === 2;
  });
  const merged = await merge(app, carol);
  assert.ok(merged.status < 300, merged.text);
  assert.equal((await revoke(app, { userId: 'carol', deviceId: 'phone' })).status, 204);
  assert.equal(await codeOf(token), 'token_revoked');
});

test('what a registered user had revoked stays revoked when it is merged into one that gets its imId', async () => {
  const app = await first.createApp();
  await app.register('dora');
  const token = await app.token({ userId: 'dora' });
  assert.equal((await revoke(app, { userId: 'dora' })).status, 204);
  assert.equal(await codeOf(token), 'token_revoked');
  const path = `/identities/${app.appId}:guest/merge`;
  const merged = await app.call('POST', path, { from: { userId: 'dora' } });
  assert.equal(merged.status, 200, merged.text);
  assert.equal(await codeOf(token), 'token_revoked');
});

test('a device is revoked with the token it was last there with, though its process has crashed since', async () => {
  const app = await first.createApp();
  const token = await app.token({ uid: 'erin' });
  const client = await first.connect(token, { device: 'phone' });
  const { pool, kysely } = first.database;
  // As a process leaves it behind that was killed a minute ago.
  const { rows } = await pool.query('select * from connection where app_id = $1', [app.appId]);
  await client.close();
  await eventually(async () => {
    const left = await pool.query('select from connection where app_id = $1', [app.appId]);
    return left.rows.length === 0;
  });
  await pool.query('update device set last_jti = null where app_id = $1', [app.appId]);
  await pool.query(`insert into connection select * from json_populate_record(null::connection, $1)`, [
    { ...rows[0], process_id: randomUUID() },
  ]);
  await deleteDeadProcesses(kysely);
  assert.equal((await revoke(app, { uid: 'erin', deviceId: 'phone' })).status, 204);
  assert.equal(await codeOf(token), 'token_revoked');
});

test('a guest’s connection is closed when it is merged into a user that had its older tokens revoked', async () => {
  const app = await first.createApp();
  const carol = await app.register('carol');
  const token = await app.token({ uid: 'guest' });
  assert.equal((await revoke(app, { userId: 'carol' })).status, 204);
  // A while goes by: what closes connections is forgotten.
  const { pool, kysely } = first.database;
  await pool.query("update revocation set expires_at = now() - interval '1 second' where app_id = $1", [
    app.appId,
  ]);
  await deleteOverRevocations(kysely);
  const later = await startService({ on: first });
  const live = await later.connect(token);
  const path = `${app.path}/identities/${carol}/merge`;
  const merged = await later.call('POST', path, { key: app.apiKey, body: { from: { uid: 'guest' } } });
  assert.equal(merged.status, 200);
  assert.equal(await codeOf(token, later), 'token_revoked');
  assert.equal((await live.waitClosed()).code, 4502);
});

test('a process without news for too long trusts nobody, and does again when the news is back', async () => {
  const { name, connection } = await createDatabase();
  const gate = await startGate(connection);
  after(() => gate.close());
  const service = await startService({
    at: { name, connection: gate.connection },
    app: { maxBlindMs: 1_000, heartbeatMs: 100 },
  });
  const app = await service.createApp();
  const token = await issue(app, { uid: 'bob' });
  const live = await service.connect(token);
  gate.shut();
  assert.equal((await live.waitClosed()).code, 4011);
  for (const asked of [
    service.call('GET', '/v1/me', { key: token }),
    service.call('POST', `${app.path}/tokens`, { key: app.apiKey, body: { uid: 'bob' } }),
  ])
    assert.deepEqual([(await asked).status, (await asked).body.code], [503, 'unavailable']);
  await assert.rejects(service.connect(token), { status: 503 });
  // A key may be among its own that was dropped since.
  assert.equal((await service.call('GET', '/.well-known/jwks.json', { key: '' })).status, 503);
  const { paths } = parse((await service.call('GET', '/openapi.yaml', { key: '' })).text);
  assert.ok('503' in paths['/.well-known/jwks.json'].get.responses);
  const { body } = await service.call('GET', '/readyz', { key: '' });
  assert.match(body.detail, /which tokens count/);
  gate.open();
  await eventually(async () => (await codeOf(token, service)) === undefined);
  await (await service.connect(token)).close();
});
