// Apps for the isolation test, all filled alike: users of every kind, and everything that can hang on one. Their users
// have the same names and imIds, so that nothing but the app tells them apart.

import { randomBytes, randomUUID } from 'node:crypto';
import { decodeJwt } from 'jose';
import { makeUuid, uuidToRegisteredId } from '../src/ids.ts';
import { ADMIN_KEY, type Answer, type Client, type Json, type Service, type Tenant } from './harness.ts';
import type { Form, Place } from './requests.ts';

/** Who asks: the admin, a backend, or a client with a token of either scheme. */
export const roles = ['admin', 'key', 'composed', 'registered'] as const;
export type Role = (typeof roles)[number];

export interface World {
  app: Tenant;
  credentials: Record<Role, string>;
  keyId: string;
  messageId: string;
}

/** The app that all others are kept from: it has users that no other has, and its texts are shown to no other. */
export interface Victim extends World {
  ids: Record<Exclude<Form, 'cursor' | 'kid' | 'text'>, string>;
  marks: string[];
  /** Open all the time. */
  sockets: Client[];
}

const fresh = (): string => randomBytes(8).toString('hex');
const makeImId = (): string => uuidToRegisteredId(randomUUID());
const [BOB, DAVE] = [makeImId(), makeImId()];
/** Nobody listens there. */
const WEBHOOK = { url: 'http://127.0.0.1:9/', secrets: [`whsec_${randomBytes(32).toString('base64')}`] };

async function done(asked: Promise<Answer>): Promise<Json> {
  const { status, body, text } = await asked;
  if (status >= 300 || text.includes('"error"')) throw new Error(text);
  return body;
}

/**
 * An app with alice and carol (uids), bob and dave (registered), their messages, contacts, phones and tokens, two keys, two
 * issuers, somebody merged, a webhook, and one for pushes, of which two were given up.
 */
export async function createWorld(service: Service, schemes?: string[], mark = ''): Promise<World> {
  const app = await service.createApp();
  const call = (method: string, path: string, body?: unknown) => done(app.call(method, path, body));
  const users = [
    { userId: 'bob', imId: BOB },
    { userId: 'dave', imId: DAVE },
  ];
  await done(
    service.call('POST', `${app.path}/identities/import`, {
      key: app.apiKey,
      body: users.map((user) => JSON.stringify(user)).join('\n'),
      headers: { 'content-type': 'application/x-ndjson' },
    }),
  );
  const content = { text: `hello${mark}` };
  const send = (from: object, to: object) =>
    call('POST', '/messages', { from, to, content, id: `id${mark}` });
  const { messageId } = await send({ uid: 'alice' }, { userId: 'dave' });
  await send({ userId: 'bob' }, { imId: `${app.appId}:carol` });
  // Two conversations each, so that there is a second page.
  await send({ imId: DAVE }, [{ uid: 'alice' }, { imId: BOB }]);
  await send({ imId: `${app.appId}:carol` }, [{ imId: BOB }, { uid: 'alice' }]);
  for (const owner of [`${app.appId}:alice`, BOB]) {
    const items = [{ uid: 'carol', displayName: `Carol${mark}` }, { imId: DAVE }];
    await call('PUT', `/contacts/${owner}`, { items });
  }
  await call('POST', `/identities/${app.appId}:carol/merge`, { from: { uid: 'eve' } });
  for (const name of ['customer-1', 'customer-2'])
    await call('PUT', `/issuers/${name}`, {
      issuer: `https://${name}.example`,
      audience: `chat${mark}`,
      jwksUrl: `https://${name}.example/jwks${mark}`,
    });
  const { keyId } = await call('POST', '/keys', { name: `second${mark}` });
  const credentials = {
    admin: ADMIN_KEY,
    key: app.apiKey,
    composed: await app.token({ uid: 'alice' }),
    registered: await app.token({ userId: 'bob' }),
  };
  const bind = (role: 'composed' | 'registered') =>
    done(
      service.call('PUT', '/v1/me/devices/phone', {
        key: credentials[role],
        body: { platform: 'android', provider: 'webhook', pushToken: `phone of ${role}${mark}` },
      }),
    );
  await Promise.all([
    bind('composed'),
    bind('registered'),
    call('PUT', '/push/webhook', { ...WEBHOOK, url: `${WEBHOOK.url}${mark}` }),
    call('PUT', '/webhook', { ...WEBHOOK, url: `${WEBHOOK.url}${mark}`, events: ['push.failed'] }),
  ]);
  await service.database.pool.query(
    `insert into push_failure (app_id, identity_id, device_id, provider, message_id, reason)
     select app_id, id, 'phone', 'webhook', $2, 'refused: ' || $3 from identity where app_id = $1 and name in ('alice', 'bob')`,
    [app.appId, messageId, `for no reason${mark}`],
  );
  if (schemes) await call('PATCH', '', { schemes });
  return { app, credentials, keyId, messageId };
}

/** Worlds that are as they were created, for whoever takes one until somebody spends it. */
export function createWorlds(service: Service) {
  const unspent = new Map<string, World>();
  return {
    async take(schemes: string[]): Promise<World> {
      const key = schemes.join();
      const world = unspent.get(key) ?? (await createWorld(service, schemes));
      unspent.set(key, world);
      return world;
    },
    spend(world: World): void {
      for (const [key, each] of unspent) if (each === world) unspent.delete(key);
    },
  };
}

export async function createVictim(service: Service): Promise<Victim> {
  const mark = `-${fresh()}`;
  const world = await createWorld(service, undefined, mark);
  const { app, credentials, keyId, messageId } = world;
  const [uid, userId, formerName] = [`anna${mark}`, `boris${mark}`, `olaf${mark}`];
  const registeredId = await app.register(userId);
  const former = await app.register(formerName);
  await done(app.call('PATCH', `/identities/${former}`, { userId: `oskar${mark}` }));
  await done(app.call('POST', '/messages', { from: { uid }, to: { userId }, content: mark }));
  const deviceId = `phone${mark}`;
  const alice = await app.connect({ uid: 'alice' }, { device: deviceId });
  const bob = await app.connect({ userId: 'bob' });
  const ids = {
    appId: app.appId,
    composedId: `${app.appId}:alice`,
    registeredId,
    newId: registeredId,
    uid,
    userId,
    name: userId,
    formerName,
    keyId,
    messageId,
    clientId: `id${mark}`,
    deviceId,
    pushToken: `phone of composed${mark}`,
    jti: decodeJwt(credentials.composed).jti!,
    epoch: alice.welcome.epoch as string,
  };
  const { key, composed, registered } = credentials;
  const marks = [mark, registeredId, former, keyId, messageId, key, composed, registered, ids.jti, ids.epoch];
  marks.push(`"${app.appId}:`, `"appId":"${app.appId}"`);
  return { ...world, ids, marks, sockets: [alice, bob] };
}

/** What stands in a place of a request that an app makes about itself. */
export function ownId({ app, keyId, messageId }: World, { form, part, pointer, example }: Place): unknown {
  const [composed, registered] = part === 'body' ? ['carol', 'dave'] : ['alice', 'bob'];
  if (form === 'appId') return app.appId;
  if (form === 'composedId') return `${app.appId}:${composed}`;
  if (form === 'registeredId') return registered === 'bob' ? BOB : DAVE;
  if (form === 'uid') return composed;
  if (form === 'userId') return registered;
  if (form === 'keyId') return keyId;
  if (form === 'messageId') return messageId;
  if (form === 'deviceId' && part !== 'body') return 'phone';
  if (form === 'text') return example ?? 'text';
  return nobodysId(form, `new ${pointer}`);
}

/** What an id of this form is made of: those of one kind differ by chance only. */
export function kindOf(form: Form): 'appId' | 'composedId' | 'imId' | 'messageId' | 'jti' | 'name' {
  if (form === 'registeredId' || form === 'newId') return 'imId';
  return form === 'appId' || form === 'composedId' || form === 'messageId' || form === 'jti' ? form : 'name';
}

/** An id of this form that nobody was ever given, or a name that nobody has. */
export function nobodysId(form: Form, name = fresh()): string {
  const kind = kindOf(form);
  if (kind === 'appId') return '9007199254740991';
  if (kind === 'composedId') return '9007199254740991:alice';
  if (kind === 'imId') return makeImId();
  if (kind === 'messageId') return randomUUID();
  if (kind === 'jti') return makeUuid(new Date());
  return name;
}

/** A key as long and of the same kind that stands right beside the one a cursor holds. */
export function cursorBeside(cursor: string): string {
  const key = Buffer.from(cursor, 'base64url').toString();
  const digit = Number.parseInt(key.at(-1)!, 16) ^ 1;
  return Buffer.from(key.slice(0, -1) + digit.toString(16)).toString('base64url');
}

/** All rows of an app, by table, but for when and how often it used its keys. */
export async function readTables({ database }: Service, { app }: World): Promise<Record<string, Json[]>> {
  const { rows: tables } = await database.pool.query<{ name: string }>(
    `select table_name as name from information_schema.columns
     where table_schema = 'public' and column_name = 'app_id' order by table_name`,
  );
  const all: Record<string, Json[]> = {};
  for (const { name } of [...tables, { name: 'app' }]) {
    const column = name === 'app' ? 'id' : 'app_id';
    const { rows } = await database.pool.query<{ row: Json }>(
      `select to_jsonb(t) - 'last_used_at' as row from ${name} t where ${column} = $1
       ${name === 'audit_event' ? "and action <> 'key.use'" : ''} order by to_jsonb(t)::text`,
      [app.appId],
    );
    all[name] = rows.map(({ row }) => row);
  }
  return all;
}
