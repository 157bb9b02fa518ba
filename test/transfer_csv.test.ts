// CSV in and out: every legal name unchanged, every bad record a fault of its line and of no other.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import fc from 'fast-check';
import { readCsv } from '../src/edge/csv.ts';
import { startService, type Service } from './harness.ts';
import { createTransfers, CSV, NDJSON } from './imports.ts';
import { legalName } from './names.ts';

let service: Service;
before(async () => {
  service = await startService();
});
const { importText, exportText, exportLines } = createTransfers(() => service);

const COLUMNS = { required: ['userId'], optional: ['imId'] };

async function read(chunks: readonly (string | Buffer)[], columns = COLUMNS) {
  const lines = [];
  for await (const list of readCsv(toChunks(chunks), columns)) lines.push(...list);
  return lines;
}

async function* toChunks(chunks: readonly (string | Buffer)[]) {
  for (const chunk of chunks) yield Buffer.from(chunk as string);
}

function cut(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [
    0,
    ...cuts.map((share) => Math.floor(share * bytes.length)).toSorted((a, b) => a - b),
    bytes.length,
  ];
  return at.slice(1).map((end, i) => bytes.subarray(at[i], end));
}

const quoted = (cell: string) => `"${cell.replaceAll('"', '""')}"`;
const cellOf = (cell: string, isQuoted: boolean) => (isQuoted || /[",]/.test(cell) ? quoted(cell) : cell);

test('every legal name survives, however it is quoted, however the file is cut and its lines end', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(legalName, fc.option(legalName, { nil: undefined }), fc.boolean())),
      fc.constantFrom('\n', '\r\n'),
      fc.boolean(),
      fc.boolean(),
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 20 }),
      async (rows, end, hasBom, isEnded, cuts) => {
        const text = [
          `${hasBom ? '\ufeff' : ''}userId,imId`,
          ...rows.map(
            ([userId, imId, isQuoted]) => `${cellOf(userId, isQuoted)},${cellOf(imId ?? '', isQuoted)}`,
          ),
        ].join(end);
        const lines = await read(cut(Buffer.from(text + (isEnded ? end : '')), cuts));
        assert.deepEqual(
          lines,
          rows.map(([userId, imId], i) => ({
            line: i + 2,
            value: { userId, ...(imId !== undefined && { imId }) },
          })),
        );
      },
    ),
  );
});

test('a bad record is the fault of its line and of no other', async () => {
  const bytes = Buffer.concat([
    Buffer.from('userId,imId\na,1\nb\nc,1,2\n\n"d"x,\ne",\n"f,\ng,\n"h\ni",2\nj,"k"\n'),
    Buffer.from('\xff,\n', 'latin1'),
    Buffer.from(`${'l'.repeat(20_000)},\n,m\n"n,\no,`),
  ]);
  const faults = [
    [2, { userId: 'a', imId: '1' }],
    [3, 'has 1 cells, and the header has 2'],
    [4, 'has 3 cells, and the header has 2'],
    [6, 'has a quote out of place'],
    [7, 'has a quote out of place'],
    [8, 'has a quote out of place'],
    [9, { userId: 'g' }],
    [10, 'holds a cell that goes on to line 11'],
    [12, { userId: 'j', imId: 'k' }],
    [13, 'is not UTF-8'],
    [14, 'is longer than 16384 bytes'],
    [15, { userId: '', imId: 'm' }],
    [16, 'opens a quote that is never closed'],
    [17, { userId: 'o' }],
  ];
  for (const size of [bytes.length, 1_000, 7, 1]) {
    const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
      bytes.subarray(i * size, (i + 1) * size),
    );
    const lines = await read(chunks);
    assert.deepEqual(
      lines.map((line) => [line.line, 'fault' in line ? line.fault : line.value]),
      faults,
    );
  }
});

test('a quote that stays open costs its own line only', async () => {
  const names = Array.from({ length: 10_000 }, (_, i) => `user-${i}`);
  const lines = await read([`userId\n"open\n${names.join('\n')}\n`]);
  assert.deepEqual(lines[0], { line: 2, fault: 'opens a quote that is never closed' });
  assert.deepEqual(
    lines.slice(1).map((line) => 'value' in line && line.value),
    names.map((userId) => ({ userId })),
  );
});

test('a header that is not of the columns is refused, and names them', async () => {
  for (const header of [
    '',
    'userid',
    'imId',
    'userId,userId',
    'userId;imId',
    'userId,colour',
    '"userId',
    'userId\xff',
  ])
    await assert.rejects(read([Buffer.from(`${header}\nbob\n`, 'latin1')]), {
      code: 'invalid_request',
      message: 'header must be a line that names the columns userId and at most imId, with commas.',
    });
  await assert.rejects(read([]), { code: 'invalid_request' });
  assert.deepEqual(await read(['imId,"userId"']), []);
});

test('an import takes CSV with its columns in any order, and adopts by it', async () => {
  const app = await service.createApp();
  await app.connect({ uid: 'used' });
  await app.connect({ uid: 'g-81' });
  const imId = 'im_01h455vb4pex5vsknk084sn02q';
  const results = await importText(
    app,
    [
      '\ufeffadopt,createdAt,imId,userId',
      `,2020-02-03T04:05:06.789Z,${imId},new`,
      '',
      'g-81,,,alice',
      ',,,used',
      ',,"1:erin",erin',
      ',yesterday,,frank',
      ',,,"=cmd|\'/C calc\'!A0, ""😀"""',
      ',,, g',
      'true,,,h',
    ].join('\r\n'),
    'text/csv; charset=utf-8; header=present',
  );
  assert.deepEqual(
    results.map(({ line, userId, status, error }) => [line, userId, status ?? error.code]),
    [
      [2, 'new', 'created'],
      [4, 'alice', 'adopted'],
      [5, 'used', 'adopted'],
      [6, undefined, 'invalid_request'],
      [7, undefined, 'invalid_request'],
      [8, `=cmd|'/C calc'!A0, "😀"`, 'created'],
      [9, undefined, 'invalid_request'],
      [10, 'h', 'adopted'],
    ],
  );
  const users = await exportLines(app);
  assert.deepEqual(
    users.find(({ userId }) => userId === 'new'),
    { imId, userId: 'new', createdAt: '2020-02-03T04:05:06.789Z' },
  );
});

test('a wrong header is a 400 before anything is done, however long the file', async () => {
  const app = await service.createApp();
  const answer = await service.call('POST', `${app.path}/identities/import`, {
    key: app.apiKey,
    body: `user,imId\n${'bob,\n'.repeat(500_000)}`,
    headers: { 'content-type': CSV },
  });
  assert.equal(answer.status, 400);
  assert.equal(answer.body.code, 'invalid_request');
  assert.deepEqual(answer.body.errors, [
    {
      in: 'body',
      pointer: '#/header',
      detail: 'must be a line that names the columns userId and at most imId, createdAt, adopt, with commas',
    },
  ]);
  assert.equal(await exportText(app), '');
});

test('every legal name survives export and import as CSV, imIds and times included', async () => {
  const names = [...new Set(fc.sample(legalName, 3_000))];
  const [from, to] = [await service.createApp(['registered']), await service.createApp(['registered'])];
  const lines = names.map((userId) => `${JSON.stringify({ userId })}\n`).join('');
  await importText(from, lines);
  const csv = await exportText(from, CSV);
  assert.match(csv, /^userId,imId,createdAt\n/);
  const results = await importText(to, csv, CSV);
  assert.equal(results.length, names.length);
  assert.ok(results.every((result) => result.status === 'created'));
  const sorted = (text: string) => text.split('\n').toSorted();
  assert.deepEqual(sorted(await exportText(to, CSV)), sorted(csv));
  assert.deepEqual(new Set((await exportLines(to)).map(({ userId }) => userId)), new Set(names));
  assert.ok((await importText(to, csv, CSV)).every((result) => result.status === 'existing'));
});

test('an export is CSV for who prefers that, and NDJSON for all others', async () => {
  const app = await service.createApp();
  await app.register('bob');
  for (const [accept, isCsv] of [
    ['*/*', false],
    ['application/json', false],
    [`${CSV};q=0.5, ${NDJSON}`, false],
    [`${CSV}, */*;q=0.1`, true],
    [`application/json, ${CSV};q=0.2`, true],
  ] as const)
    assert.equal((await exportText(app, accept)).startsWith('userId,'), isCsv, accept);
});
