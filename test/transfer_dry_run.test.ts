// A dry run says what the import would come to, and changes and locks nothing.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { startService, type Answer, type Json, type Service, type Tenant } from './harness.ts';
import { createTransfers, CSV, NDJSON } from './imports.ts';

let service: Service;
before(async () => {
  service = await startService();
});
const { importLines, exportText } = createTransfers(() => service);

function rehearse(app: Tenant, body: string | Buffer, headers: Record<string, string> = {}): Promise<Answer> {
  return service.call('POST', `${app.path}/identities/import?dryRun=true`, {
    key: app.apiKey,
    body,
    headers: { 'content-type': NDJSON, ...headers },
  });
}

async function rehearseLines(app: Tenant, lines: object[]): Promise<Json> {
  const answer = await rehearse(app, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  assert.equal(answer.status, 200, answer.text);
  return answer.body;
}

async function findRows(app: Tenant): Promise<Json[]> {
  const { rows } = await service.database.pool.query('select * from identity where app_id = $1 order by id', [
    app.appId,
  ]);
  return rows;
}

const countsOf = ({ lines, created, adopted, existing, refused }: Json) => ({
  lines,
  created,
  adopted,
  existing,
  refused,
});

test('a dry run counts, samples what it would refuse and adopt, and changes nothing', async () => {
  const app = await service.createApp();
  const known = await app.register('known');
  const client = await app.connect({ uid: 'used' });
  await client.say({ uid: 'g-81' }, 'hello');
  await client.say({ uid: 'g-81' }, 'hello again');
  const rows = await findRows(app);
  const seen = rows.find((row) => row.name === 'used');
  const guest = rows.find((row) => row.name === 'g-81');
  const answer = await rehearse(
    app,
    [
      'userId,imId,adopt',
      'new,,',
      'known,,',
      'used,,',
      'new,,',
      `carol,${known},`,
      'alice,,g-81',
      'alice,,g-81',
      'erin,,nobody',
      '"broken,,',
      'frank,,known',
    ].join('\n'),
    { 'content-type': CSV },
  );
  assert.equal(answer.status, 200, answer.text);
  assert.match(answer.headers.get('content-type')!, /^application\/json/);
  assert.deepEqual(answer.body, {
    lines: 10,
    created: 1,
    adopted: 3,
    existing: 3,
    refused: 3,
    refusals: [
      { line: 6, userId: 'carol', error: { code: 'conflict', detail: 'Another user has this imId.' } },
      {
        line: 10,
        error: { code: 'invalid_request', detail: 'The line opens a quote that is never closed.' },
      },
      {
        line: 11,
        userId: 'frank',
        error: { code: 'conflict', detail: 'The user to adopt is registered already; rename it instead.' },
      },
    ],
    adoptions: [
      {
        line: 4,
        userId: 'used',
        createdAt: seen.created_at.toISOString(),
        ...(seen.last_seen_at && { lastSeenAt: seen.last_seen_at.toISOString() }),
        messages: 2,
      },
      { line: 7, userId: 'alice', uid: 'g-81', createdAt: guest.created_at.toISOString(), messages: 2 },
      { line: 9, userId: 'erin', uid: 'nobody', messages: 0 },
    ],
  });
  assert.deepEqual(await findRows(app), rows);
});

const name = fc.constantFrom('b', 'c', 'd', 'e', 'f', 'g');
const anyLine = fc.record(
  {
    userId: fc.oneof({ weight: 19, arbitrary: name }, { weight: 1, arbitrary: fc.constant(' bad') }),
    imId: fc.constantFrom('im_00000000000000000000000001', 'im_00000000000000000000000002'),
    adopt: fc.oneof(fc.boolean(), fc.record({ uid: name }), fc.record({ uid: name })),
  },
  { requiredKeys: ['userId'] },
);

test('a dry run agrees with the import that follows it, line by line, whatever the file', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyLine, { maxLength: 25 }), async (lines) => {
      const app = await service.createApp();
      await importLines(app, [
        { userId: 'b', imId: 'im_00000000000000000000000001' },
        { userId: 'c', adopt: { uid: 'd' } },
      ]);
      await service.database.pool.query('insert into identity (app_id, name) select $1, unnest($2::text[])', [
        app.appId,
        ['e'],
      ]);
      const rehearsed = await rehearseLines(app, lines);
      const results = await importLines(app, lines);
      const have = (status: string) => results.filter((result) => result.status === status);
      const refused = results.filter(({ error }) => error);
      assert.deepEqual(countsOf(rehearsed), {
        lines: results.length,
        created: have('created').length,
        adopted: have('adopted').length,
        existing: have('existing').length,
        refused: refused.length,
      });
      assert.deepEqual(rehearsed.refusals, refused);
      assert.deepEqual(
        rehearsed.adoptions.map((adoption: Json) => [adoption.line, adoption.userId]),
        have('adopted').map((result) => [result.line, result.userId]),
      );
    }),
    { numRuns: 40 },
  );
});

test('a dry run knows that a name which was merged into another one is the same user', async () => {
  const app = await service.createApp();
  await app.connect({ uid: 'alice' });
  await app.connect({ uid: 'g-81' });
  await app.call('POST', `/identities/${app.appId}:alice/merge`, { from: { uid: 'g-81' } });
  const lines = [{ userId: 'alicia', adopt: { uid: 'g-81' } }, { userId: 'g-81' }, { userId: 'alice' }];
  const rehearsed = await rehearseLines(app, lines);
  assert.deepEqual(countsOf(rehearsed), { lines: 3, created: 1, adopted: 1, existing: 1, refused: 0 });
  const results = [];
  for (const each of lines) results.push(...(await importLines(app, [each])));
  assert.deepEqual(
    results.map(({ status }) => status),
    ['adopted', 'existing', 'created'],
  );
});

test('counts are exact beyond the samples, and across batches', async () => {
  const app = await service.createApp();
  const names = Array.from({ length: 3_000 }, (_, i) => `user-${i}`);
  await service.database.pool.query('insert into identity (app_id, name) select $1, unnest($2::text[])', [
    app.appId,
    names.slice(0, 500),
  ]);
  const lines = [
    ...names.map((userId) => ({ userId })),
    ...names.map((userId) => ({ userId })),
    ...names.slice(0, 200).map((userId) => ({ userId, imId: 'im_00000000000000000000000001' })),
  ];
  const { refusals, adoptions, ...counts } = await rehearseLines(app, lines);
  assert.deepEqual(counts, { lines: 6_200, created: 2_500, adopted: 500, existing: 3_000, refused: 200 });
  assert.deepEqual([refusals.length, adoptions.length], [100, 100]);
  assert.deepEqual(
    refusals.map((refusal: Json) => refusal.line),
    Array.from({ length: 100 }, (_, i) => 6_001 + i),
  );
});

test('a dry run waits for no lock but those that keep everybody out', async () => {
  const app = await service.createApp();
  await app.register('known');
  const locker = await service.database.pool.connect();
  try {
    await locker.query('begin');
    await locker.query('lock table identity, former_name, app in exclusive mode');
    const lines = [{ userId: 'known' }, { userId: 'new' }, { userId: 'alice', adopt: { uid: 'g-81' } }];
    assert.deepEqual(countsOf(await rehearseLines(app, lines)), {
      lines: 3,
      created: 1,
      adopted: 1,
      existing: 1,
      refused: 0,
    });
  } finally {
    await locker.query('rollback');
    locker.release();
  }
});

test('a dry run of a file that cannot be read is refused, and of an empty one is all zeros', async () => {
  const app = await service.createApp();
  const lines = gzipSync('{"userId":"a"}\n');
  for (const [body, headers] of [
    ['user\na\n', { 'content-type': CSV }],
    [lines.subarray(0, 20), { 'content-encoding': 'gzip' }],
  ] as const) {
    const answer = await rehearse(app, body, headers);
    assert.deepEqual([answer.status, answer.body.code], [400, 'invalid_request']);
  }
  assert.deepEqual(await rehearseLines(app, []), {
    lines: 0,
    created: 0,
    adopted: 0,
    existing: 0,
    refused: 0,
    refusals: [],
    adoptions: [],
  });
  const composed = await service.createApp(['composed']);
  assert.equal((await rehearse(composed, '{"userId":"a"}\n')).body.code, 'scheme_disabled');
  const answer = await service.call('POST', `${app.path}/identities/import?dryRun=perhaps`, {
    key: app.apiKey,
    body: '{"userId":"a"}\n',
    headers: { 'content-type': NDJSON },
  });
  assert.deepEqual([answer.status, answer.body.errors[0].pointer], [400, '#/dryRun']);
  assert.equal(await exportText(app), '');
});
