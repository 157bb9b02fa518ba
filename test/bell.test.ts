// Rings between processes, through Postgres and through NATS: the same promises, kept by each.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { readConfig } from '../src/config.ts';
import { createBell, MAX_NOTE_BYTES, type Bell } from '../src/routing/bell.ts';
import { openDatabase, type Database } from '../src/store/database.ts';
import { startGate, type Gate } from './gate.ts';
import { createDatabase, eventually } from './harness.ts';
import { findFreePort, findNatsServer, Nats, STAND_IN, type Program } from './nats.ts';

/** What a bell rings through, and what may happen to it. */
interface FarEnd {
  natsUrl?: string;
  /** It is gone, with every connection. */
  end(): Promise<void>;
  start(): Promise<void>;
  /** It takes what it is sent, and says nothing. */
  freeze(): void;
  thaw(): void;
}

interface Party {
  id: string;
  bell: Bell;
  heard: string[];
  listened: number;
  logged: string[];
}

let gate: Gate;
let database: Database;
const parties: Party[] = [];

before(async () => {
  const { connection } = await createDatabase();
  gate = await startGate(connection);
  database = await openDatabase({ connection: gate.connection, log: () => {} });
});
after(async () => {
  gate.open();
  await Promise.all(parties.map((party) => party.bell.close()));
  await database.close();
  await gate.close();
});

function join(natsUrl: string | undefined, onRing?: (note: string) => void): Party {
  const party: Party = { id: randomUUID(), bell: undefined!, heard: [], listened: 0, logged: [] };
  party.bell = createBell({
    processId: party.id,
    onRing: onRing ?? ((note) => party.heard.push(note)),
    onListening: () => (party.listened += 1),
    log: (message, error) => party.logged.push(`${message}: ${String(error)}`),
    database,
    natsUrl,
  });
  parties.push(party);
  return party;
}

const isHeard = (...some: Party[]): Promise<unknown> =>
  eventually(() => some.every((party) => party.listened > 0), 'the bells');

async function joinBoth(natsUrl: string | undefined): Promise<[Party, Party]> {
  const both: [Party, Party] = [join(natsUrl), join(natsUrl)];
  await isHeard(...both);
  return both;
}

/** Rings until a ring arrives. */
async function ringThrough(from: Party, to: Party): Promise<void> {
  const note = randomUUID();
  await eventually(() => {
    from.bell.ring([{ processId: to.id, note }]);
    return to.heard.includes(note);
  }, 'a ring');
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** In bytes. */
function measureMemory(): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

async function timeClose(party: Party): Promise<number> {
  const startedAt = performance.now();
  await party.bell.close();
  return performance.now() - startedAt;
}

function testBell(name: string, kind: Bell['kind'], open: () => Promise<FarEnd>): void {
  describe(name, { concurrency: 1 }, () => {
    let farEnd: FarEnd;
    let url: string | undefined;
    before(async () => {
      farEnd = await open();
      url = farEnd.natsUrl;
    });

    test('a note arrives at the process it is for, and at no other', async () => {
      const [a, b, c] = [join(url), join(url), join(url)];
      await isHeard(a, b, c);
      assert.equal(a.bell.kind, kind);
      const note = '{"inboxes":[1,2]} ünïcode 🔔 \'"\\{},\r\n';
      a.bell.ring([
        { processId: b.id, note },
        { processId: randomUUID(), note: 'nobody' },
      ]);
      await eventually(() => b.heard.length > 0);
      a.bell.ring([{ processId: c.id, note: 'last' }]);
      await eventually(() => c.heard.length > 0);
      assert.deepEqual([a.heard, b.heard, c.heard], [[], [note], ['last']]);
    });

    test('thousands of notes at once arrive, in their order, from each process', async () => {
      const [a, b] = await joinBoth(url);
      const notes = (of: string): string[] =>
        Array.from({ length: 5_000 }, (_, n) => `${of}${n}`.padEnd(100));
      for (let n = 0; n < 5_000; n += 10)
        for (const [from, to, of] of [
          [a, b, 'a'],
          [b, a, 'b'],
        ] as const)
          from.bell.ring(
            notes(of)
              .slice(n, n + 10)
              .map((note) => ({ processId: to.id, note })),
          );
      await eventually(() => a.heard.length >= 5_000 && b.heard.length >= 5_000);
      assert.deepEqual([a.heard, b.heard], [notes('b'), notes('a')]);
    });

    test('the longest note arrives; a longer one, or an id that is none, is the ringer’s mistake', async () => {
      const [a, b] = await joinBoth(url);
      const longest = 'é'.repeat(MAX_NOTE_BYTES / 2);
      const good = { processId: b.id, note: 'good' };
      for (const bad of [
        { processId: b.id, note: `${longest}x` },
        { processId: b.id, note: 'a\0b' },
        { processId: 'x.>', note: '' },
        { processId: b.id.toUpperCase(), note: '' },
      ])
        assert.throws(() => a.bell.ring([good, bad]), RangeError);
      a.bell.ring([{ processId: b.id, note: longest }]);
      await eventually(() => b.heard.length > 0);
      assert.deepEqual(b.heard, [longest]);
    });

    test('what a ring leads to may fail: it is logged, and the next one is heard', async () => {
      const heard: string[] = [];
      const a = join(url);
      const b = join(url, (note) => {
        heard.push(note);
        throw new Error(`at ${note}`);
      });
      await isHeard(a, b);
      a.bell.ring(['x', 'y'].map((note) => ({ processId: b.id, note })));
      await eventually(() => b.logged.length === 2);
      assert.deepEqual(heard, ['x', 'y']);
      assert.match(b.logged.join(), /at x.*at y/);
    });

    test('what was rung before close() is sent, and nothing is rung or heard after it', async () => {
      const [a, b] = await joinBoth(url);
      const notes = Array.from({ length: 1_000 }, (_, n) => String(n));
      for (const note of notes) a.bell.ring([{ processId: b.id, note }]);
      const closed = a.bell.close();
      a.bell.ring([{ processId: b.id, note: 'late' }]);
      b.bell.ring([{ processId: a.id, note: 'late' }]);
      await closed;
      await eventually(() => b.heard.length >= notes.length);
      const c = join(url);
      await ringThrough(c, b);
      assert.deepEqual(b.heard.slice(0, notes.length), notes);
      assert.ok(!b.heard.includes('late'));
      assert.deepEqual(a.heard, []);
      await a.bell.close();
    });

    test('gone and back: rings come again, each bell says so, and nothing throws meanwhile', async () => {
      const [a, b] = await joinBoth(url);
      await farEnd.end();
      await eventually(() => a.logged.length > 0 && b.logged.length > 0);
      for (let n = 0; n < 1_000; n++) a.bell.ring([{ processId: b.id, note: 'meanwhile' }]);
      await farEnd.start();
      await eventually(() => a.listened >= 2 && b.listened >= 2);
      await ringThrough(a, b);
      await ringThrough(b, a);
      assert.match(a.logged.at(-1)!, /heard again/);
    });

    test('not there at first: it is waited for, and close() doesn’t wait', async () => {
      await farEnd.end();
      const [a, b, c] = [join(url), join(url), join(url)];
      a.bell.ring([{ processId: b.id, note: 'too early' }]);
      await eventually(() => a.logged.length > 0);
      assert.match(a.logged[0]!, /not heard/);
      assert.ok((await timeClose(c)) < 1_000);
      await farEnd.start();
      await isHeard(a, b);
      await ringThrough(a, b);
      assert.equal(c.listened, 0);
    });

    test('frozen: memory is bounded, close() doesn’t wait, it is noticed, and rings come again', async () => {
      const [a, b] = await joinBoth(url);
      const [idle, busy] = await joinBoth(url);
      const atFirst = measureMemory();
      farEnd.freeze();
      busy.bell.ring([{ processId: b.id, note: 'under way' }]);
      for (let n = 0; n < 100_000; n++)
        a.bell.ring([{ processId: b.id, note: Buffer.alloc(1_000, `${n} `).toString('latin1') }]);
      const grown = measureMemory() - atFirst;
      assert.ok(grown < 60e6, `${grown} bytes more for 100 MB of notes`);
      for (const party of [idle, busy]) assert.ok((await timeClose(party)) < 3_000);
      await eventually(() => [a, b].every((party) => /no answer/.test(party.logged.join())), 'the silence');
      farEnd.thaw();
      await eventually(() => a.listened >= 2 && b.listened >= 2);
      await ringThrough(a, b);
    });
  });
}

async function openGate(): Promise<FarEnd> {
  return {
    end: async () => gate.shut(),
    start: async () => gate.open(),
    freeze: () => gate.mute(),
    thaw() {
      gate.shut();
      gate.open();
    },
  };
}

function testNats(name: string, program: Program): void {
  testBell(name, 'nats', async () => {
    const nats = new Nats(program, await findFreePort());
    await nats.start();
    return {
      natsUrl: nats.url,
      end: () => nats.kill(),
      start: () => nats.start(),
      freeze: () => nats.freeze(),
      thaw: () => nats.thaw(),
    };
  });

  test(`${name}: lets in who has the credentials of the URL, and tells nobody which they are`, async () => {
    const password = 'p%,:/@#? s3cret';
    for (const [options, credentials] of [
      [['--user', 'imid', '--pass', password], `imid:${encodeURIComponent(password)}`],
      [['--auth', password], encodeURIComponent(password)],
    ] as const) {
      const nats = new Nats(program, await findFreePort(), options);
      await nats.start();
      const host = `127.0.0.1:${nats.port}`;
      const dead = `127.0.0.1:${await findFreePort()}`;
      const url = `nats://${credentials}@${dead},nats://${host}`;
      assert.equal(readConfig({ NATS_URL: url }).natsUrl, url);
      const [a, b] = await joinBoth(url);
      await ringThrough(a, b);
      const stranger = join(`nats://imid:wrong-s3cret@${host}`);
      await eventually(() => stranger.logged.length > 0);
      assert.match(stranger.logged[0]!, /authorization/i);
      assert.doesNotMatch([...a.logged, ...stranger.logged].join(), /s3cret/);
      assert.equal(stranger.listened, 0);
      for (const party of [a, b, stranger]) await party.bell.close();
      await nats.kill();
    }
  });
}

describe('through', { concurrency: true }, () => {
  testBell('Postgres', 'postgres', openGate);
  const server = findNatsServer();
  if (server) testNats('NATS', server);
  else if (process.env['CI'])
    test('NATS', () => assert.fail('nats-server is not installed, which CI=true asks for'));
  testNats('a stand-in for NATS', STAND_IN);
});

test('a connection that Postgres ends is made anew', async () => {
  const [a, b] = await joinBoth(undefined);
  const { rowCount } = await database.pool.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and query like '%pg_notify%' and pid <> pg_backend_pid()`,
  );
  assert.ok(rowCount! >= 2);
  await eventually(() => a.listened >= 2 && b.listened >= 2);
  await ringThrough(a, b);
  assert.match(a.logged[0]!, /administrator command/);
});

test('NATS_URL is checked, and never quoted', () => {
  for (const good of [
    'nats://127.0.0.1:4222',
    'tls://nats.example',
    'nats://[::1]:4222, nats://b',
    'nats://token@a,nats://b',
    'nats://user:p%40ss@a:1,nats://user:p%40ss@b:2',
  ])
    assert.equal(readConfig({ NATS_URL: good }).natsUrl, good);
  assert.equal(readConfig({ NATS_URL: '' }).natsUrl, undefined);
  for (const bad of [
    'localhost:4222',
    'http://user:s3cret@a',
    'nats://',
    'nats://:s3cret@a',
    'nats://user:12#s3cret@a',
    'nats://user:12/s3cret@a',
    'nats://user:12?s3cret@a',
    'nats://user:12%s3cret@a',
    'nats://user:12,s3cret@a',
    'nats://user:s3cret@a,nats://other:s3cret@b',
    'nats://a,',
  ])
    assert.throws(
      () => readConfig({ NATS_URL: bad }),
      (error: Error) => error.message.startsWith('NATS_URL must') && !error.message.includes('s3cret'),
      bad,
    );
});
