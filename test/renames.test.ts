// Renaming many at once: all or nothing, swaps, rings and chains, and nobody logged out.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { startService, type Service, type Tenant } from './harness.ts';

let service: Service;
before(async () => {
  service = await startService();
});

const rename = (app: Tenant, ...renames: object[]) => app.call('POST', '/identities/rename', { renames });
const nameOf = async (app: Tenant, imId: string) =>
  (await app.call('GET', `/identities/${imId}`)).body.userId;

async function createUsers(...names: string[]) {
  const app = await service.createApp();
  const users = new Map<string, { imId: string; token: string }>();
  for (const name of names) {
    const imId = await app.register(name);
    users.set(name, { imId, token: await app.token({ uid: name }) });
    await app.call('POST', '/messages', { from: { uid: name }, to: { uid: name }, content: `of ${name}` });
  }
  const imIdOf = (name: string) => users.get(name)!.imId;
  return { app, users, imIdOf };
}

test('swaps, rings and chains are one act', async () => {
  const { app, users, imIdOf } = await createUsers('a', 'b', 'c', 'd', 'e', 'f', 'g');
  const socket = await service.connect(users.get('a')!.token);
  const moves = { a: 'b', b: 'a', c: 'd', d: 'e', e: 'c', f: 'g', g: 'new' };
  const answer = await rename(
    app,
    ...Object.entries(moves).map(([from, userId]) => ({ imId: imIdOf(from), userId })),
  );
  assert.deepEqual([answer.status, answer.body], [200, { renamed: 7 }]);
  for (const [from, to] of Object.entries(moves)) {
    const { imId, token } = users.get(from)!;
    assert.equal(await nameOf(app, imId), to);
    assert.deepEqual(
      (await app.call('POST', '/resolve', { addresses: [{ userId: to }] })).body.results[0].imId,
      imId,
    );
    assert.equal((await service.call('GET', '/v1/me', { key: token })).body.uid, to);
    assert.equal(
      (await service.call('GET', '/v1/me/messages', { key: token })).body.items[0].content,
      `of ${from}`,
    );
    const fresh = await app.token({ uid: to });
    assert.equal(
      (await service.call('GET', '/v1/me/messages', { key: fresh })).body.items[0].content,
      `of ${from}`,
    );
  }
  await app.call('POST', '/messages', {
    from: { uid: 'x' },
    to: { userId: 'b' },
    content: 'to the former a',
  });
  assert.equal((await socket.messages(1))[0].content, 'to the former a');
});

test('one name that is taken, or one imId that is nobody’s, and nothing is renamed', async () => {
  const { app, imIdOf } = await createUsers('a', 'b', 'c');
  await app.connect({ uid: 'used' });
  const cases: [object[], number, string, string][] = [
    [
      [
        { imId: imIdOf('a'), userId: 'z' },
        { imId: imIdOf('b'), userId: 'c' },
      ],
      409,
      'conflict',
      '#/renames/1/userId',
    ],
    [
      [
        { imId: imIdOf('a'), userId: 'z' },
        { imId: imIdOf('b'), userId: 'used' },
      ],
      409,
      'conflict',
      '#/renames/1/userId',
    ],
    [
      [
        { imId: imIdOf('a'), userId: 'z' },
        { imId: 'im_00000000000000000000000000', userId: 'y' },
      ],
      404,
      'not_found',
      '#/renames/1/imId',
    ],
    [
      [
        { imId: imIdOf('a'), userId: 'z' },
        { imId: imIdOf('b'), userId: 'z' },
      ],
      400,
      'invalid_request',
      '#/renames/1/userId',
    ],
    [
      [
        { imId: imIdOf('a'), userId: 'z' },
        { imId: `${app.appId}:a`, userId: 'y' },
      ],
      400,
      'invalid_request',
      '#/renames/1/imId',
    ],
    [[{ imId: imIdOf('a') }], 400, 'invalid_request', '#/renames/0'],
    [[{ imId: imIdOf('a'), userId: 'y', uid: 'y' }], 400, 'invalid_request', '#/renames/0'],
    [[], 400, 'invalid_request', '#/renames'],
  ];
  for (const [renames, status, code, pointer] of cases) {
    const { body, ...answer } = await rename(app, ...renames);
    assert.deepEqual([answer.status, body.code, body.errors[0].pointer], [status, code, pointer]);
    assert.deepEqual(await Promise.all(['a', 'b', 'c'].map((name) => nameOf(app, imIdOf(name)))), [
      'a',
      'b',
      'c',
    ]);
  }
});

test('two lists that want each other’s names end in one of the two orders', async () => {
  const { app, imIdOf } = await createUsers('a', 'b');
  for (let round = 0; round < 20; round++) {
    const [a, b] = [await nameOf(app, imIdOf('a')), await nameOf(app, imIdOf('b'))];
    const answers = await Promise.all([
      rename(app, { imId: imIdOf('a'), userId: b }, { imId: imIdOf('b'), userId: a }),
      rename(app, { imId: imIdOf('b'), userId: a }, { imId: imIdOf('a'), userId: b }),
      app.call('POST', '/messages', { from: { userId: a }, to: { userId: b }, content: round }),
    ]);
    assert.deepEqual(
      answers.map((answer) => answer.status),
      [200, 200, 201],
    );
    assert.deepEqual([await nameOf(app, imIdOf('a')), await nameOf(app, imIdOf('b'))], [b, a]);
  }
});

test('composed users, also such as nothing is stored of, are renamed by the same list', async () => {
  const app = await service.createApp();
  const token = await app.token({ uid: 'ghost' });
  await app.call('POST', '/messages', { from: { uid: 'x' }, to: { uid: 'x' }, content: 1 });
  const answer = await rename(
    app,
    { imId: `${app.appId}:x`, uid: 'ghost' },
    { imId: `${app.appId}:ghost`, uid: 'x' },
  );
  assert.deepEqual(answer.body, { renamed: 2 });
  assert.equal((await service.call('GET', '/v1/me', { key: token })).body.uid, 'x');
  assert.equal((await app.inbox(`${app.appId}:ghost`)).length, 1);
});
