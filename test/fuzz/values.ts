// Values that a JSON Schema allows.

import fc, { type Arbitrary } from 'fast-check';
import type { Json } from '../harness.ts';

/** Values that exist, by the name of the field. */
export type Known = Record<string, readonly string[]>;

const LONGEST = 24;
const CHARACTERS = ['a', 'b', 'c', 'x', '0', '1', '9', '-', '_', '.', ':', 'ü', '漢', '😀'];

const instant = fc
  .date({ min: new Date('1970-01-01'), max: new Date('2100-01-01'), noInvalidDate: true })
  .map((date) => date.toISOString());

export function valueOf(
  unresolved: Json,
  resolve: (schema: Json) => Json,
  known: Known,
  name = '',
): Arbitrary<unknown> {
  const schema = resolve(unresolved);
  const of = (part: Json, field = name): Arbitrary<unknown> => valueOf(part, resolve, known, field);
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum) return fc.constantFrom(...schema.enum);
  if (schema.anyOf) return fc.oneof(...schema.anyOf.map((each: Json) => of(each)));
  if (Array.isArray(schema.type))
    return fc.oneof(...schema.type.map((type: string) => of({ ...schema, type })));
  if (schema.type === 'object' && !schema.properties && schema.examples)
    return fc.constantFrom(...schema.examples);
  if (schema.type === 'object' || schema.properties) return objectOf(schema, of);
  switch (schema.type) {
    case 'array':
      return fc.array(of(schema.items ?? {}), {
        minLength: schema.minItems ?? 0,
        maxLength: Math.max(schema.minItems ?? 0, Math.min(schema.maxItems ?? 3, 3)),
      });
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    case 'integer':
      return fc.maxSafeInteger().map((n) => within(schema, Math.abs(n)));
    case 'number':
      return fc.double({ noNaN: true, noDefaultInfinity: true });
    case 'string':
      return textOf(schema, known[name]);
    default:
      return schema.oneOf ? fc.oneof(...schema.oneOf.map((each: Json) => of(each))) : fc.jsonValue();
  }
}

function within({ minimum = 0, maximum = 1000 }: Json, n: number): number {
  return n % 4 === 0 ? maximum : minimum + (n % (Math.min(maximum, minimum + 1000) - minimum + 1));
}

function textOf(schema: Json, known: readonly string[] | undefined): Arbitrary<string> {
  if (schema.format === 'date-time') return instant;
  if (schema.format === 'uuid') return fc.uuid();
  const minLength = schema.minLength ?? 0;
  const made = fc.string({
    unit: fc.constantFrom(...CHARACTERS),
    minLength,
    maxLength: Math.max(minLength, Math.min(schema.maxLength ?? LONGEST, LONGEST)),
  });
  const examples: string[] = [
    ...(known ?? []),
    ...(schema.examples ?? []),
    ...(schema.default ? [schema.default] : []),
  ];
  return examples.length > 0
    ? fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...examples) }, { weight: 1, arbitrary: made })
    : made;
}

function objectOf(schema: Json, of: (part: Json, field: string) => Arbitrary<unknown>): Arbitrary<unknown> {
  const names = Object.keys(schema.properties ?? {});
  const choices: string[][] =
    schema.oneOf?.map((choice: Json) => choice.required ?? []) ??
    (schema.maxProperties === 1 ? names.map((each) => [each]) : [[]]);
  const chosen = new Set(choices.flat());
  const parts = Object.fromEntries(
    names.filter((each) => !chosen.has(each)).map((each) => [each, of(schema.properties[each], each)]),
  );
  const requiredKeys: string[] = (schema.required ?? []).filter((each: string) => each in parts);
  return fc
    .constantFrom(...choices)
    .chain((choice) =>
      fc.record(
        { ...parts, ...Object.fromEntries(choice.map((each) => [each, of(schema.properties[each], each)])) },
        { requiredKeys: [...requiredKeys, ...choice] },
      ),
    );
}
