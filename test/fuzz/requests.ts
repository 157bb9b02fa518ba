// Requests of an operation: some as they should be, the others with something wrong in one or several of their parts.

import { gzipSync } from 'node:zlib';
import fc, { type Arbitrary } from 'fast-check';
import type { Json } from '../harness.ts';
import type { FuzzDocument, FuzzOperation } from './document.ts';
import { bytesOf, changed, ODD_TEXTS, toText, valueOf } from './values.ts';
import type { Sent } from './wire.ts';
import type { Credential, World } from './world.ts';

export interface FuzzRequest extends Sent {
  /** The path or the method may be another operation's, or nobody's. */
  isElsewhere: boolean;
  isValid: boolean;
}

const OTHER_METHODS = [
  'HEAD',
  'OPTIONS',
  'PUT',
  'PATCH',
  'DELETE',
  'POST',
  'GET',
  'TRACE',
  'PROPFIND',
  'QUERY',
];
const BAD_ESCAPES = [
  '%',
  '%zz',
  '%ff',
  '%c0%80',
  '%ed%a0%80',
  '..',
  '%2e%2e',
  '%2f',
  '%00',
  '',
  '/',
  '\u00ff',
  '*',
  ';a=b',
];
const QUERIES = [
  'x=1',
  'limit=0',
  'limit=1&limit=2',
  'limit=1e3',
  'limit[]=1',
  'limit=',
  'limit',
  'after=9007199254740992',
  'after=-0',
  'cursor=x',
  'cursor=%00',
  'cursor=W10',
  'cursor=e30',
  'cursor=bnVsbA',
  '__proto__=1',
  'constructor=1',
  '&&==&',
  '%ff',
  '%00=%00',
  '%',
  'imId=x&imId=y',
  `x=${'y'.repeat(8000)}`,
  'dryRun=maybe',
  '?',
];
const CONTENT_TYPES = [
  '',
  'text/plain',
  'application/json; charset=utf-8',
  'application/json; charset=latin1',
  'application/json;',
  'APPLICATION/JSON',
  'application/jsonx',
  'application/merge-patch+json',
  'application/x-www-form-urlencoded',
  'multipart/form-data; boundary=x',
  'multipart/form-data',
  'application/x-ndjson',
  'text/csv',
  'text/csv; charset=utf-16',
  'nonsense',
  '/',
  '*/*',
];
const HEADERS: Record<string, string[]> = {
  accept: ['text/csv', 'application/x-ndjson', 'nonsense;;q=9', '*/*;q=0', ''],
  'accept-encoding': ['gzip', 'zzz', '*;q=0'],
  'content-encoding': ['gzip', 'br', 'identity', 'nonsense', 'gzip, gzip'],
  'transfer-encoding': ['chunked'],
  expect: ['100-continue'],
  origin: ['null', 'https://elsewhere.example', 'nonsense', '\u00ff'],
  'idempotency-key': ['', 'x', '"x"', ' ', 'x'.repeat(5000), '\u00ff'],
  'if-match': ['*', '"x"', 'W/"x"', 'x', '"'],
  'if-none-match': ['*', '"x"', ','],
  'if-modified-since': ['never'],
  range: ['bytes=0-1', 'bytes=5-1'],
  traceparent: ['00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', 'x', '\u00ff'],
  'x-request-id': ['x', '\u00ff', 'x'.repeat(5000)],
  'x-http-method-override': ['DELETE'],
  'x-forwarded-for': ['1.2.3.4', 'x'],
  cookie: ['a=b; a=b', '\u00ff'],
  upgrade: ['h2c', 'websocket'],
  'sec-websocket-protocol': ['imid.v1', 'bearer.x', ','],
  'access-control-request-method': ['POST', 'x'],
};
const BODIES = [
  Buffer.from(''),
  Buffer.from('null'),
  Buffer.from('{'),
  Buffer.from('"'),
  Buffer.from('[]'),
  Buffer.from('{}{}'),
  Buffer.from('a=b&c=d'),
  Buffer.from('--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n'),
  Buffer.from('['.repeat(100_000)),
  Buffer.from(`${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`),
  Buffer.from('{"userId":"a"}\n\n{"userId":1}\nnull\n"x"\n{"userId":"b","imId":"im_1"}\n\0\n'),
  Buffer.from('userId,userId\r\n"a'),
  Buffer.from('name,newName\n\0,\ud800\n'),
  Buffer.from('\ufeffuserId,adopt\na,b,c\n'),
  gzipSync('{"userId":"zipped"}\n'),
  gzipSync(Buffer.alloc(300_000, 0x78)),
  gzipSync('{}').subarray(0, 12),
  Buffer.alloc(2 * 1024 * 1024 + 1, 0x20),
  Buffer.from([0, 0xff, 0xfe]),
];

/** How often one in so many is as it should be. */
const mostly = <T>(good: Arbitrary<T>, bad: Arbitrary<T>, weight: number): Arbitrary<T> =>
  fc.oneof({ weight, arbitrary: good }, { weight: 1, arbitrary: bad });

export function requestsOf(
  operation: FuzzOperation,
  document: FuzzDocument,
  world: World,
): Arbitrary<FuzzRequest> {
  const make = (weight: number, isValid: boolean): Arbitrary<FuzzRequest> =>
    fc
      .record({
        method: mostly(fc.constant(operation.method), fc.constantFrom(...OTHER_METHODS), weight * 3),
        credential: mostly(rightCredential(operation), anyCredential, weight),
        path: pathOf(operation, world, weight),
        query: queryOf(operation, document, world, weight),
        body: bodyOf(operation, document, world, weight),
        headers: mostly(fc.constant({}), oddHeaders, weight),
      })
      .map(({ method, credential, path, query, body, headers }) => {
        // Nobody but the admin may do anything there, and does not.
        const where = credential === 'admin' ? path.text.replace(`/${world.keptId}/`, '/0/') : path.text;
        return {
          method,
          path: (credential === 'admin' && where.endsWith(`/${world.keptId}`) ? '/v1/apps/0' : where) + query,
          headers: { ...authorizationOf(world, credential), ...body.headers, ...headers },
          body: method === 'HEAD' || method === 'TRACE' ? undefined : body.bytes,
          isElsewhere: path.isElsewhere || method !== operation.method,
          isValid,
        };
      });
  // Without anything wrong, with one thing on average, with many.
  return fc.oneof(
    { weight: 2, arbitrary: make(1_000, true) },
    { weight: 5, arbitrary: make(5, false) },
    { weight: 1, arbitrary: make(1, false) },
  );
}

function rightCredential({ path }: FuzzOperation): Arbitrary<Credential> {
  if (path.startsWith('/v1/apps/{appId}')) return fc.constantFrom<Credential[]>('key', 'key', 'admin');
  if (/^\/v1\/(me|connect)/.test(path))
    return fc.constantFrom<Credential[]>('composedToken', 'registeredToken');
  return fc.constant('admin');
}

const anyCredential = fc.constantFrom<Credential[]>(
  'none',
  'admin',
  'key',
  'otherKey',
  'composedToken',
  'registeredToken',
  'expiredToken',
  'erasedToken',
  'garbage',
);

const GARBAGE = [
  'Bearer',
  'Bearer ',
  'Basic eDp5',
  'Bearer a b',
  'Bearer \u00ff',
  'Bearer imk_x',
  'Bearer a.b.c',
  'x',
];

function authorizationOf({ credentials }: World, credential: Credential): Record<string, string> {
  if (credential === 'none') return {};
  if (credential === 'garbage')
    return { authorization: GARBAGE[Math.floor(credentials.key.length) % GARBAGE.length]! };
  return { authorization: `Bearer ${credentials[credential]}` };
}

function pathOf({ path, parameters }: FuzzOperation, { known, keptId }: World, weight: number) {
  const values = parameters
    .filter((each) => each.in === 'path')
    .map(({ name }) => {
      const good = known[name] ?? ['x'];
      const bad = [...ODD_TEXTS.filter((text) => text !== '' && text.length < 600), keptId];
      const encoded = (texts: readonly string[]) =>
        fc
          .constantFrom(...texts)
          .map((text) => ({ name, text: encode(text), isElsewhere: text.startsWith('..') }));
      const broken = fc.constantFrom(...BAD_ESCAPES).map((text) => ({ name, text, isElsewhere: true }));
      const long = fc.constant({ name, text: 'x'.repeat(5000), isElsewhere: true });
      return mostly(
        encoded(good),
        fc.oneof({ weight: 4, arbitrary: encoded(bad) }, broken, long),
        weight * 2,
      );
    });
  return fc.tuple(...values).map((chosen) => ({
    text: chosen.reduce((at, { name, text }) => at.replace(`{${name}}`, () => text), path),
    isElsewhere: chosen.some((each) => each.isElsewhere),
  }));
}

function encode(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

function queryOf({ parameters }: FuzzOperation, document: FuzzDocument, { known }: World, weight: number) {
  const ofQuery = parameters.filter((each) => each.in === 'query');
  const good = fc
    .record(
      Object.fromEntries(
        ofQuery.map(({ name, schema }) => [name, valueOf(schema, document.resolve, known, name)]),
      ),
      { requiredKeys: ofQuery.filter((each) => each.required).map((each) => each.name) },
    )
    .map((query) =>
      Object.entries(query).flatMap(([name, value]) =>
        [value].flat().map((each) => `${encode(name)}=${encode(String(each))}`),
      ),
    );
  const bad = fc.tuple(
    good,
    fc.oneof(
      fc.constantFrom(...QUERIES),
      fc
        .tuple(fc.constantFrom('x', ...ofQuery.map((each) => each.name)), fc.constantFrom(...ODD_TEXTS))
        .map(([name, text]) => `${name}=${encode(text.slice(0, 3000))}`),
    ),
  );
  return mostly(
    good,
    bad.map(([pairs, pair]) => [...pairs, pair]),
    weight,
  ).map((pairs) => (pairs.length > 0 ? `?${pairs.join('&')}` : ''));
}

interface Body {
  headers: Record<string, string>;
  bytes: Buffer | undefined;
}

function bodyOf(
  operation: FuzzOperation,
  document: FuzzDocument,
  { known }: World,
  weight: number,
): Arbitrary<Body> {
  const none: Arbitrary<Body> = fc.constant({ headers: {}, bytes: undefined });
  const anyType = fc.constantFrom('application/json', ...Object.keys(operation.bodies), ...CONTENT_TYPES);
  const withType = (type: string): Record<string, string> => (type === '' ? {} : { 'content-type': type });
  const strange = fc
    .tuple(anyType, fc.constantFrom(...BODIES))
    .map(([type, bytes]) => ({ headers: withType(type), bytes }));
  const types = Object.entries<Json>(operation.bodies);
  if (types.length === 0) return mostly(none, strange, weight);
  const made = types.map(([type, { schema, example }]) => {
    const isText = typeof example === 'string';
    const value = isText ? fc.constant(example) : valueOf(schema, document.resolve, known);
    const good = isText ? (value as Arbitrary<string>) : value.map(toText);
    const isForm = type === 'application/x-www-form-urlencoded';
    const written = isForm
      ? (value as Arbitrary<Json>).map((each) => new URLSearchParams(each).toString())
      : good;
    const bad = isText || isForm ? written : changed(value);
    const right = written.map((text) => ({ headers: withType(type), bytes: Buffer.from(text) }));
    const wrong = fc.oneof(
      { weight: 6, arbitrary: bytesOf(bad).map((bytes) => ({ headers: withType(type), bytes })) },
      {
        weight: 1,
        arbitrary: fc
          .tuple(anyType, written)
          .map(([other, text]) => ({ headers: withType(other), bytes: Buffer.from(text) })),
      },
      {
        weight: 1,
        arbitrary: written.map((text) => ({
          headers: { ...withType(type), 'content-encoding': 'gzip' },
          bytes: gzipSync(text),
        })),
      },
      { weight: 2, arbitrary: strange },
      { weight: 1, arbitrary: none },
    );
    return fc.oneof({ weight, arbitrary: right }, { weight: 3, arbitrary: wrong });
  });
  return fc.oneof(...made);
}

const oddHeaders: Arbitrary<Record<string, string>> = fc
  .uniqueArray(fc.constantFrom(...Object.keys(HEADERS)), { minLength: 1, maxLength: 3 })
  .chain((names) =>
    fc.record(Object.fromEntries(names.map((name) => [name, fc.constantFrom(...HEADERS[name]!)]))),
  );
