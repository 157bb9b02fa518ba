// Arbitrary uids and userIds for property tests: legal ones with everything that has ever broken a URL, a log or a
// CSV file, and illegal ones of every kind.

import fc from 'fast-check';
import { isName, NAME_MAX_BYTES, type AppId, type Name } from '../src/ids.ts';

const NASTY = [
  ':',
  '/',
  '%',
  '%2F',
  '%00',
  '..',
  '.',
  '?',
  '#',
  '&',
  '=',
  '+',
  ';',
  ',',
  '"',
  "'",
  '`',
  '\\',
  '<',
  '>',
  '{',
  '}',
  '$',
  '\u00e9',
  'e\u0301',
  'ß',
  'İ',
  '漢',
  '字',
  'ع',
  '😀',
  '\u{1F1E9}\u{1F1EA}',
  'im_',
  '1:',
  '__proto__',
  'null',
  ' ',
  '\u0130',
  '--',
  '/*',
  '\ufffd',
];

const piece = fc.oneof(
  fc.constantFrom(...NASTY),
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.string({ maxLength: 8 }),
);

export const legalName: fc.Arbitrary<Name> = fc
  .array(piece, { minLength: 1, maxLength: 12 })
  .map((pieces) => pieces.join(''))
  .filter(isName);

const forbidden = fc.constantFrom(
  '\u0000',
  '\n',
  '\r',
  '\t',
  '\u001f',
  '\u007f',
  '\u0085',
  '\u00ad',
  '\u200b',
  '\u200d',
  '\u202e',
  '\ufeff',
  '\u2028',
  '\u2029',
  '\ud800',
  '\udfff',
);

/** Illegal, but still well-formed Unicode unless it says otherwise. */
export const illegalName = fc.oneof(
  fc.constant(''),
  fc.tuple(legalName, forbidden, legalName).map((parts) => parts.join('')),
  legalName.map((name) => ` ${name}`),
  legalName.map((name) => `${name}\u3000`),
  legalName.map((name) => name + 'ü'.repeat(NAME_MAX_BYTES / 2)),
);

export const anyAppId = fc.oneof(
  fc.integer({ min: 1, max: 200 }),
  fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
) as unknown as fc.Arbitrary<AppId>;
