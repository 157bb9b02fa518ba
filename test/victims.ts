// Services and the Postgres they share, with everything that is done to them. Whatever is done, they recover unaided: only a
// service that ended is started again, as a supervisor would.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { startCluster } from '../src/store/embedded.ts';
import { ADMIN_KEY, eventually } from './harness.ts';
import { makeDirectory, Process } from './process.ts';

/** A slow disk: at any moment something is being committed, and what ends then leaves an outcome that nobody knows. */
const FLUSH_MICROSECONDS = 10_000;

export type Victims = Awaited<ReturnType<typeof startVictims>>;

/** `settings` may add to the environment of the service in each place. */
export async function startVictims(
  count: number,
  settings: (place: number) => Record<string, string> = () => ({}),
) {
  const directory = await makeDirectory();
  const cluster = await startCluster({ directory, log: () => {} });
  const { host, port, user, database } = cluster.connection;
  /** On a connection of its own, which may break. */
  async function query<T extends pg.QueryResultRow>(sql: string): Promise<T[]> {
    const client = new pg.Client({ ...cluster.connection, application_name: 'test', query_timeout: 10_000 });
    client.on('error', () => {});
    try {
      await client.connect();
      return (await client.query<T>(sql)).rows;
    } finally {
      await client.end().catch(() => {});
    }
  }

  await query(`alter system set commit_delay = ${FLUSH_MICROSECONDS}`);
  await query('alter system set commit_siblings = 0');
  await query('select pg_reload_conf()');

  const env = {
    IMID_DATA_DIR: directory,
    DATABASE_URL: `postgres://${user}@localhost:${port}/${database}?host=${encodeURIComponent(host)}`,
    IMID_ADMIN_KEY: ADMIN_KEY,
    IMID_SECRET: 'secret-of-the-victims',
    LOG_LEVEL: 'silent',
  };
  const services: { process: Process; url: string }[] = [];
  /** As often as it takes, since it ends where it finds no database. */
  const start = async (place: number): Promise<void> => {
    services[place] = await eventually(async () => {
      const process = new Process({ ...env, ...settings(place) });
      return process.url().then(
        (url) => ({ process, url }),
        () => undefined,
      );
    }, 'a service that runs');
  };
  await Promise.all(Array.from({ length: count }, (_, place) => start(place)));

  const isBack = (): Promise<true> =>
    eventually(
      () =>
        query('select').then(
          () => true as const,
          () => false,
        ),
      'Postgres',
    );

  /** A connection of a service to Postgres, by chance. */
  const findBackend = async (): Promise<number> => {
    const rows = await query<{ pid: number }>(
      `select pid from pg_stat_activity where application_name = 'imid' order by random() limit 1`,
    );
    return rows[0]!.pid;
  };

  return {
    urls: () => services.map(({ url }) => url),
    query,

    async killService(place: number): Promise<void> {
      await services[place]!.process.end('SIGKILL');
      await start(place);
    },

    /** As an operator does; gives back how long it took to end, in milliseconds. */
    async restartService(place: number): Promise<number> {
      const { process } = services[place]!;
      const from = performance.now();
      assert.equal(await process.end('SIGTERM'), 0, process.output);
      const tookMs = performance.now() - from;
      await start(place);
      return tookMs;
    },

    async killPostgres(): Promise<void> {
      await killPostmaster(directory);
      await isBack();
    },

    /** All of its processes; it is killed in the end, or goes on. What was told meanwhile must hold all the same. */
    async stopPostgres(ms: number, end: 'SIGKILL' | 'SIGCONT'): Promise<void> {
      const client = new pg.Client(cluster.connection);
      client.on('error', () => {});
      await client.connect();
      const pids = [await findPostmaster(directory)];
      try {
        process.kill(pids[0]!, 'SIGSTOP'); // it can start no others from here on
        const { rows } = await client.query<{ pid: number }>('select pid from pg_stat_activity');
        for (const { pid } of rows) {
          pids.push(pid);
          process.kill(pid, 'SIGSTOP');
        }
        await sleep(ms);
      } finally {
        for (const pid of pids) process.kill(pid, end);
      }
      await isBack();
      await client.end().catch(() => {});
    },

    async endBackend(): Promise<void> {
      await query(`select pg_terminate_backend(${await findBackend()})`);
    },

    /** Postgres starts all of its processes anew then. */
    async crashBackend(): Promise<void> {
      process.kill(await findBackend(), 'SIGKILL');
      await isBack();
    },

    /** Lets inserts fail with a SQLSTATE until what it gives back is called: all, or those with a word in the content. */
    async failInserts(state: string, word?: string): Promise<() => Promise<void>> {
      const condition = word === undefined ? '' : `when (new.content like '%${word}%')`;
      await query(`
        create or replace function fail() returns trigger language plpgsql as
          $$ begin raise exception 'no space left on device' using errcode = '${state}'; end $$;
        create trigger fail before insert on message for each row ${condition} execute function fail()`);
      return async () => {
        await query('drop trigger fail on message');
      };
    },

    async close(): Promise<void> {
      await Promise.all(services.map(({ process }) => process.end('SIGTERM')));
      await cluster.stop();
    },
  };
}

/** The first process of the Postgres in a data directory; the others notice. Resolves when another one is started. */
export async function killPostmaster(directory: string): Promise<void> {
  const pid = await findPostmaster(directory);
  process.kill(pid, 'SIGKILL');
  await eventually(async () => (await findPostmaster(directory)) !== pid, 'another postmaster');
}

function findPostmaster(directory: string): Promise<number> {
  return eventually(async () => {
    const text = await readFile(join(directory, 'postgres/postmaster.pid'), 'utf8').catch(() => '');
    return Number.parseInt(text, 10) || undefined;
  }, 'postmaster.pid');
}
