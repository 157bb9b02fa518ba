// Apps are kept apart: with the key, the tokens and the ids of another app, every operation of the OpenAPI document
// answers as if that app weren't there, and changes nothing in it. What the document gains is tested by itself.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { decodeJwt, SignJWT } from 'jose';
import { createBox } from '../src/tokens/box.ts';
import { createKeys } from '../src/tokens/keys.ts';
import { ask, codesOf, findCursor, isGood, ownIds, readAs, type Use } from './asking.ts';
import { startService, type Answer, type Json } from './harness.ts';
import { SECRET } from './logs.ts';
import { readOperations } from './operations.ts';
import { placesOf, type Form, type Operation, type Place } from './requests.ts';
import {
  createVictim,
  createWorld,
  createWorlds,
  cursorBeside,
  kindOf,
  nobodysId,
  ownId,
  readTables,
  roles,
} from './worlds.ts';
import type { Role, Victim, World } from './worlds.ts';

const BOTH = ['composed', 'registered'];
/** Forms that lead to what an app has, so that those of another must lead to nothing. All else is a name. */
const REFERENCES = new Set<Form>(['appId', 'composedId', 'registeredId', 'userId', 'keyId', 'messageId']);
const NOTHING = ['not_found', 'unknown_recipient'];
const FIRST_PAGE = Buffer.from('after:0').toString('base64url');

const service = await startService({ app: { allowPrivateUrls: true } });
const operations = readOperations((await service.call('GET', '/openapi.yaml', { key: '' })).text);
const worlds = createWorlds(service);

/** There before the victim, and left alone: what it is shown must not depend on any other app. */
let bystander: World;
let shownBefore: string[];
let victim: Victim;
let tablesBefore: Json;
before(async () => {
  // Long enough not to stand in any answer by chance.
  await service.database.pool.query('alter table app alter column id restart with 700700700');
  bystander = await createWorld(service);
  shownBefore = await readAll(bystander);
  victim = await createVictim(service);
  // Conversations are counted when somebody asks for them.
  for (const role of ['composed', 'registered'] as const)
    await service.call('GET', '/v1/me', { key: victim.credentials[role] });
  tablesBefore = await readBoth();
});

for (const operation of operations)
  test(`${operation.name} keeps apps apart`, async () => {
    const uses = await findUses(operation);
    if ('appId' in operation.templates[0]!.path) await assertNoOtherApp(uses);
    const ofApps = uses.filter((use) => !isAboutAll(use));
    for (const schemes of [BOTH, ['composed'], ['registered']]) await assertNoOtherIds(ofApps, schemes);
  });

/** Uses that succeed for an app about itself; together they name things in every way that the document knows. */
async function findUses(operation: Operation): Promise<Use[]> {
  const uses: Use[] = [];
  const covered = new Set<string>();
  const refused = new Map<string, string>();
  let able: readonly Role[] = roles;
  for (const template of operation.templates) {
    const ways = placesOf(template).map(wayOf);
    if (uses.length > 0 && ways.every((way) => covered.has(way))) continue;
    const answers = new Map<Role, Answer>();
    for (const role of able) {
      const use = { operation, template, role };
      const world = await worlds.take(BOTH);
      answers.set(role, await askOpenly(use, world, ownIds(service, use, world)));
    }
    const succeeded = able.filter((role) => isGood(answers.get(role)!));
    if (succeeded.length === 0) {
      for (const way of ways) refused.set(way, answers.get(able[0]!)!.text);
      continue;
    }
    const code = succeeded.includes('composed') ? 'unauthorized' : 'forbidden';
    for (const role of able)
      if (!succeeded.includes(role)) assert.deepEqual(codesOf(answers.get(role)!), [code], `as ${role}`);
    // What a key may do, the admin may do in the same way.
    able = succeeded.filter((role) => role !== 'admin' || succeeded.length === 1);
    uses.push(...able.map((role) => ({ operation, template, role })));
    for (const way of ways) covered.add(way);
  }
  for (const place of operation.templates.flatMap((template) => placesOf(template)))
    if (!place.isGuess) assert.ok(covered.has(wayOf(place)), `${wayOf(place)}: ${refused.get(wayOf(place))}`);
  assert.ok(uses.length > 0, [...refused.values()].join('\n'));
  return uses;
}

/** A line of a stream is about one thing, in whichever form. */
function wayOf({ pointer, part, form }: Place): string {
  return part === 'stream' ? pointer : `${pointer} as ${form}`;
}

/** The key and the tokens of one app find nothing under the path of another. */
async function assertNoOtherApp(uses: readonly Use[]): Promise<void> {
  for (const use of uses) {
    const own = ownIds(service, use, victim);
    const nobodys = (place: Place) => (isPathApp(place) ? nobodysId('appId') : own(place));
    for (const role of ['key', 'composed', 'registered'] as const) {
      const world = await worlds.take(BOTH);
      const answer = await askOpenly({ ...use, role }, world, own);
      const ofNobody = await askOpenly({ ...use, role }, world, nobodys);
      assert.deepEqual([answer.status, answer.body.code], [404, 'not_found'], `as ${role}`);
      assert.equal(answer.text, ofNobody.text, `as ${role}`);
    }
  }
}

/** Under its own path, an app is answered about the ids of another as about ids that nobody was ever given. */
async function assertNoOtherIds(uses: readonly Use[], schemes: string[]): Promise<void> {
  const tried = new Set<string>();
  for (const use of uses)
    for (const place of placesOf(use.template)) {
      const ofNobody = new Map<string, string>();
      for (const form of formsIn(place, schemes)) {
        const what = `${wayOf(place)}, ${form}, as ${use.role} with ${schemes.join(' and ')}`;
        if (tried.has(what)) continue;
        tried.add(what);
        const id = form === 'cursor' ? await findCursor(service, use, victim) : victim.ids[form];
        // Where it is but a number of pages, all apps are given the same ones.
        if (form === 'cursor' && id === (await findCursor(service, use, await worlds.take(BOTH)))) continue;
        const { answer, shown } = await askAbout(id, place, use, schemes);
        // Nobody's ids of one kind are asked about once.
        const kind = form === 'cursor' ? form : kindOf(form);
        if (!ofNobody.has(kind)) {
          const nobodys = form === 'cursor' ? cursorBeside(id) : nobodysId(form);
          ofNobody.set(kind, (await askAbout(nobodys, place, use, schemes)).shown);
        }
        assert.equal(shown, ofNobody.get(kind), what);
        if (!REFERENCES.has(place.form) || place.part === 'stream') continue;
        const codes = codesOf(answer);
        const allowed = schemes === BOTH ? NOTHING : [...NOTHING, 'scheme_disabled'];
        assert.ok(codes.length > 0 && codes.every((code) => allowed.includes(code)), `${what}: ${shown}`);
      }
    }
}

function formsIn(place: Place, schemes: string[]): (keyof Victim['ids'] | 'cursor')[] {
  // What is text in any case can be anything, and is read the same whatever the schemes are. A kid is no app's.
  if (isPathApp(place) || place.form === 'kid' || (place.form === 'text' && schemes !== BOTH)) return [];
  if (place.form !== 'text') return [place.form];
  // Some forms are filled with the same id.
  return [
    ...new Map(Object.entries(victim.ids).map(([form, id]) => [id, form])).values(),
  ] as (keyof Victim['ids'])[];
}

/** Its own path: with another's nothing else of a request is looked at. */
function isPathApp({ part, form }: Place): boolean {
  return part === 'path' && form === 'appId';
}

async function askAbout(
  id: string,
  place: Place,
  use: Use,
  schemes: string[],
): Promise<{ answer: Answer; shown: string }> {
  const world = await worlds.take(schemes);
  const own = ownIds(service, use, world);
  const answer = await askOpenly(use, world, (each) => (each === place ? id : own(each)), id);
  return { answer, shown: readAs(world, answer, id) };
}

/** Asks, and sees to it that nothing of the victim is shown. */
async function askOpenly(
  use: Use,
  world: World,
  pick: (place: Place) => unknown,
  id?: string,
): Promise<Answer> {
  const answer = await ask(service, use, world, pick);
  if ((use.operation.method !== 'GET' || use.operation.isSocket) && isGood(answer)) worlds.spend(world);
  const shown = id === undefined ? answer.text : answer.text.replaceAll(id, '');
  if (!isAboutAll(use) && victim !== world)
    for (const mark of victim.marks)
      assert.ok(!shown.includes(mark), `${use.operation.name} shows ${mark}: ${shown}`);
  return answer;
}

/** The admin sees all apps where it asks about none. */
function isAboutAll({ role, template }: Use): boolean {
  return role === 'admin' && !('appId' in template.path);
}

/** All that an app can read of itself. */
async function readAll(world: World): Promise<string[]> {
  const shown: string[] = [];
  for (const operation of operations.filter(({ method, isSocket }) => method === 'GET' && !isSocket))
    for (const template of operation.templates)
      for (const role of roles) {
        const use = { operation, template, role };
        if (isAboutAll(use)) continue;
        const { status, text } = await ask(service, use, world, (place) =>
          place.form === 'cursor' ? FIRST_PAGE : ownId(world, place),
        );
        // When a key was used last changes by the asking.
        const lasting = text.replaceAll(/,"lastUsedAt":"[^"]*"/g, '');
        shown.push(`${role} ${operation.name} ${status} ${lasting}`);
      }
  return shown;
}

const readBoth = async () => [await readTables(service, victim), await readTables(service, bystander)];

test('a client finds nobody of another app by an imId, and a token of another app renews no connection', async () => {
  const { app } = await createWorld(service);
  const { composedId, registeredId, userId } = victim.ids;
  for (const address of [{ uid: 'alice' }, { userId: 'bob' }]) {
    const client = await app.connect(address);
    for (const [theirs, nobodys] of [
      [{ imId: composedId }, { imId: nobodysId('composedId') }],
      [{ imId: registeredId }, { imId: nobodysId('registeredId') }],
      [{ userId }, { userId: nobodysId('userId') }],
    ]) {
      const { id: _id, ...refusal } = await client.say(theirs!, 'to somebody of another app');
      const { id: _other, ...ofNobody } = await client.say(nobodys!, 'to nobody');
      assert.deepEqual(refusal, ofNobody);
      assert.equal(refusal.code, 'unknown_recipient');
    }
    const refusals: Json[] = [];
    for (const token of [victim.credentials.composed, await app.token({ uid: 'carol' })]) {
      const seen = client.frames.length;
      client.send({ type: 'token', token });
      refusals.push(await client.wait((frame) => frame.type === 'error', seen));
    }
    assert.deepEqual(refusals[0], refusals[1]);
    assert.equal(refusals[0].code, 'forbidden');
    await client.close();
  }
});

test('a token for one app that names a user of another acts for nobody, even if it were signed', async () => {
  const { app, credentials } = await createWorld(service);
  const { kid, privateKey } = (
    await createKeys({
      database: service.database,
      box: createBox(SECRET),
      onChange() {},
      log() {},
    })
  ).current();
  const me = async (token: string, sub: string): Promise<Json> => {
    const signed = await new SignJWT({ ...decodeJwt(token), aud: `imid:${app.appId}`, sub })
      .setProtectedHeader({ alg: 'ES256', kid, typ: 'imid+jwt' })
      .sign(privateKey);
    const { status, body } = await service.call('GET', '/v1/me', { key: signed });
    await assert.rejects(service.connect(signed), { status: 401 });
    assert.equal(status, 401);
    return body;
  };
  const { composedId, registeredId } = victim.ids;
  assert.deepEqual(
    await me(credentials.composed, composedId),
    await me(credentials.composed, nobodysId('composedId')),
  );
  assert.deepEqual(
    await me(credentials.registered, registeredId),
    await me(credentials.registered, nobodysId('registeredId')),
  );
});

test('after all that, nothing of an app has changed, nor what another is shown', async () => {
  for (const { identity, message, contact, device } of tablesBefore)
    assert.ok(identity.length > 3 && message.length > 3 && contact.length > 3 && Array.isArray(device));
  assert.deepEqual(await readBoth(), tablesBefore);
  assert.deepEqual(await readAll(bystander), shownBefore);
  for (const socket of victim.sockets) {
    assert.deepEqual(socket.frames, [socket.welcome]);
    assert.equal(socket.closed, undefined);
  }
  const { app, credentials } = victim;
  assert.equal((await service.call('GET', '/v1/me', { key: credentials.composed })).body.uid, 'alice');
  assert.equal((await service.call('GET', '/v1/me', { key: credentials.registered })).status, 200);
  assert.equal((await app.call('GET', '')).status, 200);
});
