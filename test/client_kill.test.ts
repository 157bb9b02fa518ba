// The client library when the service is killed under it: what it was told is stored, and what it wasn't it says again.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { watch } from './clients.ts';
import { startGate } from './gate.ts';
import { ADMIN_KEY, call, createDatabase, urlOf } from './harness.ts';
import { SECRET } from './logs.ts';
import { makeDirectory, Process } from './process.ts';

const to = { host: '127.0.0.1', port: 0 };
const gate = await startGate(to);
after(() => gate.close());
const url = `http://127.0.0.1:${gate.connection.port}`;

test('a client whose service is killed goes on with the next one: nothing lost, nothing twice, in order', async () => {
  const { name, connection } = await createDatabase();
  const env = {
    IMID_DATA_DIR: await makeDirectory(),
    DATABASE_URL: urlOf(connection, name),
    IMID_ADMIN_KEY: ADMIN_KEY,
    IMID_SECRET: SECRET,
    IMID_PUBLIC_URL: 'https://imid.example',
  };
  const start = async (): Promise<Process> => {
    const started = new Process(env);
    to.port = Number(new URL(await started.url()).port);
    return started;
  };
  const first = await start();
  const ask = async (path: string, key: string, body: object) =>
    (await call(url, 'POST', path, { key, body })).body;
  const { appId, apiKey } = await ask('/v1/apps', ADMIN_KEY, { name: 'chat', schemes: ['composed'] });
  const open = (uid: string) =>
    watch({
      url,
      getToken: async () => (await ask(`/v1/apps/${appId}/tokens`, apiKey, { uid })).token as string,
    });
  const [alice, bob] = [open('alice'), open('bob')];
  await Promise.all([alice.client.connect(), bob.client.connect()]);

  const all = Array.from({ length: 300 }, (_, n) => n);
  const sending = all.map((n) => alice.client.send({ uid: 'bob' }, n));
  await bob.wait('message', ({ content }) => content === 40);
  await first.end('SIGKILL');
  await bob.wait('state', ({ state }) => state === 'waiting');
  const second = await start();
  const sent = await Promise.all(sending);
  await bob.wait('message', ({ content }) => content === all.at(-1));
  assert.deepEqual(
    bob.seen.message.map(({ content }) => content),
    all,
  );
  assert.equal(new Set(sent.map(({ messageId }) => messageId)).size, all.length);
  assert.deepEqual([bob.seen.reset, bob.client.acked, alice.client.outbox], [[], all.length, []]);

  // One that is stopped as it should be says so, and is come back from as well.
  const stopping = second.end('SIGTERM');
  const { error } = await bob.wait('state', (each) => each.error?.closeCode === 1001);
  assert.equal(error!.code, 'unavailable');
  assert.equal(await stopping, 0);
});
