// Kills the service with SIGKILL in the middle of what takes long, starts it again and asks for the same: it must end as if
// nothing had happened. IMID_SOAK_SEED plays a run again, IMID_SOAK_ROUNDS makes it longer.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import pg from 'pg';
import { ADMIN_KEY, call, createDatabase, type Answer, type Json } from '../test/harness.ts';
import { Process } from '../test/process.ts';
import { createRandom, rounds, seed } from '../test/random.ts';

const random = createRandom(seed);
console.log(`crashes: seed ${seed}, ${rounds} rounds each`);

/** A service that is killed and started again, on one database. */
async function createVictim() {
  const { name, connection } = await createDatabase();
  const DATABASE_URL = `postgres://${connection.user}@localhost:${connection.port}/${name}?host=${connection.host}`;
  const env = { DATABASE_URL, IMID_ADMIN_KEY: ADMIN_KEY, IMID_SECRET: 'secret-of-the-soak' };
  let process = new Process(env);
  let url = await process.url();
  const ask = (method: string, path: string, body?: unknown, type?: string): Promise<Answer> =>
    call(url, method, path, { body, ...(type !== undefined && { headers: { 'content-type': type } }) });
  const { body: app } = await ask('POST', '/v1/apps', {
    name: 'chat',
    schemes: ['composed', 'registered'],
  });
  return {
    pool: new pg.Pool({ ...connection, max: 2 }),
    path: `/v1/apps/${app.appId as string}`,
    appId: app.appId as string,
    ask,
    /** Kills the service within `withinMs`, wherever it is then, and starts it again. */
    async crash(withinMs: number): Promise<void> {
      await sleep(random() * withinMs);
      await process.end('SIGKILL');
      process = new Process(env);
      url = await process.url();
    },
    stop: () => process.end('SIGTERM'),
  };
}

/** What a call that was under way comes to when the service is killed. */
const lost = (): undefined => undefined;

test('an import that was killed, sent again, ends in the same state', { timeout: 1_200_000 }, async () => {
  const victim = await createVictim();
  for (let round = 0; round < rounds; round++) {
    const names = Array.from({ length: 20_000 }, (_, i) => `r${round}-${i}`);
    const lines = names.map((userId) => `${JSON.stringify({ userId })}\n`).join('');
    const send = () => victim.ask('POST', `${victim.path}/identities/import`, lines, 'application/x-ndjson');
    const first = send().catch(lost);
    await victim.crash(600);
    await first;
    const { text } = await send();
    const results = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      results.map(({ line, userId }) => [line, userId]),
      names.map((name, i) => [i + 1, name]),
    );
    assert.ok(results.every(({ status }) => status === 'created' || status === 'existing'));
    const exported = await victim.ask('GET', `${victim.path}/identities/export`);
    const imIds = new Map(
      exported.text
        .trim()
        .split('\n')
        .map((line) => {
          const { userId, imId } = JSON.parse(line);
          return [userId as string, imId as string];
        }),
    );
    assert.equal(imIds.size, names.length * (round + 1));
    for (const { userId, imId } of results) assert.equal(imIds.get(userId), imId);
  }
  await victim.pool.end();
  await victim.stop();
});

test(
  'a merger that was killed under traffic, asked for again, loses and doubles nothing',
  { timeout: 1_200_000 },
  async () => {
    const victim = await createVictim();
    const MANY = 8_000;
    for (let round = 0; round < rounds; round++) {
      const [big, small] = [`big-${round}`, `small-${round}`];
      const say = (to: string, id: string): Promise<Answer> =>
        victim.ask('POST', `${victim.path}/messages`, {
          from: { uid: 'x' },
          to: { uid: to },
          content: id,
          id,
        });
      for (const to of [big, small]) await say(to, `first to ${to}`);
      await victim.pool.query(
        `insert into message (app_id, id, recipient_id, recipient_seq, client_id, part, content, at)
       select $1, gen_random_uuid(), u.id, n, n::text, 0, n::text, now()
       from identity u, generate_series(u.last_seq + 1, $3::integer) as n where u.app_id = $1 and u.name = $2`,
        [victim.appId, big, MANY],
      );
      await victim.pool.query('update identity set last_seq = $3 where app_id = $1 and name = $2', [
        victim.appId,
        big,
        MANY,
      ]);
      const merge = () =>
        victim.ask('POST', `${victim.path}/identities/${victim.appId}:${small}/merge`, {
          from: { uid: big },
        });
      const first = merge().catch(lost);
      const ids = Array.from({ length: 40 }, (_, i) => [i % 2 ? big : small, `${round}/${i}`] as const);
      const saying = ids.map(([to, id]) => say(to, id).catch(lost));
      await victim.crash(400);
      await Promise.all([first, ...saying]);
      assert.equal((await merge()).status, 200);
      for (const [to, id] of ids) assert.equal((await say(to, id)).status, 201);

      const all: Json[] = [];
      for (;;) {
        const after = (all.at(-1)?.seq ?? 0) as number;
        const query = `imId=${victim.appId}:${small}&limit=1000&after=${after}`;
        const { body } = await victim.ask('GET', `${victim.path}/messages?${query}`);
        if (body.items.length === 0) break;
        all.push(...body.items);
      }
      assert.deepEqual(
        all.map(({ seq }) => seq),
        all.map((_, i) => i + 1),
      );
      const contents = all.map(({ content }) => content as string | number);
      const moved = contents.filter((content) => typeof content === 'number');
      assert.deepEqual(
        moved,
        Array.from({ length: MANY - 1 }, (_, i) => i + 2),
      );
      const said = contents.filter((content) => typeof content === 'string');
      assert.deepEqual(
        said.toSorted(),
        [`first to ${big}`, `first to ${small}`, ...ids.map(([, id]) => id)].toSorted(),
      );
    }
    console.log(`crashes: seed ${seed}, ${rounds} rounds each, all good`);
    await victim.pool.end();
    await victim.stop();
  },
);
