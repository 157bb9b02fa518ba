// What a client keeps in the app's store: of one user alone, none the worse for what else is there, and nothing that it
// can't do without.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { webStore, type Client, type Store } from '../src/client/index.ts';
import { watch, type Watched } from './clients.ts';
import { eventually } from './harness.ts';
import { startScripted, type Scene, type Scripted } from './scripted.ts';

let service: Scripted;
before(async () => {
  service = await startScripted();
});

const BOB = { uid: 'bob' };
const watchWith = (store: Store, timeoutMs?: number): Watched =>
  watch({ url: service.url, getToken: () => Promise.resolve('token'), store, timeoutMs });

/** Connects, and has one message answered. */
async function talk(client: Client): Promise<Scene> {
  const place = service.scenes.length;
  const connecting = client.connect();
  const scene = await service.scene(place);
  scene.welcome();
  await connecting;
  const sending = client.send(BOB, 'x', { id: 'now' });
  await scene.heard('send');
  scene.say({ type: 'sent', id: 'now', messageId: 'm-1', seq: 1, at: '2026-11-25T10:00:00.000Z' });
  await sending;
  return scene;
}

function createStorage() {
  const kept = new Map<string, string>();
  return {
    kept,
    get length() {
      return kept.size;
    },
    key: (index: number) => [...kept.keys()][index] ?? null,
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
    removeItem: (key: string) => void kept.delete(key),
  };
}

test('a user whose id begins as another’s does sends nothing of theirs, and forgets nothing of theirs', async () => {
  const storage = createStorage();
  const theirs = watchWith(webStore('a:out', storage));
  void theirs.client.send(BOB, 'theirs');
  await eventually(() => storage.kept.size === 1);
  const { client } = watchWith(webStore('a', storage));
  const { frames } = await talk(client);
  assert.deepEqual(
    frames.map(({ content }) => content as unknown),
    ['x'],
  );
  await client.logout();
  assert.equal(storage.kept.size, 1);
});

test('a page that may keep nothing, a store that fails, and one that never answers, are told, and do no other harm', async () => {
  const fail = (): never => {
    throw new Error('quota');
  };
  const hang = (): Promise<never> => new Promise(() => {});
  const forbidden = Object.defineProperty(createStorage(), 'length', { get: fail });
  for (const [store, cause] of [
    [{ entries: fail, set: fail, delete: fail }, /quota/],
    [{ entries: () => [], set: hang, delete: fail }, /answered/],
    [{ entries: hang, set: hang, delete: hang }, /answered/],
    [{ entries: () => 5 as never, set: fail, delete: fail }, /iterable/],
    [webStore('a', forbidden), /quota/],
  ] as const) {
    const { client, wait } = watchWith(store, 200);
    await talk(client);
    await client.logout();
    const error = await wait('error');
    assert.equal(error.code, 'store_failed');
    assert.match((error.cause as Error).message, cause);
  }
});

test('a place that is none is as good as no place', async () => {
  for (const place of ['{', 'null', '5', '{"seq":"x","epoch":"e"}', '{"seq":-1,"epoch":"e"}', '{"seq":7}']) {
    const { client } = watchWith(new Map([['place', place]]));
    assert.deepEqual((await talk(client)).query, { state: 'foreground' }, place);
  }
});

test('who logs out while the store is read leaves nothing that the next one would send', async () => {
  const left = { type: 'send', id: 'left', to: BOB, content: 'of the former' };
  const kept = new Map([['out:000:left', JSON.stringify(left)]]);
  const read = Promise.withResolvers<void>();
  const { client, seen } = watchWith({
    entries: async () => {
      await read.promise;
      return [...kept];
    },
    set: (key, value) => kept.set(key, value),
    delete: (key) => kept.delete(key),
  });
  const connecting = client.connect();
  const leaving = client.logout();
  read.resolve();
  await leaving;
  await assert.rejects(connecting, { code: 'logged_out' });
  assert.deepEqual([client.outbox, [...kept.keys()]], [[], []]);
  await talk(client);
  assert.deepEqual(
    seen.sent.map(({ id }) => id),
    ['now'],
  );
});

test('what is kept goes out in the order in which it was sent, however the clock is put back meanwhile', async (t) => {
  let now = Date.now();
  t.mock.method(Date, 'now', () => (now -= 60_000));
  const store = new Map<string, string>();
  const first = watchWith(store);
  for (const n of [1, 2]) void first.client.send(BOB, n);
  await eventually(() => store.size === 2);
  const place = service.scenes.length;
  const reloaded = watchWith(store);
  void reloaded.client.connect();
  await eventually(() => reloaded.client.outbox.length === 2);
  for (const n of [3, 4]) void reloaded.client.send(BOB, n);
  await eventually(() => store.size === 4);
  await service.scene(place);
  await reloaded.client.close();
  void watchWith(store).client.connect();
  const scene = await service.scene(place + 1);
  scene.welcome();
  await eventually(() => scene.frames.length === 4);
  assert.deepEqual(
    scene.frames.map(({ content }) => content as unknown),
    [1, 2, 3, 4],
  );
});
