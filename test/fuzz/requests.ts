// Requests of an operation: some as they should be, the others with something wrong in one or several of their parts.

import fc, { type Arbitrary } from 'fast-check';
import type { FuzzDocument, FuzzOperation } from './document.ts';
import { bodyOf, mostly } from './bodies.ts';
import {
  BAD_ESCAPES,
  ODD_AUTHORIZATIONS,
  ODD_HEADERS,
  ODD_QUERIES,
  ODD_TEXTS,
  OTHER_METHODS,
} from './oddities.ts';
import { valueOf } from './values.ts';
import type { Sent } from './wire.ts';
import type { Credential, World } from './world.ts';

export interface FuzzRequest extends Sent {
  /** The path or the method may be another operation's, or nobody's. */
  isElsewhere: boolean;
  isValid: boolean;
}

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
        garbage: fc.constantFrom(...ODD_AUTHORIZATIONS),
        path: pathOf(operation, world, weight),
        query: queryOf(operation, document, world, weight),
        body: bodyOf(operation, document, world, weight),
        headers: mostly(fc.constant({}), oddHeaders, weight),
      })
      .map(({ method, credential, garbage, path, query, body, headers }) => {
        // Nobody but the admin may do anything there, and does not.
        const where = credential === 'admin' ? path.text.replace(`/${world.keptId}/`, '/0/') : path.text;
        return {
          method,
          path: (credential === 'admin' && where.endsWith(`/${world.keptId}`) ? '/v1/apps/0' : where) + query,
          headers: { ...authorizationOf(world, credential, garbage), ...body.headers, ...headers },
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

function authorizationOf(
  { credentials }: World,
  credential: Credential,
  garbage: string,
): Record<string, string> {
  if (credential === 'none') return {};
  if (credential === 'garbage') return { authorization: garbage };
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
  const required = ofQuery.filter((each) => each.required);
  const optional = ofQuery.filter((each) => !each.required);
  // Few, since some don't go with others.
  const good = fc
    .subarray(optional, { maxLength: Math.min(2, optional.length) })
    .chain((some) =>
      fc.record(
        Object.fromEntries(
          [...required, ...some].map(({ name, schema }) => [
            name,
            valueOf(schema, document.resolve, known, name),
          ]),
        ),
      ),
    )
    .map((query) =>
      Object.entries(query).flatMap(([name, value]) =>
        [value].flat().map((each) => `${encode(name)}=${encode(String(each))}`),
      ),
    );
  const bad = fc.tuple(
    good,
    fc.oneof(
      fc.constantFrom(...ODD_QUERIES),
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

const oddHeaders: Arbitrary<Record<string, string>> = fc
  .uniqueArray(fc.constantFrom(...Object.keys(ODD_HEADERS)), { minLength: 1, maxLength: 3 })
  .chain((names) =>
    fc.record(Object.fromEntries(names.map((name) => [name, fc.constantFrom(...ODD_HEADERS[name]!)]))),
  );
