// Where it is measured: one Postgres of imid's own kind, and on it the service as its users run it, and what it is
// compared with, each a process of its own. Everything is gone at the end.

import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { startCluster } from '../src/store/embedded.ts';
import { cpuSecondsOf, cpuSecondsOfPostgres, parentOf } from './processes.ts';

/** As many connections as the service's own pool has. */
const QUOTA = '999999999/10';
const POOL_SIZE = 10;
const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));
const BARE = fileURLToPath(new URL('bare.ts', import.meta.url));
const RELAY = fileURLToPath(new URL('messaging/relay.ts', import.meta.url));

export interface Site extends AsyncDisposable {
  readonly postgresVersion: string;
  createDatabase(): Promise<Database>;
  /** A bare relay (see messaging/relay.ts); with the text of a JWKS, one that checks tokens. */
  startRelay(jwks?: string): Promise<Program>;
}

export interface Database {
  readonly pool: pg.Pool;
  /** What leads to it. */
  readonly connection: pg.PoolConfig;
  /** The service on this database, as its users start it but for what `env` says, and what `main` does in its own way. */
  startService(env?: Record<string, string>, main?: string): Promise<Service>;
  /** A bare Fastify on this database (see bare.ts). */
  startBare(answer: unknown): Promise<Program>;
  /** CPU seconds of this very process and Postgres until now, for what is measured without another process. */
  cpuSeconds(): number | undefined;
}

/** A process that was started here. */
export interface Program extends AsyncDisposable {
  readonly url: string;
  readonly pid: number;
  /** CPU seconds of the process and the Postgres it works with until now. */
  cpuSeconds(): number | undefined;
}

export interface Service extends Program {
  createApp(schemes: readonly string[]): Promise<Tenant>;
}

export interface Tenant {
  readonly appId: string;
  readonly apiKey: string;
  /** The URL of `/v1/apps/{appId}`. */
  readonly url: string;
}

export async function openSite(): Promise<Site> {
  const directory = await mkdtemp(join(tmpdir(), 'imid-bench-'));
  const cluster = await startCluster({ directory, log: () => {} });
  const programs = new Set<Program>();
  const pools: pg.Pool[] = [];
  const secret = randomBytes(24).toString('base64url');
  const adminKey = randomBytes(24).toString('base64url');
  const openPool = (config: pg.PoolConfig): pg.Pool => {
    const pool = new pg.Pool({ ...cluster.connection, ...config });
    // At the end Postgres may be faster than they are.
    pool.on('error', () => {});
    pools.push(pool);
    return pool;
  };
  const admin = openPool({ max: 1 });
  const { rows } = await admin.query<{ pid: number; version: string }>(
    `select pg_backend_pid() as pid, split_part(current_setting('server_version'), ' ', 1) as version`,
  );
  const postmaster = parentOf(rows[0]!.pid);
  const postgresCpuSeconds = () => (postmaster === undefined ? undefined : cpuSecondsOfPostgres(postmaster));
  const plus = (a: number | undefined, b: number | undefined) =>
    a === undefined || b === undefined ? undefined : a + b;

  async function start(
    file: string,
    env: Record<string, string>,
    { isOnPostgres = true } = {},
  ): Promise<Program> {
    const child = spawn(process.execPath, [file], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const url = await waitForUrl(child);
    const pid = child.pid!;
    const program: Program = {
      url,
      pid,
      cpuSeconds: () => plus(cpuSecondsOf([pid]), isOnPostgres ? postgresCpuSeconds() : 0),
      async [Symbol.asyncDispose]() {
        programs.delete(program);
        if (child.exitCode !== null || child.signalCode !== null) return;
        child.kill('SIGTERM');
        await once(child, 'exit');
      },
    };
    programs.add(program);
    return program;
  }

  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => (closing ??= finish());
  async function finish(): Promise<void> {
    for (const program of programs) await program[Symbol.asyncDispose]();
    // Before the pools, which would wait for what is still under way.
    await cluster.stop();
    for (const pool of pools) await pool.end();
    await rm(directory, { recursive: true, force: true });
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => void close().finally(() => process.exit(1)));

  return {
    postgresVersion: rows[0]!.version,

    async createDatabase() {
      const name = `bench_${randomBytes(6).toString('hex')}`;
      await admin.query(`create database ${name}`);
      const pool = openPool({ database: name, max: POOL_SIZE });
      const { host, user } = cluster.connection;
      const DATABASE_URL = `postgres:///${name}?host=${encodeURIComponent(host)}&user=${user}`;
      return {
        pool,
        connection: { ...cluster.connection, database: name },
        async startService(env = {}, main = MAIN) {
          const program = await start(main, {
            DATABASE_URL,
            IMID_DATA_DIR: join(directory, 'unused'),
            IMID_ADMIN_KEY: adminKey,
            IMID_SECRET: secret,
            IMID_PUBLIC_URL: '',
            HOST: '127.0.0.1',
            PORT: '0',
            LOG_LEVEL: 'warn',
            // Counted, and never used up.
            IMID_QUOTA_KEY: QUOTA,
            IMID_QUOTA_APP: QUOTA,
            IMID_QUOTA_USER: QUOTA,
            ...env,
          });
          return { ...program, createApp: (schemes) => createApp(program.url, adminKey, schemes) };
        },
        startBare: (answer) => start(BARE, { DATABASE_URL, ANSWER: JSON.stringify(answer) }),
        cpuSeconds() {
          const used = process.cpuUsage();
          return plus((used.user + used.system) / 1e6, postgresCpuSeconds());
        },
      };
    },

    startRelay: (jwks) => start(RELAY, jwks === undefined ? {} : { JWKS: jwks }, { isOnPostgres: false }),

    [Symbol.asyncDispose]: close,
  };
}

/** What a program prints once it listens. Its further words are passed on, since a service on `warn` has none. */
async function waitForUrl(child: ChildProcess): Promise<string> {
  let said = '';
  const listening = new Promise<string>((resolve) => {
    for (const stream of [child.stdout!, child.stderr!])
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        const [, url] = /listening at (\S+)/.exec(said) ?? [];
        if (url) resolve(url);
      });
  });
  const url = await Promise.race([listening, once(child, 'exit').then(() => undefined)]);
  if (url === undefined) throw new Error(`It doesn't start:\n${said.trimEnd()}`);
  return url.replace('localhost', '127.0.0.1');
}

async function createApp(url: string, adminKey: string, schemes: readonly string[]): Promise<Tenant> {
  const { appId, apiKey } = await post<{ appId: string; apiKey: string }>(`${url}/v1/apps`, adminKey, {
    name: 'bench',
    schemes,
  });
  return { appId, apiKey, url: `${url}/v1/apps/${appId}` };
}

/** One call, not measured. Throws at anything but a success. */
export async function post<T>(url: string, key: string, body: unknown): Promise<T> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`POST ${url} answered ${response.status}: ${text}`);
  return JSON.parse(text) as T;
}
