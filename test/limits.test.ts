// How much one connection, one user and one app may take up: what happens at each limit, that others don't notice, and
// that the README names each limit as it is.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { readConfig } from '../src/config.ts';
import { ADMIN_KEY, call, connect, createDatabase, eventually, Refused, startService } from './harness.ts';
import type { Service } from './harness.ts';
import { makeDirectory, Process } from './process.ts';

async function refusal(connecting: Promise<unknown>): Promise<Refused> {
  const refused = await connecting.catch((error: unknown) => error);
  assert.ok(refused instanceof Refused);
  assert.deepEqual([refused.status, refused.body.code], [429, 'rate_limited']);
  assert.ok(Number(refused.headers['retry-after']) > 0);
  return refused;
}

const start = (limits: object): Promise<Service> => startService({ app: { limits } });

test('a flood of frames is closed with 4010, others don’t notice, and a burst below the limit passes', async () => {
  const service = await start({ framesPerSecond: 50, frameBurst: 100 });
  const app = await service.createApp();
  const [flooding, bursting, other] = await Promise.all(
    ['flooding', 'bursting', 'other'].map((uid) => app.connect({ uid })),
  );
  const send = (id: number) =>
    JSON.stringify({ type: 'send', id: `n${id}`, to: { uid: 'sink' }, content: id });
  for (let n = 1; n <= 1_000; n++) flooding!.send(send(n));
  for (let n = 1; n <= 100; n++) bursting!.send(send(n));
  assert.equal((await other!.say({ uid: 'sink' }, 'in between')).type, 'sent');
  assert.deepEqual(await flooding!.waitClosed(), { code: 4010, reason: 'sends too fast' });
  await bursting!.wait((frame) => frame.type === 'sent' && frame.id === 'n100');
  // It fills up again with time.
  await new Promise((resolve) => setTimeout(resolve, 200));
  for (let n = 101; n <= 105; n++) bursting!.send(send(n));
  await bursting!.wait((frame) => frame.type === 'sent' && frame.id === 'n105');
  assert.equal((await other!.say({ uid: 'sink' }, 'after')).type, 'sent');
  assert.deepEqual([bursting!.closed, other!.closed], [undefined, undefined]);
  const stored = await app.inbox(`${app.appId}:sink`);
  assert.ok(stored.length <= 100 + 105 + 2, 'of the flood no more is stored than may come at once');
  await service.close();
});

test('a user at its limit is refused with 429 until one of its connections ends; others and its own devices are not', async () => {
  const service = await start({ connectionsPerUser: 2 });
  const app = await service.createApp();
  const token = await app.token({ uid: 'bob' });
  const phone = await service.connect(token, { device: 'phone' });
  await service.connect(token);
  await refusal(service.connect(token));
  await refusal(service.connect(token, { device: 'laptop' }));
  const again = await service.connect(token, { device: 'phone' });
  assert.equal((await phone.waitClosed()).code, 4503);
  await app.connect({ uid: 'alice' });
  await again.close();
  await eventually(() => service.connect(token).catch(() => undefined), 'room for one more');
  await refusal(service.connect(token));
  await service.close();
});

test('an app at its limit is refused with 429 until one of its connections ends; another app is not', async () => {
  const service = await start({ connectionsPerApp: 2 });
  const [app, other] = [await service.createApp(), await service.createApp()];
  const first = await app.connect({ uid: 'a' });
  await app.connect({ uid: 'b' });
  await refusal(app.connect({ uid: 'c' }));
  await other.connect({ uid: 'c' });
  await first.close();
  await eventually(() => app.connect({ uid: 'c' }).catch(() => undefined), 'room for one more');
  await refusal(app.connect({ uid: 'd' }));
  await service.close();
});

test('those who connect at once don’t get past a limit', async () => {
  const service = await start({ connectionsPerUser: 2 });
  const app = await service.createApp();
  const token = await app.token({ uid: 'bob' });
  const tried = await Promise.allSettled(Array.from({ length: 20 }, () => service.connect(token)));
  assert.equal(tried.filter(({ status }) => status === 'fulfilled').length, 2);
  await service.close();
});

test('a client that repeats one id and never reads is closed with 4008, and costs no memory', async () => {
  const service = await startService({
    app: { drainTimeoutMs: 200, limits: { framesPerSecond: 1_000_000, frameBurst: 1_000_000 } },
  });
  const app = await service.createApp();
  const flooding = await app.connect({ uid: 'flooding' });
  const other = await app.connect({ uid: 'other' });
  const id = 'the same'.repeat(16);
  await flooding.say({ uid: 'sink' }, 1, id);
  flooding.socket.pause();
  const frame = JSON.stringify({ type: 'send', id, to: { uid: 'sink' }, content: 1 });
  const isOnline = async (): Promise<boolean> => {
    const { body } = await app.call('GET', `/presence?imId=${app.appId}:flooding`);
    return body.items[0].online;
  };
  let most = 0;
  // Also while it is asked, which may take longer than the connection is given.
  const looking = setInterval(() => (most = Math.max(most, service.buffered())), 1).unref();
  while (await isOnline())
    if (flooding.socket.bufferedAmount < 1_000_000) for (let n = 0; n < 2_000; n++) flooding.send(frame);
  clearInterval(looking);
  assert.ok(most > 1_000_000 && most < 1_300_000, `${most} bytes waited for it`);
  assert.equal((await other.say({ uid: 'sink' }, 2)).type, 'sent');
  assert.equal((await app.inbox(`${app.appId}:sink`)).length, 2);
  flooding.socket.resume();
  assert.equal((await flooding.waitClosed()).code, 4008);
  await service.close();
});

const VARIABLES = {
  IMID_MAX_CONNECTIONS_PER_USER: 100,
  IMID_MAX_CONNECTIONS_PER_APP: 100_000,
  IMID_MAX_FRAMES_PER_SECOND: 1_000,
  IMID_MAX_FRAME_BURST: 3_000,
  IMID_MAX_QUEUED_MESSAGES: 20_000,
  IMID_PING_SECONDS: 12,
  IMID_READ_TIMEOUT_SECONDS: 10,
  IMID_IDEMPOTENCY_HOURS: 24,
  IMID_MAX_WEBHOOK_EVENTS: 100_000,
  IMID_PUSH_GRACE_SECONDS: 10,
  IMID_PUSH_WINDOW_SECONDS: 5,
};

test('a limit in the environment is a whole number in its range, and named where it isn’t', () => {
  for (const variable of Object.keys(VARIABLES)) {
    for (const bad of ['0', '-1', '1.5', '1e3', 'many', '10000000', '0x10', ' 5000'])
      assert.throws(
        () => readConfig({ [variable]: bad }),
        new RegExp(`^Error: ${variable} must be a whole number`),
      );
    assert.deepEqual(readConfig({ [variable]: '' }), readConfig({}));
  }
  const { limits, maxQueuedMessages, pingMs, drainTimeoutMs, idempotencyMs, pushTiming } = readConfig({
    IMID_MAX_CONNECTIONS_PER_USER: '1',
    IMID_MAX_CONNECTIONS_PER_APP: '2',
    IMID_MAX_FRAMES_PER_SECOND: '3',
    IMID_MAX_FRAME_BURST: '4',
    IMID_MAX_API_KEYS_PER_APP: '9',
    IMID_MAX_ISSUERS_PER_APP: '10',
    IMID_MAX_WEBHOOK_EVENTS: '11',
    IMID_MAX_QUEUED_MESSAGES: '5000',
    IMID_PING_SECONDS: '6',
    IMID_READ_TIMEOUT_SECONDS: '7',
    IMID_IDEMPOTENCY_HOURS: '8',
    IMID_PUSH_GRACE_SECONDS: '12',
    IMID_PUSH_WINDOW_SECONDS: '13',
  });
  assert.deepEqual(limits, {
    connectionsPerUser: 1,
    connectionsPerApp: 2,
    framesPerSecond: 3,
    frameBurst: 4,
    apiKeysPerApp: 9,
    issuersPerApp: 10,
    webhookEventsPerApp: 11,
  });
  assert.deepEqual(
    [maxQueuedMessages, pingMs, drainTimeoutMs, idempotencyMs],
    [5_000, 6_000, 7_000, 28_800_000],
  );
  assert.deepEqual(pushTiming, { graceMs: 12_000, windowMs: 13_000 });
});

test('the process holds the limits of its environment', async () => {
  const { name, connection } = await createDatabase();
  const service = new Process({
    IMID_DATA_DIR: await makeDirectory(),
    DATABASE_URL: `postgres://${connection.user}@localhost:${connection.port}/${name}?host=${connection.host}`,
    IMID_ADMIN_KEY: ADMIN_KEY,
    IMID_MAX_CONNECTIONS_PER_USER: '1',
    IMID_MAX_FRAME_BURST: '5',
    IMID_PING_SECONDS: '1',
  });
  const url = await service.url();
  const { body: app } = await call(url, 'POST', '/v1/apps', {
    body: { name: 'chat', schemes: ['composed'] },
  });
  const { body } = await call(url, 'POST', `/v1/apps/${app.appId}/tokens`, {
    key: app.apiKey,
    body: { uid: 'b' },
  });
  const client = await connect(url, body.token);
  await refusal(connect(url, body.token));
  await new Promise((resolve) => client.socket.once('ping', resolve));
  for (let n = 0; n < 20; n++) client.send({ type: 'ack', seq: 0 });
  assert.equal((await client.waitClosed()).code, 4010);
  assert.equal(await service.end('SIGTERM'), 0);
});

const CONSTANTS = [
  ['a frame', 'edge/connect.ts', 'FRAME_MAX_BYTES'],
  ['a frame', 'edge/connect.ts', 'SOCKET_MAX_PAYLOAD_BYTES'],
  ['a body', 'app.ts', 'BODY_MAX_BYTES'],
  ['arrays and objects', 'edge/parsing.ts', 'NESTING_MAX'],
  ['request line and headers', 'app.ts', 'HEADERS_MAX_BYTES'],
  ['time for the request line', 'edge/timeouts.ts', 'headersMs'],
  ['time for a JSON body', 'edge/timeouts.ts', 'bodyMs'],
  ['silence within an import', 'edge/timeouts.ts', 'idleMs'],
  ['silence between two requests', 'edge/timeouts.ts', 'keepAliveMs'],
  ['content', 'edge/content.ts', 'CONTENT_MAX_BYTES'],
  ['a line of an import', 'edge/lines.ts', 'LINE_MAX_BYTES'],
  ['a line of an import', 'edge/history_lines.ts', 'HISTORY_LINE_MAX_BYTES'],
  ['a contact list', 'edge/content.ts', 'CONTACT_DATA_MAX_BYTES'],
  ['a contact list', 'edge/contacts.ts', 'CONTACTS_MAX'],
  ['recipients', 'edge/messages.ts', 'LIST_MAX'],
  ['recipients', 'edge/rename_lists.ts', 'RENAMES_MAX'],
  ['an Idempotency-Key', 'edge/idempotency.ts', 'KEY_MAX_LENGTH'],
  ['an answer that', 'tokens/kept_answers.ts', 'DEFAULT_LIFE_HOURS'],
  ['an answer that', 'tokens/kept_answers.ts', 'leaseMs'],
  ['origins', 'edge/apps.ts', 'ORIGINS_MAX'],
  ['messages waiting', 'routing/writer.ts', 'MAX_UNSETTLED_BYTES'],
  ['sends of a connection', 'routing/turns.ts', 'MAX_PENDING_FRAMES'],
  ['kept in memory', 'routing/peer.ts', 'MAX_BUFFERED_BYTES'],
  ['frames that', 'routing/limits.ts', 'framesPerSecond'],
  ['frames that', 'routing/limits.ts', 'frameBurst'],
  ['connections of a user', 'routing/limits.ts', 'connectionsPerUser'],
  ['connections of an app', 'routing/limits.ts', 'connectionsPerApp'],
  ['events that the webhook', 'routing/limits.ts', 'webhookEventsPerApp'],
  ['messages that a webhook', 'store/push_standings.ts', 'FIRST_TOLD_MAX'],
  ['requests to webhooks', 'routing/webhook_events.ts', 'PER_APP'],
  ['requests to webhooks', 'routing/webhook_events.ts', 'AT_ONCE'],
  ['messages waiting', 'routing/writer.ts', 'maxQueuedMessages'],
  ['silence on the socket', 'edge/connect.ts', 'pingMs'],
  ['kept in memory', 'edge/connect.ts', 'drainTimeoutMs'],
] as const;

/** What a constant or default of the code is, by its name. */
async function readNumber(file: string, name: string): Promise<number> {
  const code = await readFile(new URL(`../src/${file}`, import.meta.url), 'utf8');
  const [, digits = ''] =
    new RegExp(`\\b${name}(?: =|:) (\\d[\\d_]*(?: (?:\\*|<<) \\d[\\d_]*)*)`).exec(code) ?? [];
  assert.notEqual(digits, '', `${name} in ${file}`);
  const [first, ...factors] = digits.replaceAll('_', '').split(' * ');
  const [base, bits = 0] = first!.split(' << ').map(Number);
  return factors.map(Number).reduce((product, factor) => product * factor, base! * 2 ** bits);
}

/** The number as the README writes it. */
function inWords(number: number, name: string): RegExp {
  if (name.includes('BYTES'))
    return number % 2 ** 20 === 0
      ? new RegExp(`\\b${number / 2 ** 20} MiB`)
      : new RegExp(`\\b${number / 1024} KiB`);
  if (name.endsWith('Ms')) return new RegExp(`\\b${number / 1_000} seconds`);
  return new RegExp(`\\b(${number}|${number.toLocaleString('en')})\\b`);
}

test('the README names every limit and its variable as they are', async () => {
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
  const limits = readme.slice(readme.indexOf('\n## Limits'), readme.indexOf('\n## Measured'));
  const rows = limits.split('\n').filter((line) => line.startsWith('| '));
  for (const [what, file, name] of CONSTANTS) {
    const row = rows.find((line) => line.startsWith(`| ${what}`));
    assert.ok(row, what);
    assert.match(row, inWords(await readNumber(file, name), name), `${name}: ${row}`);
  }
  const environment = readme.slice(readme.indexOf('\n## Environment'));
  for (const [variable, value] of Object.entries(VARIABLES)) {
    assert.ok(
      rows.some((row) => row.includes(`\`${variable}\``)),
      variable,
    );
    assert.match(environment, new RegExp(`\\| \`${variable}\` +\\| ${value} `));
  }
});
