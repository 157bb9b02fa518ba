// Lists of an app's users: filters, and pages that hold while users come.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import fc from 'fast-check';
import { startService, type Json, type Service, type Tenant } from './harness.ts';
import { legalName } from './names.ts';

let service: Service;
before(async () => {
  service = await startService();
});

async function list(app: Tenant, query: Record<string, string | number>): Promise<Json> {
  const search = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]));
  return app.call('GET', `/identities?${search.toString()}`);
}

async function names(app: Tenant, query: Record<string, string | number>): Promise<string[]> {
  const all: string[] = [];
  let cursor: string | undefined;
  do {
    const { status, body } = await list(app, { ...query, ...(cursor !== undefined && { cursor }) });
    assert.equal(status, 200, JSON.stringify(body));
    all.push(...body.items.map((item: Json) => item.userId ?? item.uid));
    cursor = body.nextCursor;
  } while (cursor !== undefined);
  return all;
}

test('filters by scheme, by the beginning of the name, and by time, alone and together', async () => {
  const app = await service.createApp();
  const use = (uid: string) => app.call('POST', '/messages', { from: { uid }, to: { uid }, content: 1 });
  await use('b-composed');
  await app.register('b-registered');
  await use('a-composed');
  await app.register('a-registered');
  const all = await app.call('GET', '/identities');
  const times = all.body.items.map((item: Json) => item.createdAt as string);
  assert.deepEqual(await names(app, {}), ['b-composed', 'b-registered', 'a-composed', 'a-registered']);
  assert.deepEqual(await names(app, { scheme: 'composed' }), ['b-composed', 'a-composed']);
  assert.deepEqual(await names(app, { scheme: 'registered', limit: 1 }), ['b-registered', 'a-registered']);
  assert.deepEqual(await names(app, { namePrefix: 'a-' }), ['a-composed', 'a-registered']);
  assert.deepEqual(await names(app, { namePrefix: 'b-', scheme: 'composed' }), ['b-composed']);
  assert.deepEqual(await names(app, { createdFrom: times[2], limit: 1 }), ['a-composed', 'a-registered']);
  assert.deepEqual(await names(app, { createdBefore: times[2] }), ['b-composed', 'b-registered']);
  assert.deepEqual(await names(app, { createdFrom: times[1], createdBefore: times[2] }), ['b-registered']);
});

test('what can’t be asked for is refused, naming the field', async () => {
  const app = await service.createApp();
  const faults = async (query: Record<string, string>): Promise<string[]> => {
    const { status, body } = await list(app, query);
    assert.equal(status, 400, JSON.stringify(query));
    return body.errors.map((fault: Json) => fault.pointer);
  };
  assert.deepEqual(await faults({ scheme: 'both' }), ['#/scheme']);
  assert.deepEqual(await faults({ createdFrom: 'yesterday' }), ['#/createdFrom']);
  assert.deepEqual(await faults({ namePrefix: '' }), ['#/namePrefix']);
  assert.deepEqual(await faults({ namePrefix: 'a', userId: 'b' }), ['#/namePrefix']);
  assert.deepEqual(await faults({ formerName: 'a', scheme: 'composed' }), ['#/scheme']);
  const { nextCursor } = (await list(app, {})).body;
  assert.equal(nextCursor, undefined);
  assert.deepEqual(await faults({ namePrefix: 'a', cursor: Buffer.from('after:7').toString('base64url') }), [
    '#/cursor',
  ]);
});

test('a prefix finds exactly the names that begin with it, in the order of bytes', async () => {
  const app = await service.createApp();
  const used = new Set<string>();
  await fc.assert(
    fc.asyncProperty(fc.array(legalName, { minLength: 1, maxLength: 8 }), fc.nat(), async (some, pick) => {
      for (const name of some) {
        await app.register(name);
        used.add(name);
      }
      const [first] = some;
      const points = Array.from(first!);
      const prefix = points.slice(0, 1 + (pick % points.length)).join('');
      const expected = [...used].filter((name) => name.startsWith(prefix));
      expected.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      assert.deepEqual(await names(app, { namePrefix: prefix, limit: 3 }), expected);
    }),
    { numRuns: 25 },
  );
});

test('pages show every user that was there at the start once, while others come', async () => {
  const app = await service.createApp();
  const early = Array.from({ length: 40 }, (_, i) => `u${String(i).padStart(2, '0')}`);
  for (const name of early) await app.register(name);
  for (const query of [{}, { namePrefix: 'u' }]) {
    const isDone = { value: false };
    const coming = (async () => {
      for (let i = 0; !isDone.value; i++)
        await app.register(`u${String(i % 40).padStart(2, '0')}-${Object.keys(query).length}-${i}`);
    })();
    const seen = await names(app, { ...query, limit: 7 });
    isDone.value = true;
    await coming;
    assert.equal(new Set(seen).size, seen.length);
    assert.deepEqual(
      early.filter((name) => !seen.includes(name)),
      [],
    );
  }
});
