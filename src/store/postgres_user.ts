// As whom Postgres runs, and how a program is started as that user. Postgres refuses root, so root starts it as the
// owner of the cluster or as the system user `postgres`.
// Invariant: no directory but the cluster changes its owner, and none its mode.

import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { promisify } from 'node:util';

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** What `spawn` takes to start a program as the user. */
export interface Launcher {
  readonly prefix: readonly string[];
  readonly options: Partial<Account> & { readonly cwd: string; readonly env: Record<string, string> };
}

// None of imid's own environment: its secrets would show in /proc to the user that runs Postgres.
const OPTIONS = {
  cwd: '/',
  env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', TZ: 'UTC' },
};

const DIRECT: Launcher = { prefix: [], options: OPTIONS };

// The second where a group `postgres` is already there, the last two for busybox.
const USER_COMMANDS = [
  'useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /bin/false postgres',
  'useradd --system --gid postgres --no-create-home --home-dir /nonexistent --shell /bin/false postgres',
  'addgroup -S postgres',
  'adduser -S -D -H -G postgres postgres',
];

const PROBE = '"$0" --version && for path; do cd "$path" || exit 1; done';

/** Runs a program to its end; rejects when it fails. */
export function run({ prefix, options }: Launcher, file: string, ...args: string[]) {
  const [first = file, ...rest] = [...prefix, file, ...args];
  return promisify(execFile)(first, rest, options);
}

/** Undefined: the user of this process. */
export async function findAccount(cluster: string): Promise<Account | undefined> {
  const existing = await stat(cluster).catch(() => undefined);
  const uid = process.getuid?.();
  if (uid !== 0) {
    if (!existing || existing.uid === uid) return undefined;
    throw new Error(
      `${cluster} belongs to another user (uid ${existing.uid}): start imid as that user or as root, ` +
        'or set IMID_DATA_DIR to another directory',
    );
  }
  if (existing && existing.uid !== 0) return { uid: existing.uid, gid: existing.gid };
  const account = await resolvePostgresUser();
  if (existing) await run(DIRECT, 'chown', '-R', `${account.uid}:${account.gid}`, cluster);
  return account;
}

async function resolvePostgresUser(): Promise<Account> {
  for (const command of ['true', ...USER_COMMANDS]) {
    const [file = '', ...args] = command.split(' ');
    await run(DIRECT, file, ...args).catch(() => undefined);
    const uid = await run(DIRECT, 'id', '-u', 'postgres').catch(() => undefined);
    const gid = await run(DIRECT, 'id', '-g', 'postgres').catch(() => undefined);
    if (uid && gid) return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
  }
  throw new Error(
    'Postgres refuses to run as root, and a system user "postgres" is neither there nor can be made: ' +
      'make it, start imid as another user, or set DATABASE_URL to a Postgres of your own',
  );
}

/**
 * The first way in which the user can run `program` and reach `paths`. They may lie below a directory that only root
 * may pass, /root or one of mktemp: there the user gets one capability, with which Postgres passes it all the same.
 */
export async function resolveLauncher(account: Account | undefined, program: string, paths: string[]) {
  if (!account) return DIRECT;
  const { uid, gid } = account;
  const launchers: Launcher[] = [{ prefix: [], options: { ...OPTIONS, uid, gid } }];
  // The first only passes and reads; containers often have the second alone, which also writes. The securebit is
  // for access(2), which initdb asks about its programs: it ignores the capabilities of a user that isn't root.
  for (const capability of ['dac_read_search', 'dac_override']) {
    const identity = [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--securebits=+no_setuid_fixup'];
    const grant = [`--inh-caps=+${capability}`, `--ambient-caps=+${capability}`];
    launchers.push({ prefix: ['setpriv', ...identity, ...grant, '--'], options: OPTIONS });
  }
  let reason: unknown;
  for (const launcher of launchers) {
    try {
      await run(launcher, 'sh', '-c', PROBE, program, ...paths);
      return launcher;
    } catch (error) {
      reason ??= error;
    }
  }
  throw new Error(
    `Postgres refuses to run as root, and the user with uid ${uid} can't reach ${[program, ...paths].join(', ')}: ` +
      'install setpriv (util-linux), start imid as another user, move imid and IMID_DATA_DIR to where that user ' +
      'may go, or set DATABASE_URL to a Postgres of your own',
    { cause: reason },
  );
}
