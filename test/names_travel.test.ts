// Every legal uid survives path, query, JSON, SQL, token and frame unchanged; every illegal one is refused on each,
// naming the field.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import fc from 'fast-check';
import { decodeJwt } from 'jose';
import { startService, type Answer, type Client, type Service, type Tenant } from './harness.ts';
import { illegalName, legalName } from './names.ts';

const RUNS = 60;

let service: Service;
let app: Tenant;
let client: Client;
before(async () => {
  service = await startService();
  app = await service.createApp();
  client = await app.connect({ uid: 'constant companion' });
});

test('a legal name survives every way through the service', async () => {
  const own = await service.createApp();
  const seen = new Map<string, string>();
  const said = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(legalName, async (name) => {
      const composed = `${app.appId}:${name}`;
      // JSON and SQL, through the registry
      const registered = await own.call('POST', '/identities', { userId: name });
      assert.equal(registered.body.userId, name);
      assert.equal(registered.status, seen.has(name) ? 200 : 201);
      assert.equal(seen.get(name) ?? registered.body.imId, registered.body.imId);
      seen.set(name, registered.body.imId);
      const { rows } = await service.database.pool.query(
        'select name from identity where app_id = $1 and name = $2',
        [own.appId, name],
      );
      assert.deepEqual(rows, [{ name }]);
      // query and path
      const found = await own.call('GET', `/identities?userId=${encodeURIComponent(name)}`);
      assert.deepEqual(
        found.body.items.map((item: { userId: string }) => item.userId),
        [name],
      );
      const looked = await app.call('GET', `/identities/${encodeURIComponent(composed)}`);
      assert.deepEqual([looked.body.imId, looked.body.uid], [composed, name]);
      // token
      const { body } = await app.call('POST', '/tokens', { uid: name });
      assert.deepEqual([body.imId, decodeJwt(body.token).sub], [composed, composed]);
      assert.deepEqual((await service.call('GET', '/v1/me', { key: body.token })).body, {
        scheme: 'composed',
        uid: name,
        unread: said.get(name) ?? 0,
        presence: true,
      });
      // frames: as an address, and as it is shown
      const sent = await client.say({ uid: name }, name);
      assert.equal(sent.type, 'sent');
      said.set(name, (said.get(name) ?? 0) + 1);
      const [message] = await app.inbox(composed);
      assert.deepEqual([message.to, message.content], [{ imId: composed, uid: name }, name]);
      // a line of JSON stays a line
      assert.ok(!/[\n\r\u2028\u2029]/.test(JSON.stringify({ userId: name })));
    }),
    { numRuns: RUNS },
  );
});

test('an illegal name is refused on every way in, naming the field', async () => {
  const assertNamed = (answer: Answer, pointer: string): void => {
    assert.deepEqual(
      [answer.status, answer.body.code, answer.body.errors?.[0]?.pointer],
      [400, 'invalid_request', pointer],
      JSON.stringify(answer.body),
    );
  };
  await fc.assert(
    fc.asyncProperty(illegalName, async (name) => {
      assertNamed(await app.call('POST', '/identities', { userId: name }), '#/userId');
      assertNamed(await app.call('POST', '/tokens', { uid: name }), '#/uid');
      assertNamed(await app.call('POST', '/tokens', { imId: `${app.appId}:${name}` }), '#/imId');
      assertNamed(
        await app.call('POST', '/resolve', { addresses: [{ userId: name }] }),
        '#/addresses/0/userId',
      );
      assertNamed(
        await app.call('POST', '/messages', { from: { uid: name }, to: { uid: 'x' }, content: 1 }),
        '#/from/uid',
      );
      const sent = await client.say({ uid: name }, 1);
      assert.deepEqual(
        [sent.code, sent.detail.startsWith('to.uid ')],
        ['invalid_request', true],
        sent.detail,
      );
      if (!name.isWellFormed()) return; // has no UTF-8, so no URL either
      assertNamed(await app.call('GET', `/identities?userId=${encodeURIComponent(name)}`), '#/userId');
      assertNamed(
        await app.call('GET', `/identities/${encodeURIComponent(`${app.appId}:${name}`)}`),
        '#/imId',
      );
      assertNamed(await app.call('PATCH', `/identities/${app.appId}:x`, { uid: name }), '#/uid');
    }),
    { numRuns: RUNS },
  );
});
