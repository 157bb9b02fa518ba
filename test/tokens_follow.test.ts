// A token acts, as long as it lives, as the user who held its name when it was issued, and never as the next holder.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { eventually, startService, type Service, type Tenant } from './harness.ts';

let service: Service;
before(async () => {
  service = await startService();
});

const me = (token: string) => service.call('GET', '/v1/me', { key: token });
const rename = (app: Tenant, from: string, to: string) =>
  app.call('PATCH', `/identities/${app.appId}:${encodeURIComponent(from)}`, { uid: to });
const codeOf = async (token: string) => (await me(token)).body.code;
const uidOf = async (token: string) => (await me(token)).body.uid;

test('a token follows its user through a renaming, on the open socket and at the next connect', async () => {
  const app = await service.createApp();
  const token = await app.token({ uid: 'bob' });
  const socket = await service.connect(token);
  await rename(app, 'bob', 'robert');
  assert.equal(await uidOf(token), 'robert');
  const again = await service.connect(token);
  assert.deepEqual(again.welcome.me, { scheme: 'composed', uid: 'robert' });
  await app.call('POST', '/messages', { from: { uid: 'x' }, to: { uid: 'robert' }, content: 1 });
  assert.deepEqual((await socket.messages(1))[0].to, { uid: 'robert' });
  await socket.say({ uid: 'x' }, 2);
  assert.deepEqual((await app.inbox(`${app.appId}:x`))[1].from, {
    imId: `${app.appId}:robert`,
    uid: 'robert',
  });
});

test('after a swap each token acts as its own user', async () => {
  const app = await service.createApp();
  const tokens = { a: await app.token({ uid: 'a' }), b: await app.token({ uid: 'b' }) };
  await app.call('POST', '/messages', { from: { uid: 'a' }, to: { uid: 'a' }, content: 'of a' });
  await app.call('POST', '/messages', { from: { uid: 'b' }, to: { uid: 'b' }, content: 'of b' });
  await rename(app, 'a', 'between');
  await rename(app, 'b', 'a');
  await rename(app, 'between', 'b');
  assert.deepEqual([await uidOf(tokens.a), await uidOf(tokens.b)], ['b', 'a']);
  const later = { a: await app.token({ uid: 'a' }), b: await app.token({ uid: 'b' }) };
  assert.deepEqual([await uidOf(later.a), await uidOf(later.b)], ['a', 'b']);
  const contentOf = async (token: string) =>
    (await service.call('GET', '/v1/me/messages', { key: token })).body.items[0].content;
  assert.deepEqual(
    [
      await contentOf(tokens.a),
      await contentOf(tokens.b),
      await contentOf(later.a),
      await contentOf(later.b),
    ],
    ['of a', 'of b', 'of b', 'of a'],
  );
});

test('a token issued while its name changes hands acts as one user and never as another', async () => {
  const app = await service.createApp();
  const second = await startService({ on: service });
  const whoIs = async (token: string) => {
    const { body } = await service.call('GET', '/v1/me/messages?limit=1', { key: token });
    return body.items?.[0]?.content ?? body.code ?? 'nobody yet';
  };
  const write = (uid: string, content: string) =>
    app.call('POST', '/messages', { from: { uid }, to: { uid }, content });
  for (let round = 0; round < 12; round++) {
    await write('n', `before ${round}`);
    const seen: { token: string; who: string }[] = [];
    const over = new AbortController();
    const issuing = [service, second].map(async (process) => {
      while (!over.signal.aborted) {
        const { body } = await process.call('POST', `${app.path}/tokens`, { body: { uid: 'n' } });
        seen.push({ token: body.token, who: await whoIs(body.token) });
      }
    });
    await eventually(() => seen.length > 10);
    if (round % 2) await app.call('DELETE', `/identities/${app.appId}:n`);
    else await rename(app, 'n', `n-${round}`);
    const next = await app.token({ uid: 'n' });
    await write('n', `after ${round}`);
    over.abort();
    await Promise.all(issuing);
    assert.equal(await whoIs(next), `after ${round}`);
    for (const { token, who } of seen) {
      const now = await whoIs(token);
      const allowed: Record<string, string[]> = {
        [`before ${round}`]: [`before ${round}`, 'token_revoked'],
        // In a round that erases: let in as the old user, and its inbox was being cleared when it was read.
        'nobody yet': round % 2 ? [`after ${round}`, 'token_revoked'] : [`after ${round}`],
        [`after ${round}`]: [`after ${round}`],
        // Refused while the act was under way; never as somebody else.
        token_revoked: ['token_revoked', `after ${round}`],
      };
      assert.ok(allowed[who]?.includes(now), `${who} became ${now} in round ${round}`);
    }
    await app.call('DELETE', `/identities/${app.appId}:n`);
  }
});

test('a token of an erased user is revoked, also when the uid is used again at once', async () => {
  const app = await service.createApp();
  for (let round = 0; round < 20; round++) {
    const old = await app.token({ uid: 'bob' });
    if (round % 2 === 0) await service.connect(old);
    assert.equal((await app.call('DELETE', `/identities/${app.appId}:bob`)).status, 204);
    const fresh = await app.token({ uid: 'bob' });
    if (round % 3 === 0)
      await app.call('POST', '/messages', { from: { uid: 'x' }, to: { uid: 'bob' }, content: 1 });
    assert.deepEqual([await codeOf(old), await uidOf(fresh)], ['token_revoked', 'bob'], `round ${round}`);
    await assert.rejects(service.connect(old), { status: 401 });
    assert.equal(await codeOf(old), 'token_revoked');
  }
});

test('a registered token ends with its user', async () => {
  const app = await service.createApp();
  const imId = await app.register('bob');
  const token = await app.token({ imId });
  const asUid = await app.token({ uid: 'bob' });
  await app.call('DELETE', `/identities/${imId}`);
  await app.register('bob');
  assert.deepEqual([await codeOf(token), await codeOf(asUid)], ['token_revoked', 'token_revoked']);
});

test('a token for a uid that nobody has used is refused once another user was renamed to it', async () => {
  const app = await service.createApp();
  const early = await app.token({ uid: 'v' });
  await app.call('POST', '/messages', { from: { uid: 'u' }, to: { uid: 'u' }, content: 1 });
  await rename(app, 'u', 'v');
  assert.equal(await codeOf(early), 'token_revoked');
  assert.equal(await uidOf(await app.token({ uid: 'v' })), 'v');
  await rename(app, 'v', 'w');
  await app.call('POST', '/messages', { from: { uid: 'v' }, to: { uid: 'v' }, content: 'a new v' });
  assert.equal(await codeOf(early), 'token_revoked');
});

test('a token for a uid that nobody has used acts as the user that is registered under it', async () => {
  const app = await service.createApp();
  const early = await app.token({ uid: 'v' });
  const imId = await app.register('v');
  await app.call('POST', '/messages', { from: { uid: 'x' }, to: { imId }, content: 1 });
  const client = await service.connect(early, { after: 0 });
  assert.equal((await client.messages(1)).length, 1);
});

test('a token issued between two holders of a name acts as the later one', async () => {
  const app = await service.createApp();
  await app.call('POST', '/messages', { from: { uid: 'u' }, to: { uid: 'u' }, content: 1 });
  await rename(app, 'u', 'v');
  const between = await app.token({ uid: 'u' });
  await app.call('POST', '/messages', { from: { uid: 'x' }, to: { uid: 'u' }, content: 'to the new u' });
  const { body } = await service.call('GET', '/v1/me/messages', { key: between });
  assert.deepEqual(
    body.items.map((message: { content: unknown }) => message.content),
    ['to the new u'],
  );
});

test('a fresh token on an open socket must act as the same user, whatever its sub says', async () => {
  const app = await service.createApp();
  const first = await app.token({ uid: 'bob' });
  const socket = await service.connect(first, { device: 'phone' });
  const other = await app.token({ uid: 'alice' });
  socket.send({ type: 'token', token: other });
  assert.equal((await socket.wait((frame) => frame.type === 'error')).code, 'forbidden');
  const imId = await app.register('bob');
  socket.send({ type: 'token', token: await app.token({ imId }) });
  await eventually(async () => {
    await app.call('POST', '/messages', { from: { uid: 'x' }, to: { imId }, content: 1 });
    return (await socket.messages(1)).some(({ to }) => to.imId === imId);
  }, 'what is shown in the other scheme');
  assert.equal(socket.closed, undefined);
  socket.send({ type: 'token', token: 'nonsense' });
  assert.equal((await socket.wait((frame) => frame.code === 'unauthorized')).type, 'error');
});

test('right after an adoption the former uid is free: its next token is the next guest’s', async () => {
  const app = await service.createApp();
  await app.call('POST', '/messages', {
    from: { uid: 'g' },
    to: { uid: 'g' },
    content: 'of the first guest',
  });
  const former = await app.token({ uid: 'g' });
  await app.register('alice', { uid: 'g' });
  const next = await app.token({ uid: 'g' });
  assert.deepEqual([await uidOf(former), await uidOf(next)], ['alice', 'g']);
  assert.deepEqual((await service.call('GET', '/v1/me/messages', { key: next })).body.items, []);
});

test('a token bound to another device renews no connection', async () => {
  const app = await service.createApp();
  const phone = await app.connect({ uid: 'bob', ttlSeconds: 60 }, { device: 'phone' });
  phone.send({ type: 'token', token: await app.token({ uid: 'bob', deviceId: 'laptop' }) });
  assert.equal((await phone.wait((frame) => frame.type === 'error')).code, 'forbidden');
  phone.send({ type: 'token', token: await app.token({ uid: 'bob', deviceId: 'phone' }) });
  assert.equal((await phone.say({ uid: 'x' }, 1)).type, 'sent');
  assert.equal(phone.frames.filter((frame) => frame.type === 'error').length, 1);
});

test('after a rename an address names whoever holds the name now, a token whoever held it', async () => {
  const app = await service.createApp();
  const sender = await app.connect({ uid: 'sender' });
  const old = await app.connect({ uid: 'bob' });
  await sender.say({ uid: 'bob' }, 'first');
  await rename(app, 'bob', 'robert');
  await sender.say({ uid: 'bob' }, 'to the next bob');
  await sender.say({ uid: 'robert' }, 'second');
  assert.deepEqual(
    (await old.messages(2)).map((message) => message.content),
    ['first', 'second'],
  );
  assert.deepEqual(
    (await app.inbox(`${app.appId}:bob`)).map((message) => message.content),
    ['to the next bob'],
  );
});

test('messages to a name that is renamed and erased while they are sent go each to one inbox, without a gap', async () => {
  const app = await service.createApp();
  const sender = await app.connect({ uid: 'sender' });
  const total = 300;
  const answers: Promise<unknown>[] = [];
  for (let n = 0; n < total; n++) {
    answers.push(sender.say({ uid: 'bob' }, n, `m${n}`));
    if (n % 60 === 20) answers.push(rename(app, 'bob', `bob-${n}`));
    if (n % 60 === 40) answers.push(app.call('DELETE', `/identities/${app.appId}:bob`));
  }
  const done = (await Promise.all(answers)) as { type?: string; status?: number }[];
  assert.equal(done.filter((answer) => answer.type === 'sent').length, total);
  const own = await app.inbox(`${app.appId}:sender`);
  assert.deepEqual(
    own.map((message) => [message.seq, message.content]),
    Array.from({ length: total }, (_, n) => [n + 1, n]),
  );
  for (const name of ['bob', ...Array.from({ length: 5 }, (_, k) => `bob-${k * 60 + 20}`)]) {
    const inbox = await app.inbox(`${app.appId}:${name}`);
    assert.deepEqual(
      inbox.map((message) => message.seq),
      inbox.map((_, i) => i + 1),
      name,
    );
    const contents = inbox.map((message) => message.content as number);
    assert.deepEqual(
      contents,
      contents.toSorted((a, b) => a - b),
      name,
    );
  }
});
