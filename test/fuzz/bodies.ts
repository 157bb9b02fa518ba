// Bodies of an operation's requests, with their content types: declared ones, changed ones, and what has nothing to do with it.

import { gzipSync } from 'node:zlib';
import fc, { type Arbitrary } from 'fast-check';
import type { Json } from '../harness.ts';
import { bytesOf, changed, toText } from './changes.ts';
import type { FuzzDocument, FuzzOperation } from './document.ts';
import { ODD_BODIES, ODD_CONTENT_TYPES } from './oddities.ts';
import { valueOf } from './values.ts';
import type { World } from './world.ts';

/** Of `weight` + 1 values one is bad. */
export const mostly = <T>(good: Arbitrary<T>, bad: Arbitrary<T>, weight: number): Arbitrary<T> =>
  fc.oneof({ weight, arbitrary: good }, { weight: 1, arbitrary: bad });

interface Body {
  headers: Record<string, string>;
  bytes: Buffer | undefined;
}

export function bodyOf(
  operation: FuzzOperation,
  document: FuzzDocument,
  { known }: World,
  weight: number,
): Arbitrary<Body> {
  const none: Arbitrary<Body> = fc.constant({ headers: {}, bytes: undefined });
  const anyType = fc.constantFrom('application/json', ...Object.keys(operation.bodies), ...ODD_CONTENT_TYPES);
  const withType = (type: string): Record<string, string> => (type === '' ? {} : { 'content-type': type });
  const strange = fc
    .tuple(anyType, fc.constantFrom(...ODD_BODIES))
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
