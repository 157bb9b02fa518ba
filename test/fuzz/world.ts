// What there is while requests are made at random: an app that may be harmed, made anew when it was, one whose key is used
// where it must not count, and one that nobody has any business with.

import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { SignJWT } from 'jose';
import { ADMIN_KEY, type Json, type Service, type Tenant } from '../harness.ts';
import type { Known } from './values.ts';

export type Credential =
  | 'none'
  | 'admin'
  | 'key'
  | 'otherKey'
  | 'composedToken'
  | 'registeredToken'
  | 'expiredToken'
  | 'erasedToken'
  | 'garbage';

export interface World {
  app: Tenant;
  credentials: Record<Credential, string>;
  known: Known;
  /** The app with which only its own key has anything to do. */
  keptId: string;
}

const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ISSUER = { issuer: 'https://login.customer.example', audience: 'chat-client' };
/** Nobody listens there. */
const WEBHOOK = { url: 'http://127.0.0.1:9/', secrets: [`whsec_${randomBytes(32).toString('base64')}`] };
const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

const subjectToken = (): Promise<string> =>
  new SignJWT({ iss: ISSUER.issuer, aud: ISSUER.audience, sub: 'bob' })
    .setProtectedHeader({ alg: 'ES256' })
    .setExpirationTime('1h')
    .sign(privateKey);

export async function createWorlds(service: Service) {
  const kept = await service.createApp();
  const other = await service.createApp();
  const imId = await kept.register('kept');
  for (const text of ['one', 'two', 'three'])
    await kept.call('POST', '/messages', { from: { uid: 'sender' }, to: { imId }, content: { text } });
  const inbox = await kept.inbox(imId);
  assert.equal(inbox.length, 3);
  const short = await kept.call('POST', '/tokens', { uid: 'short', ttlSeconds: 1 });
  const bystander = await kept.connect({ uid: 'bystander' });
  let world: World | undefined;

  async function create(): Promise<World> {
    const app = await service.createApp();
    const registered = await app.register('bob');
    const gone = await app.register('gone');
    const tokens = await Promise.all(
      [{ uid: 'alice' }, { userId: 'bob' }, { userId: 'gone' }].map(app.token),
    );
    await app.call('DELETE', `/identities/${gone}`);
    const composed = `${app.appId}:alice`;
    for (const [from, to] of [
      [composed, registered],
      [registered, composed],
    ])
      await app.call('POST', '/messages', {
        from: { imId: from },
        to: { imId: to },
        content: { text: 'hello' },
      });
    await app.call('PUT', `/contacts/${encodeURIComponent(composed)}`, { contacts: [{ userId: 'bob' }] });
    const jwks = { keys: [publicKey.export({ format: 'jwk' })] };
    assert.equal((await app.call('PUT', '/issuers/customer-1', { ...ISSUER, jwks })).status, 201);
    assert.equal((await app.call('PUT', '/push/webhook', WEBHOOK)).status, 201);
    assert.equal((await app.call('PUT', '/webhook', { ...WEBHOOK, events: ['push.failed'] })).status, 201);
    for (const key of tokens.slice(0, 2)) {
      const body = { platform: 'android', provider: 'webhook', pushToken: key.slice(-10) };
      assert.equal((await service.call('PUT', '/v1/me/devices/phone', { key, body })).status, 200);
    }
    const keys = await app.call('GET', '/keys');
    const page = await app.call('GET', '/identities?limit=1');
    return {
      app,
      keptId: kept.appId,
      credentials: {
        none: '',
        admin: ADMIN_KEY,
        key: app.apiKey,
        otherKey: other.apiKey,
        composedToken: tokens[0]!,
        registeredToken: tokens[1]!,
        erasedToken: tokens[2]!,
        expiredToken: short.body.token as string,
        garbage: 'garbage',
      },
      known: {
        appId: [app.appId],
        imId: [composed, registered],
        uid: ['alice', 'carol'],
        userId: ['bob', 'dave'],
        keyId: (keys.body.items as Json[]).map((item) => item.keyId as string),
        cursor: [page.body.nextCursor ?? ''],
        device: ['phone', 'tablet'],
        deviceId: ['phone', 'tablet'],
        name: ['customer-1'],
        provider: ['webhook'],
        url: [WEBHOOK.url],
        secrets: WEBHOOK.secrets,
        events: ['device.gone', 'push.failed'],
        jwksUrl: [`${ISSUER.issuer}/jwks.json`],
        grant_type: [TOKEN_EXCHANGE],
        subject_token: [await subjectToken()],
        audience: [`imid:${app.appId}`],
        scope: ['composed', 'registered'],
      },
    };
  }

  async function isWhole({ credentials, app }: World): Promise<boolean> {
    const asked = await Promise.all([
      service.call('GET', `${app.path}/identities?userId=bob`, { key: credentials.key }),
      service.call('GET', '/v1/me', { key: credentials.composedToken }),
      service.call('GET', '/v1/me', { key: credentials.registeredToken }),
      service.call('GET', `${app.path}/issuers/customer-1`, { key: credentials.key }),
      service.call('GET', `${app.path}/push`, { key: credentials.key }),
      service.call('GET', `${app.path}/webhook`, { key: credentials.key }),
    ]);
    const [named, , , , push] = asked;
    return (
      asked.every((answer) => answer.status === 200) &&
      named.body.items?.length === 1 &&
      push.body.items?.length === 1
    );
  }

  return {
    /** One in which every credential still does what it is for. */
    async whole(): Promise<World> {
      if (!world || !(await isWhole(world))) world = await create();
      return world;
    },

    /** That the service lives, and what nobody had any business with is as it was. */
    async assertUnharmed(): Promise<void> {
      assert.equal((await service.call('GET', '/readyz')).status, 200);
      assert.deepEqual(await kept.inbox(imId), inbox);
      assert.equal((await bystander.say({ uid: 'nobody' }, 1)).type, 'sent');
      assert.equal(bystander.closed, undefined);
    },
  };
}
