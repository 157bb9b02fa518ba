// Three processes on one database tell each other of what has moved, through Postgres and through NATS. Where nothing but
// rings could have told, positions are checked once an hour.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Registry } from 'prom-client';
import { createMeters } from '../src/routing/meters.ts';
import { createRings, type Listeners } from '../src/routing/rings.ts';
import type { Database } from '../src/store/database.ts';
import { eventually, startService, type Client, type Service, type Tenant } from './harness.ts';
import { findFreePort, findNatsServer, Nats, STAND_IN } from './nats.ts';

const NEVER_MS = 3_600_000;

interface House {
  services: [Service, Service, Service];
  app: Tenant;
  connect(place: number, uid: string, device?: string): Promise<Client>;
}

async function openHouse(natsUrl: string | undefined, heartbeatMs?: number): Promise<House> {
  const app = { natsUrl, heartbeatMs };
  const first = await startService({ app });
  const services: House['services'] = [
    first,
    await startService({ on: first, app }),
    await startService({ on: first, app }),
  ];
  const tenant = await first.createApp();
  return {
    services,
    app: tenant,
    connect: async (place, uid, device) =>
      services[place]!.connect(await tenant.token({ uid }), device === undefined ? {} : { device }),
  };
}

const close = ({ services }: House): Promise<unknown> =>
  Promise.all(services.map((service) => service.close()));

const seqsOf = (client: Client): number[] =>
  client.frames.filter(({ type }) => type === 'message' || type === 'sent').map(({ seq }) => seq as number);

function testDoorbell(name: string, open: () => Promise<Nats | undefined>): void {
  describe(name, { concurrency: 1 }, () => {
    test('messages reach connections on other processes in order and once', async () => {
      const nats = await open();
      const house = await openHouse(nats?.url, NEVER_MS);
      const users = ['u0', 'u1', 'u2'];
      // Everybody has a device on each process, and sends from one of them.
      const clients = await Promise.all(
        users.flatMap((uid) => [0, 1, 2].map((place) => house.connect(place, uid, `device-${place}`))),
      );
      const count = 60;
      const senders = users.map((_, i) => clients[i * 3 + i]!);
      for (let n = 0; n < count; n++)
        for (const [i, sender] of senders.entries())
          sender.send({ type: 'send', id: `m${n}`, to: { uid: users[(i + 1 + (n % 2)) % 3] }, content: n });
      const total = count * 2;
      await eventually(() => clients.every((client) => seqsOf(client).length >= total), 'all messages');
      for (const client of clients)
        assert.deepEqual(
          seqsOf(client),
          Array.from({ length: total }, (_, n) => n + 1),
        );
      await close(house);
      await nats?.kill();
    });

    test('users that go, apps that go and devices that come elsewhere close connections on other processes', async () => {
      const nats = await open();
      const house = await openHouse(nats?.url, NEVER_MS);
      const [erased, moved] = await Promise.all([house.connect(1, 'erased'), house.connect(1, 'guest')]);
      const replaced = await house.connect(1, 'somebody', 'phone');
      await house.app.call('DELETE', `/identities/${house.app.appId}:erased`);
      assert.equal((await erased.waitClosed()).code, 4502);
      await house.app.call('POST', `/identities/${house.app.appId}:account/merge`, {
        from: { uid: 'guest' },
      });
      const second = await moved.wait(({ type, me }) => type === 'welcome' && me.uid === 'account');
      assert.equal(second.resumed, false);
      const newer = await house.connect(2, 'somebody', 'phone');
      assert.equal((await replaced.waitClosed()).code, 4503);
      await house.services[0].call('DELETE', house.app.path);
      assert.equal((await newer.waitClosed()).code, 4502);
      await close(house);
      await nats?.kill();
    });

    test('a process that doesn’t hear the bell sees within a moment what has moved', async () => {
      const nats = await open();
      const house = await openHouse(nats?.url);
      const client = await house.connect(1, 'bob');
      await nats?.kill();
      // Through Postgres: the line is cut over and over, but nothing else.
      const cut = async (): Promise<void> => {
        const bells = `query ilike 'listen%' or query ilike '%pg_notify%'`;
        await house.services[2].database.pool.query(
          `select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid() and (${bells})`,
        );
      };
      for (let n = 1; n <= 3; n++) {
        await house.app.call('POST', '/messages', { from: { uid: 'alice' }, to: { uid: 'bob' }, content: n });
        await eventually(async () => {
          if (!nats) await cut();
          return seqsOf(client).length >= n;
        }, `message ${n}`);
      }
      assert.deepEqual(seqsOf(client), [1, 2, 3]);
      await close(house);
    });
  });
}

testDoorbell('through Postgres', () => Promise.resolve(undefined));
testDoorbell('through NATS', async () => {
  const nats = new Nats(findNatsServer() ?? STAND_IN, await findFreePort());
  await nats.start();
  return nats;
});

test('what moved while NATS was gone is seen as soon as it is back', async () => {
  const nats = new Nats(findNatsServer() ?? STAND_IN, await findFreePort());
  await nats.start();
  const house = await openHouse(nats.url, NEVER_MS);
  const client = await house.connect(1, 'bob');
  await nats.kill();
  for (let n = 1; n <= 3; n++)
    await house.app.call('POST', '/messages', { from: { uid: 'alice' }, to: { uid: 'bob' }, content: n });
  await nats.start();
  await eventually(() => seqsOf(client).length >= 3, 'the messages');
  assert.deepEqual(seqsOf(client), [1, 2, 3]);
  await close(house);
  await nats.kill();
});

test('a note of another version is heard, whatever it leaves out or tells', () => {
  const heard: number[][] = [];
  const rings = createRings({
    database: { clock: { now: () => new Date() } } as Database,
    processId: 'this',
    meters: createMeters(new Registry()),
    log() {},
  });
  const bell = { kind: 'nats', ring() {}, close: () => Promise.resolve() } as const;
  const ignore = (): void => {};
  const listeners: Listeners = {
    process: ignore,
    inbox: (ids) => void heard.push(ids),
    user: ignore,
    replaced: ignore,
    app: ignore,
    key: ignore,
    trust: ignore,
    names: ignore,
    blocks: ignore,
    merged: ignore,
    read: ignore,
    typing: ignore,
  };
  rings.begin(bell, listeners);
  rings.hear(JSON.stringify({ fact: 'inbox', ids: [1] }));
  rings.hear(JSON.stringify({ fact: 'constructor', ids: [2] }));
  assert.deepEqual(heard, [[1]]);
});
