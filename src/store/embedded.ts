// A real Postgres for who has no DATABASE_URL: starts it, keeps it running, stops it.
// Refuses a data directory on which another imid runs. Doesn't read or write what is in the database.
// Invariant: who uses a cluster holds an advisory lock in it, on a session that dies with the process.

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { openSite } from './postgres_process.ts';
import type { Address, Postmaster } from './postgres_process.ts';

export interface Cluster {
  /** How node-postgres connects: through a directory of a Unix socket, without a password. */
  readonly connection: { host: string; port: number; user: string; database: string };
  /** Fast shutdown; resolves when the process is gone. Idempotent. */
  stop(): Promise<void>;
}

/** A connection that has asked for the lock. */
interface Session {
  readonly client: pg.Client;
  /** Of the postmaster: which start of imid launched it. */
  readonly run: string | null;
  /** Who has the lock; undefined: this session. */
  readonly holder: string | undefined;
  readonly lost: Promise<void>;
}

const USER = 'imid';
const DATABASE = 'imid';
const LOCK = 0x696d6964;
const CANNOT_CONNECT_NOW = '57P03';
/** No socket, nobody at it, hung up; the session was ended, by a shutdown or a crash. Hung up also has no code. */
const NOBODY = new Set(['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE', '57P01', '57P02']);
const CONNECT_TIMEOUT_MS = 5000;
const POLL_MS = 20;
const POLL_MAX_MS = 500;
const FAST_SHUTDOWN_MS = 10_000;
/** A crashed postmaster leaves children that hold its shared memory for a while. */
const LAUNCHES_MAX = 30;
const STRIKES = 3;
const PAUSE_MIN_MS = 100;
const PAUSE_MAX_MS = 5000;
const STABLE_MS = 30_000;

/**
 * Starts Postgres on `<directory>/postgres`, made at the first start, and starts it again when it dies. Rejects when
 * another imid runs there, or when Postgres doesn't start; the message says why.
 */
export async function startCluster(options: {
  directory: string;
  log: (line: string) => void;
}): Promise<Cluster> {
  const { log } = options;
  const site = await openSite(options.directory, log);
  const run = randomUUID();
  const stopped = new AbortController();
  const { signal } = stopped;
  let postmaster: Postmaster | undefined;

  /** Resolves with a session on a postmaster of ours that has the lock. */
  async function claim(): Promise<Session> {
    let suspect: number | undefined;
    let strikes = 0;
    for (let launches = 0; ; launches += 1) {
      if (!postmaster || postmaster.ended !== undefined) {
        const record = await site.findRecord();
        const session = record?.address && (await openSession(record.address, signal));
        if (session) await dismiss(session);
        postmaster = await site.launch(run);
      }
      const session = await reach(postmaster);
      if (session) return session;

      // Without a record nobody else's is in the way, unless it just was.
      const record = await site.findRecord();
      if (launches >= (record ? LAUNCHES_MAX : 3))
        throw new Error(`Postgres doesn't start (${postmaster.ended}):\n${await site.readLogTail()}`);
      // A pid that is in the way and never answers isn't a postmaster's any more.
      strikes = record && Object.is(record.pid, suspect) ? strikes + 1 : 0;
      suspect = record?.pid;
      if (record && strikes === STRIKES && !(await site.isAtWork(record.pid))) await site.disownRecord();
      // By chance, so that two starts that are in each other's way get apart.
      await sleep(50 + Math.random() * 200, undefined, { signal });
    }
  }

  /** Undefined: it ended before it was reached. */
  async function reach(own: Postmaster): Promise<Session | undefined> {
    while (own.ended === undefined) {
      const session = await openSession(site.address, signal);
      if (session?.run === run) {
        await refuseOthers(session);
        return session;
      }
      // It is somebody else's, and ours is about to notice.
      await session?.client.end();
      await sleep(POLL_MS, undefined, { signal });
    }
    return undefined;
  }

  async function refuseOthers({ client, holder }: Session): Promise<void> {
    if (holder === undefined) return;
    await client.end();
    throw new Error(`Another imid (${holder}) is running on the data directory ${options.directory}`);
  }

  /** Stops the Postgres of an imid that was killed. */
  async function dismiss(session: Session): Promise<void> {
    await refuseOthers(session);
    try {
      const { rows } = await session.client.query<{ pid: string }>(
        `select split_part(pg_read_file('postmaster.pid'), e'\n', 1) as pid`,
      );
      const pid = Number(rows[0]?.pid);
      log(`A Postgres (pid ${pid}) of an imid that is gone still runs in ${site.cluster}: stopping it`);
      for (const shutdown of ['SIGINT', 'SIGQUIT'] as const) {
        // In another container its pid means something else here.
        if (!(pid > 0) || (await site.isAtWork(pid)) === false) return;
        process.kill(pid, shutdown);
        for (const until = Date.now() + FAST_SHUTDOWN_MS; Date.now() < until;) {
          await sleep(POLL_MS, undefined, { signal });
          if ((await site.findRecord())?.pid !== pid) return;
        }
      }
    } catch (error) {
      // It may be gone at any moment; if it isn't, ours doesn't start, and says so.
      signal.throwIfAborted();
      log(`It doesn't let itself be stopped: ${(error as Error).message}`);
    } finally {
      await session.client.end();
    }
  }

  async function keep(first: Session): Promise<void> {
    const stop = once(signal, 'abort');
    let session: Session | undefined = first;
    for (let pauseMs = PAUSE_MIN_MS; ; pauseMs = Math.min(pauseMs * 2, PAUSE_MAX_MS)) {
      const startedAt = performance.now();
      if (session) {
        await Promise.race([session.lost, stop]);
        if (!signal.aborted) log('Lost Postgres; starting it again');
      }
      if (performance.now() - startedAt > STABLE_MS) pauseMs = PAUSE_MIN_MS;
      try {
        await sleep(pauseMs, undefined, { signal });
        session = await claim();
        log('Postgres is back');
      } catch (error) {
        if (signal.aborted) return;
        log(`${(error as Error).message}; trying again`);
        session = undefined;
      }
    }
  }

  try {
    const session = await claim();
    await site.removeLeftovers();
    await createDatabase(session.client);
    const kept = keep(session);
    let ending: Promise<void> | undefined;
    return {
      connection: { ...site.address, user: USER, database: DATABASE },
      stop() {
        ending ??= finish(kept);
        return ending;
      },
    };
  } catch (error) {
    await finish();
    throw error;
  }

  async function finish(kept?: Promise<void>): Promise<void> {
    stopped.abort();
    await kept;
    await postmaster?.stop();
    await site.removeSockets(postmaster);
  }
}

/** Undefined: nobody listens. Waits while a postmaster starts or stops. */
async function openSession(address: Address, signal: AbortSignal): Promise<Session | undefined> {
  for (let pauseMs = POLL_MS; ; pauseMs = Math.min(pauseMs * 2, POLL_MAX_MS)) {
    signal.throwIfAborted();
    const client = new pg.Client({
      ...address,
      user: USER,
      // Not ours: an advisory lock belongs to one database, and ours may not be there yet.
      database: 'postgres',
      ssl: false,
      application_name: `imid ${process.pid}`,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    });
    client.on('error', () => undefined);
    const lost = new Promise<void>((resolve) => client.once('end', resolve));
    try {
      await client.connect();
      const { rows } = await client.query<{ run: string | null; locked: boolean }>(
        `select current_setting('imid.run', true) as run, pg_try_advisory_lock(${LOCK}) as locked`,
      );
      const holder = rows[0]?.locked ? undefined : await findHolder(client);
      return { client, run: rows[0]?.run ?? null, holder, lost };
    } catch (error) {
      void client.end().catch(() => undefined);
      const { code } = error as { code?: string };
      if (code === undefined || NOBODY.has(code)) return undefined;
      if (code !== CANNOT_CONNECT_NOW) throw error;
      await sleep(pauseMs, undefined, { signal });
    }
  }
}

async function findHolder(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ name: string }>(
    `select application_name as name from pg_locks join pg_stat_activity using (pid)
     where locktype = 'advisory' and classid = 0 and objid = ${LOCK} and objsubid = 1 and granted`,
  );
  return rows[0]?.name.replace('imid', 'pid') ?? 'about to stop';
}

async function createDatabase(client: pg.Client): Promise<void> {
  const { rowCount } = await client.query('select from pg_database where datname = $1', [DATABASE]);
  if (!rowCount) await client.query(`create database ${DATABASE}`);
}
