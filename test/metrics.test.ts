// /metrics, read as Prometheus reads it: what happened is counted once, under names and labels that stay few.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { connect as connectTo, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { closeCodes } from '../src/errors.ts';
import { startGate, type Gate } from './gate.ts';
import {
  createDatabase,
  eventually,
  Refused,
  startService,
  type Json,
  type Service,
  type Tenant,
} from './harness.ts';

let gate: Gate;
let service: Service;
let app: Tenant;
before(async () => {
  const { name, connection } = await createDatabase();
  gate = await startGate(connection);
  service = await startService({ at: { name, connection: gate.connection }, app: { pingMs: 60_000 } });
  app = await service.createApp();
});
after(() => gate.close());

/** The value of each series, by its text. */
async function scrape(of = service): Promise<Map<string, number>> {
  const { status, headers, text } = await of.call('GET', '/metrics', { key: '' });
  assert.equal(status, 200);
  assert.match(headers.get('content-type')!, /^text\/plain; version=0\.0\.4/);
  const samples = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    samples.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]),
  );
}

/** Waits until the series have grown by so much since `start`, and no other of the same names has. */
async function grown(start: Map<string, number>, by: Record<string, number>): Promise<void> {
  const names = new Set(Object.keys(by).map((series) => series.split('{')[0]));
  let seen: Record<string, number> = {};
  await eventually(async () => {
    const now = await scrape();
    seen = {};
    for (const [series, value] of now) {
      const growth = value - (start.get(series) ?? 0);
      if (names.has(series.split('{')[0]) && growth !== 0) seen[series] = growth;
    }
    return JSON.stringify(sorted(seen)) === JSON.stringify(sorted(by));
  }).catch(() => assert.deepEqual(sorted(seen), sorted(by)));
}

const sorted = (counts: Record<string, number>) =>
  Object.entries(counts).toSorted(([a], [b]) => a.localeCompare(b));

test('a message is a send, a flush, a row and a delivery; a repeat is a remembered answer', async () => {
  const alice = await app.connect({ uid: 'alice' });
  await app.connect({ uid: 'bob' }, { device: 'phone' });
  await app.connect({ uid: 'bob' }, { device: 'pad', state: 'background' });
  const start = await scrape();
  await alice.say({ uid: 'bob' }, 'hello', 'one');
  await alice.say({ uid: 'bob' }, 'hello', 'one');
  await app.call('POST', '/messages', {
    from: { uid: 'alice' },
    to: [{ uid: 'bob' }, { uid: 'carol' }],
    content: 1,
  });
  await grown(start, {
    'imid_sends_total{by="socket"}': 2,
    'imid_sends_total{by="rest"}': 1,
    imid_messages_stored_total: 3,
    // To bob's two devices, and what the backend sent as alice to her own connection.
    imid_deliveries_total: 2 + 2 + 2,
    imid_flush_units_sum: 2,
    imid_flush_units_count: 2,
    imid_flush_seconds_count: 2,
  });
  const now = await scrape();
  const remembered = 'imid_cache_uses_total{cache="answer",outcome="hit"}';
  assert.equal(now.get(remembered)! - start.get(remembered)!, 1);
  for (const cache of ['app', 'key', 'hint'])
    assert.ok(now.get(`imid_cache_uses_total{cache="${cache}",outcome="hit"}`)! > 0, cache);
  assert.deepEqual([now.get('imid_queue_messages'), now.get('imid_queue_bytes')], [0, 0]);
});

test('connections are counted by scheme and state, as they are at the scrape', async () => {
  const eve = await app.connect({ uid: 'eve' });
  const start = await scrape();
  const frank = await app.connect({ imId: await app.register('frank') }, { state: 'background' });
  eve.send({ type: 'state', state: 'background' });
  await grown(start, {
    'imid_connections{scheme="composed",state="foreground"}': -1,
    'imid_connections{scheme="composed",state="background"}': 1,
    'imid_connections{scheme="registered",state="background"}': 1,
  });
  await Promise.all([eve.close(), frank.close()]);
  await grown(start, { 'imid_connections{scheme="composed",state="foreground"}': -1 });
});

test('welcomes are counted by what they go on from', async () => {
  const start = await scrape();
  const first = await app.connect({ uid: 'grace' }, { device: 'phone' });
  await first.close();
  const second = await app.connect({ uid: 'grace' }, { device: 'phone' });
  await second.close();
  await app.connect({ uid: 'grace' }, { device: 'phone', after: 9 });
  await grown(start, {
    'imid_resumes_total{outcome="new"}': 1,
    'imid_resumes_total{outcome="resumed"}': 1,
    'imid_resumes_total{outcome="over"}': 1,
  });
});

test('who asks for an epoch or a seq that is no more has to start over, also without a device', async () => {
  const start = await scrape();
  const client = await app.connect({ uid: 'over' }, { after: 5, epoch: 'another' });
  assert.equal(client.welcome.resumed, false);
  await grown(start, { 'imid_resumes_total{outcome="over"}': 1 });
  await client.close();
});

test('closes are counted by code, whoever closed', async () => {
  const start = await scrape();
  const open = (device: string) => app.connect({ uid: 'henry' }, { device });
  (await open('polite')).socket.close(1000);
  (await open('silent')).socket.close();
  (await open('own')).socket.close(4242);
  (await open('lost')).socket.terminate();
  (await open('huge')).socket.send('x'.repeat(3 * 1024 * 1024));
  (await open('bad')).socket.send(Buffer.from([1]));
  await open('twice');
  await open('twice');
  await grown(start, {
    'imid_closes_total{code="1000",who="client"}': 1,
    'imid_closes_total{code="1005",who="client"}': 1,
    'imid_closes_total{code="other",who="client"}': 1,
    'imid_closes_total{code="1006",who="client"}': 1,
    'imid_closes_total{code="1009",who="websocket"}': 1,
    'imid_closes_total{code="4509",who="service"}': 1,
    'imid_closes_total{code="4503",who="service"}': 1,
  });
});

test('errors are counted by code: on the socket, in HTTP, at the upgrade, and before there is a request', async () => {
  const ivy = await app.connect({ uid: 'ivy' });
  await app.call('POST', '/identities', { userId: 'judy' });
  const start = await scrape();
  await ivy.say({ userId: 'nobody' }, 1);
  ivy.send({ type: 'ack', seq: 99 });
  await app.call('POST', '/identities', {});
  await service.call('GET', '/nowhere');
  await service.call('GET', '/%ff');
  await assert.rejects(service.connect('bad'), Refused);
  const { hostname, port } = new URL(service.url);
  connectTo(Number(port), hostname, function (this: Socket) {
    this.end('nonsense\r\n\r\n').resume();
  });
  await grown(start, {
    'imid_frame_errors_total{code="unknown_recipient"}': 1,
    'imid_frame_errors_total{code="invalid_request"}': 1,
    'imid_refused_upgrades_total{code="unauthorized"}': 1,
  });
  const answers: Record<string, number> = {};
  await eventually(async () => {
    for (const [series, value] of await scrape())
      if (/^imid_http_answers_total.*code="[a-z]/.test(series))
        answers[series] = value - (start.get(series) ?? 0);
    return Object.values(answers).reduce((sum, count) => sum + count, 0) === 5;
  }).catch(() => {});
  assert.deepEqual(answers, {
    'imid_http_answers_total{status="400",code="invalid_request"}': 3,
    'imid_http_answers_total{status="401",code="unauthorized"}': 1,
    'imid_http_answers_total{status="404",code="not_found"}': 1,
  });
});

test('registrations are counted by what they came to', async () => {
  const start = await scrape();
  await app.connect({ uid: 'kim' });
  for (const userId of ['kim', 'kim', 'leo']) await app.register(userId);
  await app.call('POST', '/identities', { userId: 'leo', adopt: { uid: 'kim' } });
  await grown(start, {
    'imid_registrations_total{outcome="adopted"}': 1,
    'imid_registrations_total{outcome="existing"}': 1,
    'imid_registrations_total{outcome="created"}': 1,
    'imid_registrations_total{outcome="refused"}': 1,
  });
});

test('a batch in which a user has moved, or a send is repeated, is counted as taken apart', async () => {
  const mia = await app.connect({ uid: 'mia' });
  await mia.say({ uid: 'nina' }, 1);
  const start = await scrape();
  await app.call('PATCH', `/identities/${app.appId}:nina`, { uid: 'olga' });
  await mia.say({ uid: 'nina' }, 2);
  const other = await startService({ on: service });
  const elsewhere = await other.connect(await app.token({ uid: 'mia' }));
  await elsewhere.say({ uid: 'olga' }, 3, 'once');
  await mia.say({ uid: 'olga' }, 3, 'once');
  await other.close();
  await grown(start, {
    'imid_flushes_apart_total{reason="moved"}': 1,
    'imid_flushes_apart_total{reason="repeat"}': 1,
  });
});

test('a flush that failed is no flush', async () => {
  const alice = await app.connect({ uid: 'alice' });
  await alice.say({ uid: 'bob' }, 'stored');
  const { pool } = service.database;
  await pool.query(
    `create function fail() returns trigger language plpgsql as $$ begin raise 'disk full' using errcode = '53100'; end $$`,
  );
  await pool.query('create trigger fail before insert on message execute function fail()');
  const start = await scrape();
  for (let n = 0; n < 3; n++) assert.equal((await alice.say({ uid: 'bob' }, 'lost')).code, 'unavailable');
  await grown(start, { imid_flush_failures_total: 3 });
  const now = await scrape();
  for (const series of ['imid_flush_units_sum', 'imid_flush_seconds_count', 'imid_messages_stored_total'])
    assert.equal(now.get(series), start.get(series), series);
  await pool.query('drop trigger fail on message');
  await alice.close();
});

test('rings are counted by what they tell of, with how late they were heard', async () => {
  const other = await startService({ on: service });
  const start = await scrape();
  await eventually(async () => {
    for (const each of [service, other]) await each.call('PATCH', app.path, { body: { name: 'chat' } });
    const now = await scrape();
    return now.get('imid_rings_heard_total{kind="app"}') && now.get('imid_rings_sent_total{kind="app"}');
  });
  const [here, there] = [await scrape(), await scrape(other)];
  assert.ok(there.get('imid_rings_sent_total{kind="app"}')! > 0);
  assert.ok(here.get('imid_bell_lag_seconds_count')! > start.get('imid_bell_lag_seconds_count')!);
  await other.close();
});

test('unfinished work shows by its age', async () => {
  const { pool } = service.database;
  await pool.query(
    "insert into erasure (app_id, identity_id, created_at) values (999, 1, now() - interval '1 hour')",
  );
  const age = (await scrape()).get('imid_job_age_seconds{queue="erasure"}')!;
  assert.ok(age > 3_599 && age < 3_700, String(age));
  await pool.query('delete from erasure where app_id = 999');
});

test('no label says who', async () => {
  const series = [...(await scrape()).keys()];
  for (const each of series) {
    for (const [, label = '', value = ''] of each.matchAll(/(\w+)="([^"]*)"/g)) {
      assert.doesNotMatch(label, /uid|user|im_?id|app|device|path|route/i, each);
      assert.doesNotMatch(value, /alice|bob|carol|phone|twice|im_|imk_/, each);
    }
  }
  assert.ok(series.length < 400, String(series.length));
});

/** The metrics that there are by the text of a scrape, with the labels that each may have. */
async function metricsThere(): Promise<Map<string, Set<string>>> {
  const { text } = await service.call('GET', '/metrics', { key: '' });
  const there = new Map<string, Set<string>>();
  for (const [, name = '', type] of text.matchAll(/^# TYPE (\w+) (\w+)$/gm))
    for (const suffix of type === 'histogram' ? ['', '_bucket', '_sum', '_count'] : [''])
      there.set(name + suffix, new Set(['job', 'instance', 'le']));
  for (const [, name = '', labels = ''] of text.matchAll(/^(\w+)\{(.*)\} /gm))
    for (const [, label = ''] of labels.matchAll(/(\w+)="/g)) there.get(name)!.add(label);
  return there;
}

const METRIC = /\b(?:imid|process|nodejs)_\w+/g;

test('the dashboard asks for metrics and labels that there are, and for all of ours', async () => {
  const there = await metricsThere();
  const dashboard = JSON.parse(await readFile(new URL('../docs/grafana.json', import.meta.url), 'utf8'));
  const exprs: string[] = dashboard.panels.flatMap((panel: Json) =>
    (panel.targets ?? []).map((target: Json) => target.expr),
  );
  assert.ok(exprs.length > 30);
  const asked = new Set(exprs.flatMap((expr) => expr.match(METRIC) ?? []));
  for (const name of asked) assert.ok(there.has(name), name);
  const isAsked = (name: string) =>
    [...asked].some((each) => each.replace(/_(bucket|sum|count)$/, '') === name);
  for (const name of there.keys())
    if (name.startsWith('imid_') && !/_(bucket|sum|count)$/.test(name)) assert.ok(isAsked(name), name);
  for (const expr of exprs) {
    const [name = ''] = expr.match(METRIC) ?? [];
    for (const [, labels = ''] of expr.matchAll(/by \(([\w, ]+)\)/g))
      for (const label of labels.split(', ')) assert.ok(there.get(name)!.has(label), `${label}: ${expr}`);
    for (const [, label = ''] of expr.matchAll(/(\w+)=~?"/g)) assert.ok(there.get(name)!.has(label), expr);
    for (const pair of ['()', '{}', '[]'])
      assert.equal(expr.split(pair[0]!).length, expr.split(pair[1]!).length, expr);
  }
  const ids = dashboard.panels.map((panel: Json) => panel.id);
  assert.equal(new Set(ids).size, ids.length);
});

test('the guide names metrics that there are, all of ours, and every close code of ours', async () => {
  const there = await metricsThere();
  const guide = await readFile(new URL('../docs/operating.md', import.meta.url), 'utf8');
  const named = new Set(guide.match(METRIC));
  for (const name of named) assert.ok(there.has(name) || /^(process|nodejs)_$/.test(name), name);
  for (const name of there.keys())
    if (name.startsWith('imid_') && !/_(bucket|sum|count)$/.test(name)) assert.ok(named.has(name), name);
  for (const { code } of Object.values(closeCodes))
    assert.match(guide, new RegExp(`\\| ${code} .*\`service\``));
});

test('while Postgres is away a scrape is answered at once, without what only Postgres knows', async () => {
  for (const act of ['mute', 'shut'] as const) {
    gate[act]();
    const startedAt = performance.now();
    const now = await scrape();
    assert.ok(performance.now() - startedAt < 2_000, act);
    assert.equal(now.get('imid_job_age_seconds{queue="merger"}'), undefined, act);
    assert.ok(now.get('imid_heartbeat_age_seconds')! > 0);
  }
  gate.open();
  await eventually(async () => (await scrape()).get('imid_job_age_seconds{queue="merger"}') === 0);
});
