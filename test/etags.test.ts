// ETag, If-None-Match and If-Match: what has changed since is not changed again unseen, whoever races.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { startService, type Answer, type Service, type Tenant } from './harness.ts';

let service: Service;
let second: Service;
let app: Tenant;
before(async () => {
  service = await startService();
  second = await startService({ on: service });
  app = await service.createApp();
});

interface Asking {
  body?: unknown;
  headers?: Record<string, string>;
  on?: Service;
}

const ask = (method: string, path: string, { on = service, ...more }: Asking = {}): Promise<Answer> =>
  on.call(method, app.path + path, { key: app.apiKey, ...more });
const tagOf = (answer: Answer): string => {
  const tag = answer.headers.get('etag');
  assert.match(tag ?? '', /^"[\w-]{43}"$/);
  return tag!;
};
const outcomeOf = ({ status, body }: Answer) => [status, body.code];

/** Both things that have tags: where each is, and a change of it that is another each time. */
const things = async (name: string): Promise<[string, (text: string) => object][]> => [
  ['', (text) => ({ name: text })],
  [`/identities/${await app.register(name)}`, (text) => ({ userId: text })],
];

test('a tag stays while what is shown stays, is the same on every process, and changes with it', async () => {
  for (const [path, change] of await things('tagged')) {
    const first = tagOf(await ask('GET', path));
    assert.equal(tagOf(await ask('GET', path, { on: second })), first);
    const head = await fetch(service.url + app.path + path, {
      method: 'HEAD',
      headers: { authorization: `Bearer ${app.apiKey}` },
    });
    assert.equal(head.headers.get('etag'), first);
    const changed = tagOf(await ask('PATCH', path, { body: change('tagged-2') }));
    assert.notEqual(changed, first);
    assert.equal(tagOf(await ask('GET', path)), changed);
  }
});

test('who has what is shown already gets 304 and nothing else', async () => {
  for (const [path] of await things('known')) {
    const tag = tagOf(await ask('GET', path));
    for (const known of [tag, `W/${tag}`, `"other", ${tag}`, '*']) {
      const answer = await ask('GET', path, { headers: { 'if-none-match': known } });
      assert.deepEqual([answer.status, answer.text, tagOf(answer)], [304, '', tag], known);
    }
    const news = await ask('GET', path, { headers: { 'if-none-match': '"other"' } });
    assert.deepEqual([news.status, tagOf(news)], [200, tag]);
  }
});

test('a change is made only where what is there has one of the tags', async () => {
  for (const [path, change] of await things('matched')) {
    let tag = tagOf(await ask('GET', path));
    const patch = (ifMatch: string, text: string) =>
      ask('PATCH', path, { body: change(text), headers: { 'if-match': ifMatch } });
    for (const other of ['"other"', `W/${tag}`, `"other" ,"${'x'.repeat(43)}"`, '""'])
      assert.deepEqual(outcomeOf(await patch(other, 'never')), [412, 'precondition_failed'], other);
    for (const [i, match] of [
      () => tag,
      () => `"other",${tag}`,
      () => `"a" , ${tag} , W/"b"`,
      () => '*',
    ].entries()) {
      const answer = await patch(match(), `matched-${i}`);
      assert.equal(answer.status, 200, match());
      tag = tagOf(answer);
    }
    const same = await ask('PATCH', path, { body: change('x'), headers: { 'if-none-match': tag } });
    assert.deepEqual(outcomeOf(same), [412, 'precondition_failed']);
    assert.equal(tagOf(await ask('GET', path)), tag);
    assert.equal((await ask('PATCH', path, { body: change('matched-9') })).status, 200);
  }
  const nothing = await ask('PATCH', '', { body: {}, headers: { 'if-match': '"other"' } });
  assert.deepEqual(outcomeOf(nothing), [412, 'precondition_failed']);
  const tag = tagOf(await ask('GET', ''));
  assert.equal(tagOf(await ask('PATCH', '', { body: {}, headers: { 'if-match': tag } })), tag);
});

test('tags that are none are refused with the name of their header', async () => {
  for (const [path, change] of await things('malformed'))
    for (const bad of ['', 'abc', '"a', '"a" "b"', '*, "a"', 'w/"a"', '"a",', '"a b"'])
      for (const [method, name, body] of [
        ['PATCH', 'if-match', change('never')],
        ['GET', 'if-match', undefined],
        ['GET', 'if-none-match', undefined],
      ] as const) {
        const answer = await ask(method, path, { body, headers: { [name]: bad } });
        assert.deepEqual(outcomeOf(answer), [400, 'invalid_request'], bad);
        assert.deepEqual(
          answer.body.errors.map((fault: { in: string; pointer: string }) => [fault.in, fault.pointer]),
          [['header', `#/${name}`]],
        );
      }
});

test('of those who change the same thing at once with the same tag, exactly one does', async () => {
  for (let round = 0; round < 5; round++)
    for (const [path, change] of [
      ...(await things(`raced-${round}`)),
      await (async (): Promise<[string, (text: string) => object]> => {
        await app.call('POST', '/messages', { from: { uid: `c${round}` }, to: { uid: 'x' }, content: 1 });
        return [`/identities/${app.appId}:c${round}`, (text) => ({ uid: text })];
      })(),
    ]) {
      const tag = tagOf(await ask('GET', path));
      const answers = await Promise.all(
        [0, 1, 2, 3].map((n) =>
          ask('PATCH', path, {
            on: n % 2 ? service : second,
            body: change(`raced-${round}-${path.length}-${n}`),
            headers: { 'if-match': tag },
          }),
        ),
      );
      const counts = [200, 412].map((status) => answers.filter((answer) => answer.status === status).length);
      assert.deepEqual(counts, [1, 3], path);
    }
});

test('a user of whom nothing is stored yet has a tag as well, and another one once it has a row', async () => {
  const path = `/identities/${app.appId}:ghost`;
  const tag = tagOf(await ask('GET', path));
  await app.call('POST', '/messages', { from: { uid: 'ghost' }, to: { uid: 'x' }, content: 1 });
  const late = await ask('PATCH', path, { body: { uid: 'spirit' }, headers: { 'if-match': tag } });
  assert.equal(late.status, 412);
  const other = `/identities/${app.appId}:ghost-2`;
  const headers = { 'if-match': tagOf(await ask('GET', other)) };
  assert.equal((await ask('PATCH', other, { body: { uid: 'spirit' }, headers })).status, 200);
});
