// Changes a value in ways that its schema does not allow, as a rule, and spoils its bytes.

import fc, { type Arbitrary } from 'fast-check';
import { BAD_BYTES, ODD_JSON, ODD_NAMES, ODD_TEXTS } from './oddities.ts';

/** What JSON.stringify wouldn't write. */
class Raw {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export const odd: Arbitrary<unknown> = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom<unknown>(null, true, false, [], {}, [[]], [null], '', 0, 1, [{}]) },
  { weight: 3, arbitrary: fc.constantFrom(...ODD_JSON).map((text) => new Raw(text)) },
  { weight: 3, arbitrary: fc.constantFrom(...ODD_TEXTS) },
  { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
);

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

function spoil([text, at, bad]: [string, number, number[]]): Buffer {
  const bytes = Buffer.from(text);
  const place = at % (bytes.length + 1);
  return Buffer.concat([bytes.subarray(0, place), Buffer.from(bad), bytes.subarray(place)]);
}
