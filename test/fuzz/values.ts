// Values: what a schema allows, and what becomes of them when something is changed that it doesn't.

import fc, { type Arbitrary } from 'fast-check';
import type { Json } from '../harness.ts';

/** What JSON.stringify wouldn't write. */
class Raw {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** Values that exist, by the name of the field. */
export type Known = Record<string, readonly string[]>;

const LONGEST = 24;

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
    unit: fc.constantFrom(...'abcxyz0189-_.:ü漢😀'),
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

export const ODD_TEXTS = [
  '',
  ' ',
  '\0',
  'a\0b',
  '\ud800',
  'x\udfff',
  '\u202e',
  '\ufeff',
  '\n',
  '"',
  '\\',
  '../..',
  '%00',
  '%',
  '0',
  '-1',
  '1e400',
  'NaN',
  'null',
  'true',
  '[object Object]',
  '__proto__',
  'constructor',
  'toString',
  "' or 1=1 --",
  '$1',
  '{}',
  'im_',
  'im_00000000000000000000000000',
  'im_zzzzzzzzzzzzzzzzzzzzzzzzzz',
  '9223372036854775808:x',
  '9007199254740993:x',
  '0:x',
  '1:',
  '0000-01-01T00:00:00Z',
  '9999-12-31T23:59:60Z',
  '2026-02-30T00:00:00Z',
  'x'.repeat(129),
  '漢'.repeat(128),
  'e\u0301'.repeat(64),
  'x'.repeat(20_000),
];

const RAW = [
  '1e400',
  '-1e400',
  '-0',
  '-0.0',
  '1.5',
  '1.0',
  '1e0',
  '1e-400',
  '9007199254740992',
  '9007199254740993',
  '-9007199254740993',
  '9223372036854775808',
  '2147483648',
  '-1',
  '0',
  '99999999999999999999999999999999999999999999',
  '0.1e-6',
  '"\\ud800"',
  '"\\u0000"',
  '{"__proto__":{"x":1}}',
  '{"constructor":{"prototype":{"x":1}}}',
  '{"toString":1,"hasOwnProperty":null}',
  '{"$ref":"#/"}',
  `${'['.repeat(4000)}${']'.repeat(4000)}`,
  `${'{"a":'.repeat(3000)}1${'}'.repeat(3000)}`,
  `[${'0,'.repeat(3000)}0]`,
];

export const odd: Arbitrary<unknown> = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom<unknown>(null, true, false, [], {}, [[]], [null], '', 0, 1, [{}]) },
  { weight: 3, arbitrary: fc.constantFrom(...RAW).map((text) => new Raw(text)) },
  { weight: 3, arbitrary: fc.constantFrom(...ODD_TEXTS) },
  { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
);

const ODD_NAMES = [
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  '',
  'x',
  'a/b',
  '~',
  '\0',
  '\ud800',
  '0',
];

interface Change {
  kind: 'replace' | 'drop' | 'add' | 'twice' | 'wrap';
  /** Which of the places: as many as there are, again from the first. */
  at: number;
  name: string;
  value: unknown;
}

const change: Arbitrary<Change> = fc.record({
  kind: fc.constantFrom<Change['kind'][]>('replace', 'replace', 'replace', 'drop', 'add', 'twice', 'wrap'),
  at: fc.nat(1000),
  name: fc.constantFrom(...ODD_NAMES),
  value: odd,
});

/** JSON text of the value, with up to `most` changes made to it. */
export function changed(value: Arbitrary<unknown>, most = 2): Arbitrary<string> {
  return fc
    .tuple(value, fc.array(change, { minLength: 1, maxLength: most }))
    .map(([from, changes]) => toText(changes.reduce<unknown>(apply, from)));
}

/** Walks to a place, and changes what is there. */
function apply(value: unknown, { kind, at, name, value: other }: Change): unknown {
  const isObject = typeof value === 'object' && value !== null && !(value instanceof Raw);
  const names = isObject ? Object.keys(value) : [];
  const here = at % (names.length + 1);
  if (here < names.length) {
    const deeper = Math.floor(at / (names.length + 1));
    const member = names[here]!;
    const inner = (value as Record<string, unknown>)[member];
    if (deeper % 2 === 1 && typeof inner === 'object' && inner !== null)
      return put(value, member, apply(inner, { kind, at: Math.floor(deeper / 2), name, value: other }));
    if (kind === 'drop') return without(value, member);
    if (kind === 'twice' && !Array.isArray(value))
      return new Raw(`${toText(value).slice(0, -1)},${JSON.stringify(member)}:${toText(other)}}`);
    if (kind === 'wrap') return put(value, member, [inner]);
    if (kind === 'replace') return put(value, member, other);
  }
  if (kind === 'wrap') return [value];
  return isObject && kind !== 'replace' ? put(value, name, other) : other;
}

function put(object: unknown, name: string, value: unknown): unknown {
  if (Array.isArray(object))
    return name in object ? object.map((item, i) => (String(i) === name ? value : item)) : [...object, value];
  return { ...(object as object), [name]: value };
}

function without(object: unknown, name: string): unknown {
  if (Array.isArray(object)) return object.filter((_, i) => String(i) !== name);
  return Object.fromEntries(Object.entries(object as object).filter(([each]) => each !== name));
}

export function toText(value: unknown): string {
  if (value instanceof Raw) return value.text;
  if (Array.isArray(value)) return `[${value.map(toText).join(',')}]`;
  if (typeof value === 'object' && value !== null)
    return `{${Object.entries(value)
      .map(([name, each]) => `${JSON.stringify(name)}:${toText(each)}`)
      .join(',')}}`;
  return JSON.stringify(value) ?? 'null';
}

/** Bytes of a text, some with something wrong in them. */
export function bytesOf(text: Arbitrary<string>): Arbitrary<Buffer> {
  return fc.oneof(
    { weight: 8, arbitrary: text.map((each) => Buffer.from(each)) },
    { weight: 2, arbitrary: fc.tuple(text, fc.nat(10_000), fc.constantFrom(...BAD_BYTES)).map(spoil) },
    { weight: 1, arbitrary: text.map((each) => Buffer.from(each, 'utf16le')) },
    { weight: 1, arbitrary: text.map((each) => Buffer.from(each.slice(0, each.length / 2))) },
  );
}

const BAD_BYTES = [
  [0xff],
  [0xc0, 0x80],
  [0xed, 0xa0, 0x80],
  [0xf4, 0x90, 0x80, 0x80],
  [0],
  [0xef, 0xbb, 0xbf],
  [0xc3],
];

function spoil([text, at, bad]: [string, number, number[]]): Buffer {
  const bytes = Buffer.from(text);
  const place = at % (bytes.length + 1);
  return Buffer.concat([bytes.subarray(0, place), Buffer.from(bad), bytes.subarray(place)]);
}
