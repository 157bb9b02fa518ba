// Import and export with gzip in and out: streams all the way, and an end where the gzip ends.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { createGunzip, gunzipSync, gzipSync } from 'node:zlib';
import { startService, type Service } from './harness.ts';
import { bytesOf, createTransfers, CSV, NDJSON, parseLines, responseTo } from './imports.ts';

let service: Service;
before(async () => {
  service = await startService();
});
const { importText, exportText, exportLines, begin } = createTransfers(() => service);

const GZIP = { 'content-encoding': 'gzip' };
const names = (count: number) => Array.from({ length: count }, (_, i) => `user-${i}`);
const toNdjson = (userIds: string[]) => userIds.map((userId) => `{"userId":"${userId}"}\n`).join('');

test('gzip is taken in either format, in several members as well', async () => {
  const app = await service.createApp();
  const ndjson = Buffer.concat([gzipSync(toNdjson(['a', 'b'])), gzipSync(toNdjson(['c']))]);
  const csv = Buffer.concat([gzipSync('userId\nd\n'), Buffer.alloc(512)]);
  const results = [
    ...(await importText(app, ndjson, NDJSON, GZIP)),
    ...(await importText(app, csv, CSV, GZIP)),
  ];
  assert.deepEqual(
    results.map(({ userId, status }) => [userId, status]),
    ['a', 'b', 'c', 'd'].map((userId) => [userId, 'created']),
  );
});

test('results and exports come gzipped to who accepts that, and plain to all others', async () => {
  const app = await service.createApp();
  const plain = begin(app, { 'accept-encoding': 'identity, gzip;q=0' });
  plain.end(toNdjson(['a']));
  const plainResponse = await responseTo(plain);
  assert.equal(plainResponse.headers['content-encoding'], undefined);
  assert.equal(parseLines((await bytesOf(plainResponse)).toString())[0].status, 'created');
  const zipped = begin(app, { 'accept-encoding': 'br, gzip' });
  zipped.end(toNdjson(names(5_000)));
  const response = await responseTo(zipped);
  assert.equal(response.headers['content-encoding'], 'gzip');
  assert.match(response.headers.vary ?? '', /accept-encoding/);
  assert.equal(parseLines(gunzipSync(await bytesOf(response)).toString()).length, 5_000);
  const exported = await fetch(`${service.url}${app.path}/identities/export`, {
    headers: { authorization: `Bearer ${app.apiKey}` },
  });
  assert.equal(exported.headers.get('content-encoding'), 'gzip');
  assert.equal(parseLines(await exported.text()).length, 5_001);
});

test('gzipped results come while gzipped lines are still going in', async () => {
  const app = await service.createApp();
  const sending = begin(app, { ...GZIP, 'accept-encoding': 'gzip' });
  sending.write(gzipSync(toNdjson(['a'])));
  const results = (await responseTo(sending)).pipe(createGunzip())[Symbol.asyncIterator]();
  assert.equal(parseLines((await results.next()).value.toString())[0].userId, 'a');
  sending.write(gzipSync(toNdjson(['b'])));
  assert.equal(parseLines((await results.next()).value.toString())[0].userId, 'b');
  sending.end();
  assert.equal((await results.next()).done, true);
});

test('gzip that ends early ends the import with an error, and everything before it is done', async () => {
  const app = await service.createApp();
  const whole = gzipSync(toNdjson(names(20_000)));
  const half = whole.subarray(0, whole.length / 2);
  const complete = gunzipSync(half, { finishFlush: 2 }).toString().split('\n').length - 1;
  const results = await importText(app, half, NDJSON, GZIP);
  assert.equal(results.length, complete + 1);
  assert.equal(results.at(-2).line, complete);
  assert.deepEqual(results.at(-1), {
    error: {
      code: 'invalid_request',
      detail: 'The gzip is broken, or ends early; what has no result is not done.',
    },
  });
  assert.equal((await exportLines(app)).length, complete);
  const again = await importText(app, whole, NDJSON, GZIP);
  assert.equal(again.filter(({ status }) => status === 'existing').length, complete);
  assert.equal(again.filter(({ status }) => status === 'created').length, 20_000 - complete);
});

test('gzip that breaks while much is still to come ends in an error, not in a hang', async () => {
  const app = await service.createApp();
  const [good, header] = [gzipSync(toNdjson(names(20_000))), gzipSync('').subarray(0, 10)];
  const results = await importText(
    app,
    Buffer.concat([good, header, Buffer.alloc(4_000_000, 0xff)]),
    NDJSON,
    GZIP,
  );
  assert.equal(results.at(-1).error.code, 'invalid_request');
  // zlib lets go of what it had just made when it came upon the bad bytes.
  assert.ok(results.length > 19_000, String(results.length));
  assert.equal((await exportLines(app)).length, results.length - 1);
});

test('what is not gzip, and another encoding, are a 400', async () => {
  const app = await service.createApp();
  for (const [encoding, detail] of [
    ['gzip', /^The gzip is broken/],
    ['br', /^content-encoding must be gzip or identity/],
    ['gzip, gzip', /^content-encoding must be gzip or identity/],
  ] as const) {
    const answer = await service.call('POST', `${app.path}/identities/import`, {
      key: app.apiKey,
      body: toNdjson(names(200_000)),
      headers: { 'content-type': NDJSON, 'content-encoding': encoding },
    });
    assert.equal(answer.status, 400);
    assert.equal(answer.body.code, 'invalid_request');
    assert.match(answer.body.detail, detail);
  }
  assert.equal(await exportText(app), '');
});
