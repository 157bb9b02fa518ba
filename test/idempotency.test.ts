// Asking again with the same Idempotency-Key: the same answer, and nothing is done twice; on one process, on two, and
// where one of them is gone.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { resealAnswers } from '../src/store/kept_answers.ts';
import { resealAll } from '../src/store/sealed.ts';
import type { AppId } from '../src/ids.ts';
import { createBox } from '../src/tokens/box.ts';
import { createKeptAnswers, type Claim, type KeptAnswers } from '../src/tokens/kept_answers.ts';
import { startGate, type Gate } from './gate.ts';
import {
  ADMIN_KEY,
  createDatabase,
  eventually,
  startService,
  type Answer,
  type Service,
  type Tenant,
} from './harness.ts';
import { SECRET } from './logs.ts';

const LEASE_MS = 600;

let gate: Gate;
let service: Service;
let second: Service;
let app: Tenant;
before(async () => {
  const { name, connection } = await createDatabase();
  gate = await startGate(connection);
  service = await startService({
    at: { name, connection: gate.connection },
    app: { idempotencyLeaseMs: LEASE_MS },
  });
  second = await startService({ on: service });
  app = await service.createApp();
});
after(() => gate.close());

interface Asking {
  on?: Service;
  key?: string;
  headers?: Record<string, string>;
}

const ask = (path: string, body: unknown, idempotencyKey: string, more: Asking = {}): Promise<Answer> =>
  (more.on ?? service).call('POST', path, {
    key: more.key ?? app.apiKey,
    body,
    headers: { 'idempotency-key': idempotencyKey, ...more.headers },
  });
const isReplay = (answer: Answer): boolean => answer.headers.get('idempotency-replayed') === 'true';
const query = async (text: string, values: unknown[] = []) =>
  (await second.database.pool.query(text, values)).rows;
const outcomeOf = ({ status, body }: Answer) => [status, body.code];

test('every POST that creates answers a repeat with the same bytes, status and type, and does nothing', async () => {
  await app.register('carol');
  const merged = await app.register('dave');
  const asked: [string, unknown][] = [
    ['/keys', { name: 'from May on' }],
    ['/identities', { userId: 'bob' }],
    ['/tokens', { uid: 'alice' }],
    ['/messages', { from: { uid: 'alice' }, to: { uid: 'bob' }, content: 1 }],
    ['/messages', { from: { uid: 'alice' }, to: [{ uid: 'bob' }, { userId: 'nobody' }], content: 2 }],
    ['/identities/rename', { renames: [{ imId: merged, userId: 'david' }] }],
    [`/identities/${merged}/merge`, { from: { userId: 'carol' } }],
    ['/tokens/revoke', { uid: 'alice' }],
  ];
  for (const [path, body] of asked) {
    const key = randomUUID();
    const first = await ask(app.path + path, body, key);
    assert.ok(first.status < 300, `${path}: ${first.text}`);
    assert.equal(first.headers.get('idempotency-replayed'), null, path);
    for (const on of [service, second]) {
      const again = await ask(app.path + path, body, key, { on });
      assert.deepEqual([again.status, again.text], [first.status, first.text], path);
      assert.equal(again.headers.get('content-type'), first.headers.get('content-type'), path);
      assert.ok(isReplay(again), path);
      assert.notEqual(again.headers.get('x-request-id'), first.headers.get('x-request-id'), path);
    }
  }
  assert.equal((await app.call('GET', '/keys')).body.items.length, 2);
  assert.equal((await app.inbox(`${app.appId}:bob`)).length, 2);
});

test('a repeated app is made once, its key is shown again, and no secret lies open in the database', async () => {
  const create = () =>
    ask('/v1/apps', { name: 'shop', schemes: ['composed'] }, 'of-the-admin', { key: ADMIN_KEY });
  const first = await create();
  const again = await create();
  assert.deepEqual([again.status, again.text, isReplay(again)], [201, first.text, true]);
  assert.equal(
    (await service.call('GET', `/v1/apps/${first.body.appId}`, { key: again.body.apiKey })).status,
    200,
  );
  const token = await ask(`${app.path}/tokens`, { uid: 'alice' }, 'token-of-alice');
  const rows = await query('select k::text as row from kept_answer k');
  assert.ok(rows.length > 2);
  for (const secret of [first.body.apiKey, token.body.token, 'of-the-admin', 'token-of-alice', 'shop'])
    for (const spelling of [
      secret,
      Buffer.from(secret).toString('hex'),
      Buffer.from(secret).toString('base64url'),
    ])
      assert.ok(!rows.some(({ row }) => row.includes(spelling)), secret);
});

test('without a key, each request is done', async () => {
  const send = () =>
    app.call('POST', '/messages', { from: { uid: 'a' }, to: { uid: 'keyless' }, content: 1 });
  const [one, other] = [await send(), await send()];
  assert.notEqual(one.body.messageId, other.body.messageId);
});

test('a key in quotes and the same one bare are one key; an escape in quotes stands for its character', async () => {
  for (const [quoted, bare] of [
    ['"abc"', 'abc'],
    [String.raw`"a\\b"`, String.raw`a\b`],
  ] as const) {
    const first = await ask(`${app.path}/tokens`, { uid: quoted }, quoted);
    assert.equal(first.status, 201);
    assert.equal((await ask(`${app.path}/tokens`, { uid: quoted }, bare)).text, first.text);
  }
  assert.equal((await ask(`${app.path}/tokens`, { uid: 'x' }, String.raw`"\""`)).status, 201);
  assert.equal((await ask(`${app.path}/tokens`, { uid: 'x' }, 'x'.repeat(255))).status, 201);
});

test('a key that is none is refused with the name of the header, and so is one where a body is streamed', async () => {
  for (const bad of [
    '',
    '""',
    '"',
    '"a',
    'a"',
    'a b',
    '"a b"',
    'a, b',
    '"a";v=1',
    String.raw`"\a"`,
    'é',
    'x'.repeat(256),
  ]) {
    const answer = await ask(`${app.path}/tokens`, { uid: 'x' }, bad);
    assert.deepEqual(outcomeOf(answer), [400, 'invalid_request'], bad);
    assert.deepEqual(
      [answer.body.errors[0].in, answer.body.errors[0].pointer],
      ['header', '#/idempotency-key'],
    );
  }
  for (const [path, type, body] of [
    ['/identities/import', 'application/x-ndjson', '{"userId":"streamed"}\n'],
    ['/messages/import', 'application/x-ndjson', '{}\n'],
    ['/identities/rename', 'text/csv', 'name,newName\nbob,streamed\n'],
  ] as const) {
    const answer = await ask(app.path + path, body, 'k', { headers: { 'content-type': type } });
    assert.deepEqual([answer.status, answer.body.errors[0].pointer], [400, '#/idempotency-key'], path);
  }
  assert.deepEqual((await app.call('GET', '/identities?userId=streamed')).body.items, []);
});

test('the same key for another body, operation or path is refused, and the first answer stays', async () => {
  const first = await ask(`${app.path}/tokens`, { uid: 'one' }, 'taken');
  for (const [path, body] of [
    ['/tokens', { uid: 'two' }],
    ['/tokens', '{"uid": "one"}'],
    ['/tokens?x=1', { uid: 'one' }],
    ['/identities', { uid: 'one' }],
  ] as const) {
    const answer = await ask(app.path + path, body, 'taken');
    assert.deepEqual(outcomeOf(answer), [422, 'idempotency_mismatch'], path);
    assert.equal(answer.body.errors[0].pointer, '#/idempotency-key');
  }
  assert.equal((await ask(`${app.path}/tokens`, { uid: 'one' }, 'taken')).text, first.text);
});

test('keys of two apps, and of the admin, never meet; two API keys of one app share theirs', async () => {
  const other = await service.createApp();
  const first = await ask(`${app.path}/identities`, { userId: 'shared' }, 'same');
  const elsewhere = await ask(`${other.path}/identities`, { userId: 'shared' }, 'same', {
    key: other.apiKey,
  });
  assert.deepEqual([elsewhere.status, isReplay(elsewhere)], [201, false]);
  const made = await service.call('POST', '/v1/apps', {
    body: { name: 'a', schemes: ['composed'] },
    headers: { 'idempotency-key': 'same' },
  });
  assert.equal(made.status, 201);
  const { body: rotated } = await app.call('POST', '/keys', { name: 'rotated' });
  const again = await ask(`${app.path}/identities`, { userId: 'shared' }, 'same', { key: rotated.apiKey });
  assert.deepEqual([again.text, isReplay(again)], [first.text, true]);
  const { body: reader } = await app.call('POST', '/keys', { name: 'reads', scopes: ['read'] });
  const refused = await ask(`${app.path}/identities`, { userId: 'shared' }, 'same', { key: reader.apiKey });
  assert.deepEqual(outcomeOf(refused), [403, 'forbidden']);
});

test('an API key that expires is not shown one that outlives it, which another was given', async () => {
  const tenant = await service.createApp();
  const path = `${tenant.path}/keys`;
  const expiresAt = new Date(Date.now() + 60_000).toISOString();
  const brief = await tenant.call('POST', '/keys', { name: 'brief', expiresAt });
  const first = await ask(path, { name: 'lasting' }, 'shared', { key: tenant.apiKey });
  assert.equal(first.status, 201);
  const other = await ask(path, { name: 'lasting' }, 'shared', { key: brief.body.apiKey });
  assert.deepEqual(outcomeOf(other), [422, 'idempotency_mismatch']);
});

test('an error that is the answer is given again; of a request that nobody judged nothing is kept', async () => {
  const send = { from: { uid: 'a' }, to: { userId: 'late' }, content: 1 };
  for (const [path, body, status] of [
    ['/messages', send, 422],
    ['/tokens', { uid: ' ' }, 400],
    ['/tokens', { userId: 'late' }, 404],
    ['/identities', { userId: 'alice', adopt: false }, 409],
  ] as const) {
    const key = randomUUID();
    const first = await ask(app.path + path, body, key);
    assert.equal(first.status, status);
    if (status === 404) await app.register('late');
    const again = await ask(app.path + path, body, key);
    assert.deepEqual([again.status, again.text, isReplay(again)], [status, first.text, true]);
    assert.match(again.headers.get('content-type')!, /^application\/problem\+json/);
  }
  assert.equal((await ask(`${app.path}/tokens`, '{', 'unread')).status, 400);
  assert.equal((await ask(`${app.path}/tokens`, { uid: 'a' }, 'unread', { key: 'imk_no' })).status, 401);
  assert.equal((await ask(`${app.path}/tokens`, { uid: 'a' }, 'unread')).status, 201);
});

/** Keeps every statement that changes users of the app waiting, until it is called. */
async function lockUsers(): Promise<() => Promise<void>> {
  const lock = await second.database.pool.connect();
  await lock.query('begin');
  await lock.query('lock table identity in exclusive mode');
  return async () => {
    await lock.query('rollback');
    lock.release();
  };
}

const isClaimed = () =>
  eventually(
    async () => (await query('select from kept_answer where sealed is null')).length === 1,
    'a claim',
  );

test('of many at once on two processes one is done; the others are told to wait, however long that takes', async () => {
  const unlock = await lockUsers();
  const register = (on: Service) => ask(`${app.path}/identities`, { userId: 'raced' }, 'raced', { on });
  const answers: Answer[] = [];
  const racing = [0, 1, 2, 3].map(async (n) => answers.push(await register(n % 2 ? service : second)));
  await eventually(() => answers.length === 3);
  for (const refused of answers) {
    assert.deepEqual(outcomeOf(refused), [409, 'conflict']);
    assert.equal(refused.body.errors[0].pointer, '#/idempotency-key');
  }
  await unlock();
  await Promise.all(racing);
  const again = await register(second);
  assert.deepEqual([again.text, isReplay(again)], [answers.find(({ status }) => status === 201)!.text, true]);
});

test('a request that takes longer than a key is held for keeps it', async () => {
  const unlock = await lockUsers();
  const slow = ask(`${app.path}/identities`, { userId: 'slow' }, 'slow');
  await isClaimed();
  const [{ expires_at: end }] = (await query('select expires_at from kept_answer where sealed is null')) as [
    { expires_at: Date },
  ];
  await eventually(async () => (await query('select where clock_timestamp() > $1', [end])).length === 1);
  assert.equal((await ask(`${app.path}/identities`, { userId: 'slow' }, 'slow', { on: second })).status, 409);
  await unlock();
  assert.equal((await slow).status, 201);
});

test('a process that was lost under way blocks nobody for longer than its lease', async () => {
  // What such a process leaves behind.
  await query(
    `insert into kept_answer (app_id, key_hash, fingerprint, claim_id, expires_at)
     values ($1, sha256('lost'), sha256($2), gen_random_uuid(), clock_timestamp() + interval '1 hour')`,
    [app.appId, `POST ${app.path}/identities\n{"userId":"lost"}`],
  );
  const send = () => ask(`${app.path}/identities`, { userId: 'lost' }, 'lost');
  assert.equal((await send()).status, 409);
  await query(`update kept_answer set expires_at = clock_timestamp() where key_hash = sha256('lost')`);
  const answer = await send();
  assert.deepEqual([answer.status, isReplay(answer)], [201, false]);
});

test('a process that comes back after its lease changes nothing of the answer of who has the key by then', async () => {
  const options = { database: second.database, box: createBox(SECRET), log: assert.fail };
  const [late, next] = [
    createKeptAnswers({ ...options, leaseMs: 50 }),
    createKeptAnswers({ ...options, leaseMs: 60_000 }),
  ];
  late.stop(); // renews nothing, as if it stood still
  after(next.stop);
  const claim = (by: KeptAnswers) => by.claim(Number(app.appId) as AppId, 'late', Buffer.alloc(32));
  const lost = (await claim(late)) as Claim;
  const held = await eventually(() => claim(next).catch(() => undefined));
  await late.keep(lost, { status: 201, headers: {}, body: 'late' });
  await assert.rejects(claim(next), { code: 'conflict' });
  await late.release(lost);
  await assert.rejects(claim(next), { code: 'conflict' });
  const answer = { status: 201, headers: {}, body: 'next' };
  await next.keep(held as Claim, answer);
  await late.keep(lost, { ...answer, body: 'late' });
  assert.deepEqual(await claim(next), answer);
});

test('who hangs up under way gets the answer when it asks again', async () => {
  const unlock = await lockUsers();
  const path = `${app.path}/identities`;
  const over = new AbortController();
  const hungUp = fetch(service.url + path, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${app.apiKey}`,
      'content-type': 'application/json',
      'idempotency-key': 'hung-up',
    },
    body: '{"userId":"hung up"}',
    signal: over.signal,
  });
  await isClaimed();
  over.abort();
  await assert.rejects(hungUp);
  await unlock();
  const answer = await eventually(async () => {
    const tried = await ask(path, { userId: 'hung up' }, 'hung-up');
    return tried.status === 409 ? undefined : tried;
  });
  assert.deepEqual([answer.status, isReplay(answer)], [201, true]);
});

test('while the database is gone a request with a key is unavailable, which is not kept', async () => {
  const send = () => ask(`${app.path}/identities`, { userId: 'outage' }, 'outage');
  const unlock = await lockUsers();
  const cut = send();
  await isClaimed();
  gate.shut();
  assert.deepEqual(outcomeOf(await cut), [503, 'unavailable']);
  assert.deepEqual(outcomeOf(await send()), [503, 'unavailable']);
  await unlock();
  gate.open();
  // The key could not be given back, so it is free when the lease is over.
  const answer = await eventually(async () => {
    const tried = await send();
    return tried.status < 300 ? tried : undefined;
  });
  assert.equal(isReplay(answer), false);
  assert.equal((await send()).text, answer.text);
});

test('an unavailable gives the key back at once', async () => {
  const full = await startService({ on: second, app: { maxQueuedMessages: 0 } });
  const send = (on: Service) =>
    ask(`${app.path}/messages`, { from: { uid: 'a' }, to: { uid: 'b' }, content: 1 }, 'full', { on });
  assert.deepEqual(outcomeOf(await send(full)), [503, 'unavailable']);
  const again = await send(second);
  assert.deepEqual([again.status, isReplay(again)], [201, false]);
  assert.equal((await send(full)).text, again.text);
  await full.close();
});

test('an answer is kept for as long as is configured, then the key is as good as new', async () => {
  const lasting = await startService({ on: second, app: { idempotencyMs: 3_600_000 } });
  const issue = (uid: string) => ask(`${app.path}/tokens`, { uid }, 'brief', { on: lasting });
  const first = await issue('one');
  assert.equal((await issue('two')).status, 422);
  const ofKey = `where key_hash = sha256('brief')`;
  const [{ seconds }] = (await query(
    `select extract(epoch from expires_at - clock_timestamp())::float8 as seconds from kept_answer ${ofKey}`,
  )) as [{ seconds: number }];
  assert.ok(seconds > 3_500 && seconds <= 3_600, String(seconds));
  await query(`update kept_answer set expires_at = clock_timestamp() ${ofKey}`);
  const answer = await issue('two');
  assert.equal(answer.status, 201);
  assert.notEqual(answer.text, first.text);
  await lasting.close();
});

test('an answer that is kept no longer goes', async () => {
  const brief = await startService({ on: second, app: { idempotencyMs: 200 } });
  assert.equal((await ask(`${app.path}/tokens`, { uid: 'one' }, 'gone-soon', { on: brief })).status, 201);
  await eventually(
    async () => (await query(`select from kept_answer where key_hash = sha256('gone-soon')`)).length === 0,
    'the row to go',
  );
  await brief.close();
});

test('an answer that was kept before the secret was rotated is given afterwards', async () => {
  const issue = (on: Service) => ask(`${app.path}/tokens`, { uid: 'alice' }, 'rotated', { on });
  const first = await issue(second);
  const former = 'secret-of-the-tests';
  const secret = 'another-secret-of-the-tests';
  const { reseal } = createBox(secret, former);
  const { kysely } = second.database;
  assert.ok((await resealAnswers(kysely, reseal)) > 1);
  await resealAll(kysely, reseal);
  const rotated = await startService({ on: second, app: { secret } });
  const again = await issue(rotated);
  assert.deepEqual([again.text, isReplay(again)], [first.text, true]);
  await rotated.close();
  const back = createBox(former, secret);
  await resealAnswers(kysely, back.reseal);
  await resealAll(kysely, back.reseal);
});

test('an act stands in the audit trail once, however often its answer is given', async () => {
  const other = await service.createApp();
  for (let n = 0; n < 3; n++)
    assert.equal(
      (await ask(`${other.path}/keys`, { name: 'k' }, 'audited', { key: other.apiKey })).status,
      201,
    );
  const { body } = await service.call('GET', `/v1/audit?appId=${other.appId}`);
  assert.equal(body.items.filter(({ action }: { action: string }) => action === 'key.create').length, 1);
});

test('an act that could not be written into the audit trail gives its key back', async () => {
  const lock = await second.database.pool.connect();
  const make = () => ask(`${app.path}/keys`, { name: 'unaudited' }, 'unaudited');
  await lock.query('alter table audit_event rename to audit_event_away');
  assert.deepEqual(outcomeOf(await make()), [503, 'unavailable']);
  await lock.query('alter table audit_event_away rename to audit_event');
  lock.release();
  const again = await make();
  assert.deepEqual([again.status, isReplay(again)], [201, false]);
});

test('with an app go the answers that were kept for it', async () => {
  const other = await service.createApp();
  await ask(`${other.path}/tokens`, { uid: 'x' }, 'gone', { key: other.apiKey });
  await service.call('DELETE', other.path);
  assert.deepEqual(await query('select from kept_answer where app_id = $1', [other.appId]), []);
});
