// The client library against a real service: what it promises of sending, receiving and coming back.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { watchUser } from './clients.ts';
import { startService, type Service, type Tenant } from './harness.ts';

let service: Service;
let app: Tenant;
before(async () => {
  service = await startService();
  app = await service.createApp();
});

test('a client connects, sends, and hands over what comes, in either scheme', async () => {
  const imId = await app.register('rita');
  const alice = watchUser(service, app, { uid: 'alice' });
  const rita = watchUser(service, app, { imId });
  const welcome = await alice.client.connect();
  assert.deepEqual(welcome.me, { scheme: 'composed', uid: 'alice' });
  await rita.client.connect();
  assert.deepEqual([alice.client.state, rita.client.me], ['open', { scheme: 'registered', imId }]);
  const sent = await alice.client.send({ uid: 'rita' }, { text: 'hello' });
  assert.equal(sent.seq, 1);
  const { from, ...message } = await rita.wait('message');
  assert.deepEqual(message.content, { text: 'hello' });
  assert.equal(message.messageId, sent.messageId);
  assert.equal((await rita.client.send(from, 'and back')).seq, 2);
  assert.equal((await alice.wait('message')).content, 'and back');
  assert.equal(alice.client.acked, 2);
});
