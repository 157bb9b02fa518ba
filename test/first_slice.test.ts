// The main job: two users of two schemes talk.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { startService, type Service } from './harness.ts';

let service: Service;
before(async () => {
  service = await startService();
});

test('a composed and a registered user talk over their sockets', async () => {
  const app = await service.createApp();
  const imId = await app.register('bob');
  const alice = await app.connect({ uid: 'alice' });
  const bob = await app.connect({ userId: 'bob' });
  assert.deepEqual(alice.welcome.me, { scheme: 'composed', uid: 'alice' });
  assert.deepEqual(bob.welcome.me, { scheme: 'registered', imId });

  const sent = await alice.say({ uid: 'bob' }, { text: 'hello' });
  assert.equal(sent.type, 'sent');
  const [message] = await bob.messages(1);
  assert.deepEqual(message, {
    type: 'message',
    seq: 1,
    messageId: sent.messageId,
    from: { imId: `${app.appId}:alice` },
    to: { imId },
    content: { text: 'hello' },
    at: sent.at,
  });

  await bob.say({ imId: `${app.appId}:alice` }, 'hi');
  const [reply] = await alice.messages(1);
  assert.equal(reply.seq, 2);
  assert.deepEqual(reply.from, { uid: 'bob' });
});
