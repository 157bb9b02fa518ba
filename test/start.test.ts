// The process as an operator meets it: first start, start again, stop, and everything that kills.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { call, connect, createDatabase, eventually, type Json } from './harness.ts';
import { keepOutput } from './logs.ts';
import { makeDirectory, Process } from './process.ts';

async function findPostmaster(directory: string): Promise<number> {
  return Number.parseInt(await readFile(join(directory, 'postgres', 'postmaster.pid'), 'utf8'), 10);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe('on the embedded Postgres', () => {
  let directory: string;
  let service: Process;
  let url: string;
  let key: string;
  let app: Json;

  const send = (id: string) =>
    call(url, 'POST', `/v1/apps/${app.appId}/messages`, {
      key,
      body: { from: { uid: 'a' }, to: { uid: 'b' }, content: id, id },
    });
  const inbox = async (uid: string) =>
    (await call(url, 'GET', `/v1/apps/${app.appId}/messages?imId=${app.appId}:${uid}&limit=1000`, { key }))
      .body.items as Json[];

  before(async () => {
    directory = await makeDirectory();
    service = new Process({ IMID_DATA_DIR: directory });
    url = await service.url();
    key = /admin key +(\S+)/.exec(service.output)![1]!;
    app = (
      await call(url, 'POST', '/v1/apps', {
        key,
        body: { name: 'chat', schemes: ['composed', 'registered'] },
      })
    ).body;
  });

  async function startAgain(): Promise<void> {
    service = new Process({ IMID_DATA_DIR: directory });
    url = await service.url();
  }

  test('the first start says where everything is, and shows the admin key once', async () => {
    assert.match(service.output, /docs +http:\/\/localhost:\d+\/docs/);
    assert.match(service.output, /openapi +http:\/\/localhost:\d+\/openapi\.yaml/);
    assert.match(app.apiKey, /^imk_/);
    for (const file of ['admin.key', 'secret.key'])
      assert.equal((await stat(join(directory, file))).mode & 0o777, 0o600);
    await send('first');
  });

  test('a second start on the same data directory says that one is running, and harms nothing', async () => {
    const second = new Process({ IMID_DATA_DIR: directory });
    assert.equal(await second.ended(), 1);
    assert.match(second.output, new RegExp(`another imid .*${service.child.pid}.*running`, 'i'));
    assert.equal((await send('second')).status, 201);
  });

  test('SIGTERM, SIGINT and SIGHUP drain, and leave no process behind; the next start finds the data', async () => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      const postmaster = await findPostmaster(directory);
      const token = (await call(url, 'POST', `/v1/apps/${app.appId}/tokens`, { key, body: { uid: 'b' } }))
        .body.token;
      const client = await connect(url, token);
      assert.equal(await service.end(signal), 0, service.output);
      assert.equal((await client.waitClosed()).code, 1001);
      assert.equal(isAlive(postmaster), false);
      await startAgain();
      assert.ok(!service.output.includes(key), 'the admin key is shown once');
      assert.equal((await inbox('b'))[0]!.content, 'first');
    }
  });

  test('SIGTERM under load loses nothing that was acknowledged', async () => {
    const token = (await call(url, 'POST', `/v1/apps/${app.appId}/tokens`, { key, body: { uid: 'loader' } }))
      .body.token;
    const client = await connect(url, token);
    for (let n = 0; n < 2_000; n++)
      client.send({ type: 'send', id: `n${n}`, to: { uid: 'sink' }, content: n });
    await client.wait((frame) => frame.type === 'sent');
    assert.equal(await service.end('SIGTERM'), 0, service.output);
    const sent = client.frames.filter((frame) => frame.type === 'sent');
    await startAgain();
    const stored = new Set((await inbox('sink')).map((message) => message.messageId));
    for (let end = 1000; stored.size === end; end += 1000)
      for (const message of (
        await call(
          url,
          'GET',
          `/v1/apps/${app.appId}/messages?imId=${app.appId}:sink&limit=1000&after=${end}`,
          { key },
        )
      ).body.items)
        stored.add(message.messageId);
    assert.ok(sent.length > 0 && sent.every((frame) => stored.has(frame.messageId)));
  });

  test('after kill -9 it just starts again, also when its Postgres lives on as an orphan', async () => {
    await send('before the kill');
    const orphan = await findPostmaster(directory);
    await service.end('SIGKILL');
    assert.equal(isAlive(orphan), true);
    await startAgain();
    assert.ok((await inbox('b')).some((message) => message.content === 'before the kill'));
  });

  test('after kill -9 of Postgres alone it answers 503, and is back by itself', async () => {
    process.kill(await findPostmaster(directory), 'SIGKILL');
    const answer = await eventually(async () => {
      const { status, body } = await send('meanwhile');
      return status === 503 ? body : undefined;
    });
    assert.equal(answer.code, 'unavailable');
    const { body } = await eventually(async () => {
      const tried = await send('meanwhile');
      return tried.status === 201 ? tried : undefined;
    });
    assert.equal((await inbox('b')).filter((message) => message.messageId === body.messageId).length, 1);
  });
});

test('a signal while it is starting, or two of them, still leave no process behind', async () => {
  for (const file of ['.', 'postgres', 'postgres/postmaster.pid', 'admin.key']) {
    const directory = await makeDirectory();
    const service = new Process({ IMID_DATA_DIR: directory });
    await eventually(() => stat(join(directory, file)).catch(() => undefined), file);
    service.child.kill('SIGINT');
    service.child.kill('SIGTERM');
    const code = await service.end('SIGINT');
    assert.equal(code, 0, service.output);
    await assert.rejects(stat(join(directory, 'postgres', 'postmaster.pid')), { code: 'ENOENT' });
  }
});

test('npm start passes a signal on, so that nothing is left when npm has ended', async () => {
  const directory = await makeDirectory();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const npm = spawn('npm', ['start'], {
      cwd: new URL('..', import.meta.url),
      env: { ...process.env, LOG_LEVEL: 'error', PORT: '0', IMID_DATA_DIR: directory },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    keepOutput(npm.stdout);
    let output = '';
    npm.stdout.on('data', (data: Buffer) => (output += data.toString()));
    await eventually(() => output.includes('admin key'), 'the banner');
    const postmaster = await findPostmaster(directory);
    npm.kill(signal);
    await once(npm, 'exit');
    await eventually(() => !isAlive(postmaster), 'the end of Postgres');
    await assert.rejects(stat(join(directory, 'postgres', 'postmaster.pid')), { code: 'ENOENT' });
  }
});

test('with DATABASE_URL it runs on that Postgres', async () => {
  const { name, connection } = await createDatabase();
  const directory = await makeDirectory();
  const service = new Process({
    IMID_DATA_DIR: directory,
    DATABASE_URL: `postgres://${connection.user}@localhost:${connection.port}/${name}?host=${connection.host}`,
    IMID_ADMIN_KEY: 'an-admin-key-for-this-test',
  });
  const url = await service.url();
  const made = await call(url, 'POST', '/v1/apps', {
    key: 'an-admin-key-for-this-test',
    body: { name: 'x', schemes: ['composed'] },
  });
  assert.equal(made.status, 201);
  await assert.rejects(stat(join(directory, 'postgres')), { code: 'ENOENT' });
  assert.ok(!service.output.includes('an-admin-key-for-this-test'));
  assert.equal(await service.end('SIGTERM'), 0);
});
