// CSV as it is read: every legal name unchanged, every bad record a fault of its line and of no other.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readCsv } from '../src/edge/csv.ts';
import { legalName } from './names.ts';

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
