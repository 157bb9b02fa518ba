// What may be done to who is who, each as a call to a process of the service and as the same to the model: the answers,
// and whatever can be seen afterwards, must agree.

import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Scheme } from '../src/ids.ts';
import { eventually, type Answer, type Json, type Refused, type Service } from './harness.ts';
import { Model, type ModelAddress, type ModelUser, type Refusal } from './model.ts';

/** The service: processes on one database. */
export interface Real {
  processes: readonly Service[];
  path: string;
}

type Command = fc.AsyncCommand<Model, Real>;

const STATUS: Record<Refusal, number> = {
  scheme_disabled: 409,
  not_found: 404,
  unknown_recipient: 422,
  conflict: 409,
  invalid_request: 400,
};

function command(name: string, run: (model: Model, real: Real) => Promise<void>): Command {
  return { check: () => true, run, toString: () => name };
}

function refused(answer: Answer, refusal: Refusal): void {
  assert.deepEqual(
    [answer.status, answer.body.code],
    [STATUS[refusal], refusal],
    JSON.stringify(answer.body),
  );
}

function succeeded(answer: Answer, status: number): Json {
  assert.equal(answer.status, status, JSON.stringify(answer.body));
  return answer.body;
}

const call = (real: Real, at: number, method: string, path: string, body?: unknown): Promise<Answer> =>
  real.processes[at]!.call(method, real.path + path, { body });

const composed = (model: Model, name: string): string => encodeURIComponent(`${model.appId}:${name}`);

async function register(model: Model, real: Real, at: number, userId: string, adopt: boolean): Promise<void> {
  const answer = await call(real, at, 'POST', '/identities', { userId, adopt });
  if (!model.schemes.includes('registered')) return refused(answer, 'scheme_disabled');
  const holder = model.holder(userId);
  if (holder?.imId !== undefined) {
    assert.equal(succeeded(answer, 200).imId, holder.imId);
    return;
  }
  if (holder && !adopt) return refused(answer, 'conflict');
  const user = holder ?? model.create(userId);
  model.mint(user, succeeded(answer, 201).imId);
  assert.equal(answer.body.userId, user.name);
}

async function registerRace(model: Model, real: Real, userId: string): Promise<void> {
  const answers = await Promise.all(
    [0, 1, 0, 1].map((at) => call(real, at, 'POST', '/identities', { userId })),
  );
  if (!model.schemes.includes('registered')) {
    for (const answer of answers) refused(answer, 'scheme_disabled');
    return;
  }
  const holder = model.holder(userId);
  const [first] = answers;
  for (const answer of answers) assert.equal(answer.body.imId, first!.body.imId);
  const isNew = holder?.imId === undefined;
  assert.equal(answers.filter(({ status }) => status === 201).length, isNew ? 1 : 0);
  if (isNew) model.mint(holder ?? model.create(userId), first!.body.imId);
  else assert.equal(first!.body.imId, holder.imId);
}

async function adoptAs(model: Model, real: Real, at: number, uid: string, userId: string): Promise<void> {
  if (uid === userId) return register(model, real, at, userId, true);
  const answer = await call(real, at, 'POST', '/identities', { userId, adopt: { uid } });
  if (!model.schemes.includes('registered')) return refused(answer, 'scheme_disabled');
  const holder = model.holder(userId);
  if (holder) {
    const isDone = holder.imId !== undefined && (model.former.get(uid) ?? []).includes(holder);
    if (!isDone) return refused(answer, 'conflict');
    assert.equal(succeeded(answer, 200).imId, holder.imId);
    return;
  }
  const adopted = model.holder(uid) ?? model.create(uid);
  if (adopted.imId !== undefined) return refused(answer, 'conflict');
  const { imId } = succeeded(answer, 201);
  model.rename(new Map([[adopted, userId]]));
  model.mint(adopted, imId);
}

async function renameAll(
  model: Model,
  real: Real,
  at: number,
  pairs: readonly (readonly [string, string])[],
): Promise<void> {
  const renames = pairs.map(([from, to]) => ({ imId: `${model.appId}:${from}`, uid: to }));
  const answer = await call(real, at, 'POST', '/identities/rename', { renames });
  const wanted = new Map<ModelUser, string>();
  const users = pairs.map(([from]) => model.claim({ uid: from }));
  for (const [i, user] of users.entries()) {
    if (typeof user === 'string') return refused(answer, user);
    if (wanted.has(user) || [...wanted.values()].includes(pairs[i]![1]))
      return refused(answer, 'invalid_request');
    wanted.set(user, pairs[i]![1]);
  }
  if (!model.canRename(wanted)) return refused(answer, 'conflict');
  const changes = [...wanted].filter(([user, name]) => user.name !== name);
  assert.equal(succeeded(answer, 200).renamed, changes.length);
  model.rename(wanted);
}

async function rename(model: Model, real: Real, at: number, from: string, to: string): Promise<void> {
  const found = model.find({ uid: from });
  const isRegistered =
    typeof found === 'object' &&
    'imId' in found &&
    found.imId !== undefined &&
    model.schemes.includes('registered');
  const body = isRegistered ? { userId: to } : { uid: to };
  const answer = await call(real, at, 'PATCH', `/identities/${composed(model, from)}`, body);
  const user = model.claim({ uid: from });
  if (typeof user === 'string') return refused(answer, user);
  if (!model.canRename(new Map([[user, to]]))) return refused(answer, 'conflict');
  model.rename(new Map([[user, to]]));
  const { createdAt: _createdAt, scheme: _scheme, ...forms } = succeeded(answer, 200);
  assert.deepEqual(forms, model.describe(user));
}

async function merge(model: Model, real: Real, at: number, from: ModelAddress, into: string): Promise<void> {
  const answer = await call(real, at, 'POST', `/identities/${composed(model, into)}/merge`, { from });
  const stays = model.claim({ uid: into });
  if (typeof stays === 'string') return refused(answer, stays);
  const goes = model.claim(from);
  if (typeof goes === 'string') return refused(answer, goes);
  if (goes === stays) {
    // The same again, if it was one of its other names; an imId may be one that it got by a merger.
    if ('imId' in from) assert.ok([200, 400].includes(answer.status));
    else if (('uid' in from ? from.uid : from.userId) !== stays.name) succeeded(answer, 200);
    else refused(answer, 'invalid_request');
    return;
  }
  if (!isOwn(model, goes, from)) return refused(answer, 'conflict');
  const before = stays.inbox.length;
  model.merge(goes, stays);
  assert.equal(succeeded(answer, 200).messages, stays.inbox.length - before);
}

/** Whether a user is meant by its own name or imId, not by one that it got by a merger. */
function isOwn(model: Model, user: ModelUser, address: ModelAddress): boolean {
  if ('imId' in address) return [user.imId, `${model.appId}:${user.name}`].includes(address.imId);
  return ('uid' in address ? address.uid : address.userId) === user.name;
}

async function erase(model: Model, real: Real, at: number, name: string, blanks: boolean): Promise<void> {
  const answer = await call(
    real,
    at,
    'DELETE',
    `/identities/${composed(model, name)}${blanks ? '?content=erase' : ''}`,
  );
  const user = model.claim({ uid: name });
  if (typeof user === 'string') return refused(answer, user);
  if (user.name !== name) return refused(answer, 'conflict');
  succeeded(answer, 204);
  model.erase(user, blanks);
}

async function send(
  model: Model,
  real: Real,
  at: number,
  from: ModelAddress,
  to: ModelAddress,
  content: number,
): Promise<void> {
  const answer = await call(real, at, 'POST', '/messages', { from, to, content });
  const sender = model.claim(from);
  if (typeof sender === 'string') return refused(answer, sender);
  const recipient = model.claim(to);
  if (recipient === 'not_found') return refused(answer, 'unknown_recipient');
  if (typeof recipient === 'string') return refused(answer, recipient);
  model.send(sender, recipient, content);
  assert.equal(succeeded(answer, 201).seq, recipient.inbox.length);
}

async function enable(model: Model, real: Real, at: number, schemes: Scheme[]): Promise<void> {
  succeeded(await call(real, at, 'PATCH', '', { schemes }), 200);
  model.schemes = schemes;
  for (const other of real.processes)
    await eventually(async () => {
      const { body } = await other.call('GET', `${real.path}/schemes`);
      return (['composed', 'registered'] as const).every(
        (scheme) => body[scheme].enabled === schemes.includes(scheme),
      );
    });
}

async function issue(model: Model, real: Real, at: number, address: ModelAddress): Promise<void> {
  const answer = await call(real, at, 'POST', '/tokens', address);
  const found = model.find(address);
  if (typeof found === 'string') return refused(answer, found);
  const { token, scheme } = succeeded(answer, 201);
  model.tokens.push({ token, scheme, holder: 'unused' in found ? found : { user: found } });
}

/** Connects with a token that may be old, and sends by it. */
async function connect(
  model: Model,
  real: Real,
  at: number,
  which: number,
  to: ModelAddress,
  content: number,
) {
  const token = model.tokens[which % model.tokens.length];
  if (!token) return;
  const refusal = !model.schemes.includes(token.scheme)
    ? 'scheme_disabled'
    : token.holder === 'gone'
      ? 'token_revoked'
      : undefined;
  if (refusal) {
    await assert.rejects(
      real.processes[at]!.connect(token.token),
      (error: Refused) => error.body.code === refusal,
    );
    return;
  }
  const client = await real.processes[at]!.connect(token.token, { after: 0 });
  if (typeof token.holder === 'object' && 'unused' in token.holder) model.create(token.holder.unused);
  const { user } = token.holder as { user: ModelUser };
  assert.deepEqual(client.welcome.me, model.me(user, token.scheme));
  assert.equal(client.welcome.seq, user.inbox.length);
  const shown = await client.messages(user.inbox.length);
  assert.deepEqual(
    shown.map((frame) => frame.content),
    user.inbox.map((message) => message.content),
  );
  const answer = await client.say(to, content);
  const recipient = model.claim(to);
  if (typeof recipient === 'string')
    assert.equal(answer.code, recipient === 'not_found' ? 'unknown_recipient' : recipient);
  else {
    model.send(user, recipient, content);
    assert.equal(answer.seq, user.inbox.length);
  }
  await client.close();
}

/** What each name and each imId that was ever given out leads to, and what stands in every inbox. */
async function look(model: Model, real: Real, at: number): Promise<void> {
  const names = NAMES.flatMap((name) => [
    { uid: name },
    { userId: name },
    { imId: `${model.appId}:${name}` },
  ]) as ModelAddress[];
  const imIds = [...model.imIds.keys()].map((imId) => ({ imId }));
  const addresses = [...names, ...imIds];
  for (const formerNames of [false, true]) {
    const expected = addresses.map((address) => expectResolved(model, address, formerNames));
    let results: Json[] = [];
    await eventually(async () => {
      const answer = await call(real, at, 'POST', '/resolve', { addresses, formerNames });
      results = succeeded(answer, 200).results.map(({ scheme: _scheme, error, ...forms }: Json) =>
        error ? error.code : forms,
      );
      return isSame(results, expected);
    }, 'the same in both').catch(() => assert.deepEqual(results, expected));
  }
  for (const user of new Set(model.names.values())) {
    const { imId } = model.describe(user) as { imId: string };
    if (!imId.startsWith('im_') && !model.schemes.includes('composed')) continue;
    const { body } = await call(real, at, 'GET', `/messages?limit=1000&imId=${encodeURIComponent(imId)}`);
    assert.deepEqual(
      body.items.map(({ seq, from, to, content }: Json) => ({ seq, from, to, content })),
      user.inbox.map(({ from, to, content }, i) => ({
        seq: i + 1,
        from: model.describe(from),
        to: model.describe(to),
        content,
      })),
    );
  }
}

function expectResolved(model: Model, address: ModelAddress, formerNames: boolean): object | Refusal {
  const found = model.find(address);
  const name =
    'uid' in address
      ? address.uid
      : 'userId' in address
        ? address.userId
        : address.imId.slice(model.appId.length + 1);
  const isHeld = typeof found === 'object' && !('unused' in found);
  if (isHeld) return model.describe(found);
  const former = formerNames && found !== 'scheme_disabled' ? model.lastFormer(name) : undefined;
  const isShown = former && (!('userId' in address) || former.imId !== undefined);
  const isFree = !model.names.has(name);
  if (isShown && isFree) return { ...model.describe(former), formerName: true };
  if (typeof found === 'string') return found;
  return { imId: `${model.appId}:${found.unused}`, uid: found.unused };
}

function isSame(a: unknown, b: unknown): boolean {
  try {
    assert.deepEqual(a, b);
    return true;
  } catch {
    return false;
  }
}

export const NAMES = ['a', 'b', 'c', 'd', '1:a'];

const name = fc.constantFrom(...NAMES);
const at = fc.constantFrom(0, 1);
const which = fc.nat(30);
const content = fc.nat(1_000_000);
const flag = fc.boolean();

/** An address by a name; the last kind takes one of the imIds given out until then. */
const address = fc.oneof(
  { weight: 3, arbitrary: name.map((uid) => () => ({ uid })) },
  { weight: 2, arbitrary: name.map((userId) => () => ({ userId })) },
  { weight: 1, arbitrary: name.map((uid) => (model: Model) => ({ imId: `${model.appId}:${uid}` })) },
  {
    weight: 2,
    arbitrary: which.map((i) => (model: Model) => {
      const imIds = [...model.imIds.keys()];
      return { imId: imIds[i % imIds.length] ?? `${model.appId}:a` };
    }),
  },
) as fc.Arbitrary<(model: Model) => ModelAddress>;

type Act = (model: Model, real: Real) => Promise<void>;
const act = (title: string, arbitrary: fc.Arbitrary<{ act: Act; with: unknown }>): fc.Arbitrary<Command> =>
  arbitrary.map((chosen) => command(`${title} ${JSON.stringify(chosen.with)}`, chosen.act));

export const commands = fc.commands(
  [
    act(
      'register',
      fc
        .tuple(at, name, flag)
        .map(([p, n, adopt]) => ({ with: [p, n, adopt], act: (m, r) => register(m, r, p, n, adopt) })),
    ),
    act(
      'register in a race',
      name.map((n) => ({ with: n, act: (m, r) => registerRace(m, r, n) })),
    ),
    act(
      'adopt as',
      fc
        .tuple(at, name, name)
        .map(([p, w, u]) => ({ with: [p, w, u], act: (m, r) => adoptAs(m, r, p, w, u) })),
    ),
    act(
      'rename',
      fc
        .tuple(at, name, name)
        .map(([p, a, b]) => ({ with: [p, a, b], act: (m, r) => rename(m, r, p, a, b) })),
    ),
    act(
      'swap',
      fc.tuple(at, name, name).map(([p, a, b]) => ({
        with: [p, a, b],
        act: (m, r) =>
          renameAll(m, r, p, [
            [a, b],
            [b, a],
          ]),
      })),
    ),
    act(
      'rename all',
      fc
        .tuple(at, fc.array(fc.tuple(name, name), { minLength: 1, maxLength: 4 }))
        .map(([p, all]) => ({ with: [p, all], act: (m, r) => renameAll(m, r, p, all) })),
    ),
    act(
      'merge',
      fc
        .tuple(at, address, name)
        .map(([p, a, b]) => ({ with: [p, b], act: (m, r) => merge(m, r, p, a(m), b) })),
    ),
    act(
      'erase',
      fc
        .tuple(at, name, flag)
        .map(([p, n, blanks]) => ({ with: [p, n, blanks], act: (m, r) => erase(m, r, p, n, blanks) })),
    ),
    act(
      'send',
      fc
        .tuple(at, address, address, content)
        .map(([p, a, b, c]) => ({ with: [p, c], act: (m, r) => send(m, r, p, a(m), b(m), c) })),
    ),
    act(
      'enable',
      fc
        .tuple(at, fc.constantFrom<Scheme[]>(['composed'], ['registered'], ['composed', 'registered']))
        .map(([p, s]) => ({ with: s, act: (m, r) => enable(m, r, p, s) })),
    ),
    act(
      'issue a token',
      fc.tuple(at, address).map(([p, a]) => ({ with: p, act: (m, r) => issue(m, r, p, a(m)) })),
    ),
    act(
      'connect',
      fc
        .tuple(at, which, address, content)
        .map(([p, i, a, c]) => ({ with: [p, i, c], act: (m, r) => connect(m, r, p, i, a(m), c) })),
    ),
    act(
      'look',
      at.map((p) => ({ with: p, act: (m, r) => look(m, r, p) })),
    ),
  ] as fc.Arbitrary<Command>[],
  { maxCommands: 40, size: 'max' },
);

/** Plays commands on an app of its own, and looks at everything in the end. */
export async function play(processes: readonly Service[], all: Iterable<Command>): Promise<void> {
  const tenant = await processes[0]!.createApp();
  const model = new Model(tenant.appId);
  const real: Real = { processes, path: tenant.path };
  await fc.asyncModelRun(() => ({ model, real }), all);
  for (const p of [0, 1]) await look(model, real, p);
}
