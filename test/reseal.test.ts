// The secret that encrypts what is kept encrypted is rotated by a command; nothing that was issued notices.

import assert from 'node:assert/strict';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { keepKeyFile, renewKeyFile } from '../src/store/key_files.ts';
import { createBox } from '../src/tokens/box.ts';
import { createCommands } from './commands.ts';
import { createDatabase, startService, urlOf, type Json, type Service } from './harness.ts';
import { makeDirectory } from './process.ts';

const { run } = createCommands();
const [OLD, NEW] = ['the-old-secret-of-a-test', 'the-new-secret-of-a-test'];

const codeOf = async (service: Service, token: string): Promise<string | undefined> =>
  (await service.call('GET', '/v1/me', { key: token })).body.code;
const reseal = (env: Record<string, string>) => run(['reseal'], { env });

/** What needs the secret: signing, and finding former names by their hashes. */
async function assertWhole(service: Service, token: string, apiKey: string, path: string): Promise<void> {
  assert.equal((await service.call('GET', '/v1/me', { key: token })).body.uid, 'robert');
  const call = (body: object) => service.call('POST', `${path}/tokens`, { key: apiKey, body });
  const fresh = (await call({ uid: 'robert' })).body.token;
  assert.equal((await service.call('GET', '/v1/me', { key: fresh })).body.uid, 'robert');
  assert.equal((await service.call('POST', '/v1/keys/rotate')).status, 200);
  const rotated = (await call({ uid: 'robert' })).body.token;
  assert.equal((await service.call('GET', '/v1/me', { key: rotated })).body.uid, 'robert');
}

test('while processes run: with both secrets, then resealed, then with the new one alone', async () => {
  const { name, connection } = await createDatabase();
  const at = { name, connection };
  const before = await startService({ at, app: { secret: OLD } });
  const app = await before.createApp();
  const token = await app.token({ uid: 'bob' });
  await app.call('PATCH', `/identities/${app.appId}:bob`, { uid: 'robert' });
  await before.close();

  await assert.rejects(startService({ at, app: { secret: NEW } }), /IMID_SECRET is not the one/);
  const between = await startService({ at, app: { secret: NEW, otherSecret: OLD } });
  const env = { DATABASE_URL: urlOf(connection, name), IMID_SECRET: NEW };
  const alone = await reseal(env);
  assert.deepEqual([alone.code, alone.stdout], [2, '']);
  assert.match(alone.stderr, /IMID_SECRET is set, but not IMID_OTHER_SECRET/);
  const wrong = await reseal({ ...env, IMID_OTHER_SECRET: 'some-other-secret-of-a-test' });
  assert.equal(wrong.code, 3);
  assert.match(
    wrong.stderr,
    /^imid: What is sealed in the database does not open: IMID_SECRET is not the one/,
  );
  for (let i = 0; i < 2; i += 1) {
    const { code, stdout, stderr } = await reseal({ ...env, IMID_OTHER_SECRET: OLD });
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^Encrypted anew: 4\.\n$/);
  }
  const after = await startService({ at, app: { secret: NEW } });
  for (const service of [between, after]) await assertWhole(service, token, app.apiKey, app.path);
  await assert.rejects(startService({ at, app: { secret: OLD } }), /IMID_SECRET is not the one/);
});

test('the secret in the data directory is replaced by a new one, also by a run that goes on after a crash', async () => {
  const directory = await makeDirectory();
  const file = join(directory, 'secret.key');
  const { key: old } = await keepKeyFile(file, 'ims_');
  const { name, connection } = await createDatabase();
  const at = { name, connection };
  const before = await startService({ at, app: { secret: old } });
  const app = await before.createApp();
  const token = await app.token({ uid: 'bob' });
  await app.call('PATCH', `/identities/${app.appId}:bob`, { uid: 'robert' });
  await before.close();
  // The run before ended between writing the file and encrypting anew.
  const { key, former } = await renewKeyFile(file, 'ims_');
  assert.deepEqual([former, (await keepKeyFile(file, 'ims_')).former], [old, old]);
  const { code, stdout, stderr } = await reseal({
    DATABASE_URL: urlOf(connection, name),
    IMID_DATA_DIR: directory,
  });
  assert.equal(code, 0, stderr);
  assert.match(stdout, /Encrypted anew: 4, with the new secret in /);
  assert.ok(!(stdout + stderr).includes(key));
  assert.equal(await readFile(file, 'utf8'), `${key}\n`);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  const after = await startService({ at, app: { secret: key } });
  await assertWhole(after, token, app.apiKey, app.path);
});

test('while the secret is rotated as documented, a process with the old one opens what one with the new one keeps', async () => {
  const { name, connection } = await createDatabase();
  const at = { name, connection };
  const former = await startService({ at, app: { secret: OLD, otherSecret: NEW } });
  const between = await startService({ at, app: { secret: NEW, otherSecret: OLD } });
  const app = await between.createApp();
  const headers = { 'idempotency-key': 'once' };
  const ask = (service: Service) =>
    service.call('POST', `${app.path}/tokens`, { key: app.apiKey, headers, body: { uid: 'bob' } });
  const told = await ask(between);
  assert.equal(told.status, 201);
  assert.deepEqual([(await ask(former)).status], [201]);
});

test('while the secret is rotated as documented, keys that got out can be dropped', async () => {
  const { name, connection } = await createDatabase();
  const at = { name, connection };
  const former = await startService({ at, app: { secret: OLD, otherSecret: NEW } });
  const between = await startService({ at, app: { secret: NEW, otherSecret: OLD } });
  const app = await between.createApp();
  const { items } = (await between.call('GET', '/v1/keys')).body;
  for (const { kid } of items as Json[])
    assert.equal((await between.call('DELETE', `/v1/keys/${kid}`)).status, 204);
  const token = await app.token({ uid: 'bob' });
  assert.equal(await codeOf(between, token), undefined);
  assert.equal(await codeOf(former, token), undefined);
});

test('the secret in the data directory is not replaced while a process runs that has the old one', async () => {
  const directory = await makeDirectory();
  const { key: old } = await keepKeyFile(join(directory, 'secret.key'), 'ims_');
  const { name, connection } = await createDatabase();
  const running = await startService({ at: { name, connection }, app: { secret: old } });
  const env = {
    DATABASE_URL: urlOf(connection, name),
    IMID_DATA_DIR: directory,
  };
  const { code, stderr } = await run(['reseal'], { env });
  assert.equal(code, 3);
  assert.match(stderr, /Processes of the service that run on this database: 1\. Nothing was changed/);
  const rotated = await running.call('POST', '/v1/keys/rotate');
  const { key } = await keepKeyFile(join(directory, 'secret.key'), 'ims_');
  const box = createBox(key);
  const { rows } = await running.database.pool.query<{ sealed: string }>(
    'select sealed_private_jwk as sealed from signing_key where sealed_private_jwk is not null',
  );
  for (const { sealed } of rows) await box.open('signing-key', sealed); // or the service won't start again one day
  assert.equal(rotated.status, 200);
});
