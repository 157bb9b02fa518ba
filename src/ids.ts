// Every id of the service: what it looks like, how it is made and taken apart. Pure, no I/O.
// Invariant: composing is injective, and no registered imId reads as a composed one, so an imId says of itself
// which scheme it is of (an appId is digits only, so the first ':' separates; a registered imId has no ':').

import { hash, randomFillSync } from 'node:crypto';

declare const brand: unique symbol;
type Branded<T, B extends string> = T & { readonly [brand]: B };

/** A tenant: a positive integer, written as a decimal string on the wire. */
export type AppId = Branded<number, 'AppId'>;
/** The customer's own id of a user: a uid or a userId, one value space. */
export type Name = Branded<string, 'Name'>;
/** `<appId>:<uid>`. */
export type ComposedId = Branded<string, 'ComposedId'>;
/** `im_` and 26 characters. */
export type RegisteredId = Branded<string, 'RegisteredId'>;
export type ImId = ComposedId | RegisteredId;
export type Scheme = 'composed' | 'registered';

/** An imId taken apart. */
export type ParsedImId =
  | { scheme: 'composed'; imId: ComposedId; appId: AppId; uid: Name }
  | { scheme: 'registered'; imId: RegisteredId };

export const NAME_MAX_BYTES = 128;

const FORBIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;
const EDGE_SPACE = /^[\p{White_Space}\uFEFF]|[\p{White_Space}\uFEFF]$/u;

/** Why `text` can't be a uid or userId, in words that end a sentence about it; undefined when it can. */
export function faultOfName(text: string): string | undefined {
  if (text === '') return 'must not be empty';
  if (Buffer.byteLength(text) > NAME_MAX_BYTES) return `must be at most ${NAME_MAX_BYTES} bytes of UTF-8`;
  if (FORBIDDEN.test(text))
    return 'must not hold control, format, surrogate or line separator characters (Cc, Cf, Cs, Zl, Zp)';
  if (EDGE_SPACE.test(text)) return 'must not begin or end with white space';
  return undefined;
}

export function isName(text: string): text is Name {
  return faultOfName(text) === undefined;
}

/** Undefined for anything but the canonical decimal of a positive integer below 2^53. */
export function parseAppId(text: string): AppId | undefined {
  if (!/^[1-9]\d{0,15}$/.test(text)) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) ? (value as AppId) : undefined;
}

export function composeImId(appId: AppId, uid: Name): ComposedId {
  return `${appId}:${uid}` as ComposedId;
}

/** Takes an imId of either scheme apart; undefined when it is neither. */
export function parseImId(text: string): ParsedImId | undefined {
  if (isRegisteredId(text)) return { scheme: 'registered', imId: text };
  const colon = text.indexOf(':');
  if (colon < 0) return undefined;
  const appId = parseAppId(text.slice(0, colon));
  const uid = text.slice(colon + 1);
  if (appId === undefined || !isName(uid)) return undefined;
  return { scheme: 'composed', imId: text as ComposedId, appId, uid };
}

// A registered imId is a TypeID (https://github.com/jetify-com/typeid/tree/main/spec, version 0.3): the prefix, '_' and the
// 128 bits of a UUIDv7 in Crockford's base32, lower case, two zero bits in front (so the first digit is at most 7).
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
/** The digits as bytes, and of each byte its place among them. The first sixteen are those of hex. */
const DIGITS = Buffer.from(ALPHABET);
const VALUES = new Uint8Array(256);
for (const [value, digit] of DIGITS.entries()) VALUES[digit] = value;
const REGISTERED = /^im_[0-7][0-9a-hjkmnp-tv-z]{25}$/;

function isRegisteredId(text: string): text is RegisteredId {
  return REGISTERED.test(text);
}

// Written over and over: an import makes hundreds of thousands of them.
const imIdBytes = Buffer.from(`im_${'0'.repeat(26)}`);
const uuidBytes = Buffer.from('00000000-0000-0000-0000-000000000000');
const DASH = '-'.charCodeAt(0);

export function uuidToRegisteredId(uuid: string): RegisteredId {
  let bits = 0;
  let count = 2; // the zero bits in front
  let at = 3;
  for (let i = 0; i < uuidBytes.length; i++) {
    if (uuidBytes[i] === DASH) continue;
    bits = (bits << 4) | VALUES[uuid.charCodeAt(i)]!;
    count += 4;
    if (count < 5) continue;
    count -= 5;
    imIdBytes[at++] = DIGITS[bits >> count]!;
    bits &= (1 << count) - 1;
  }
  return imIdBytes.toString('latin1') as RegisteredId;
}

export function registeredIdToUuid(imId: RegisteredId): string {
  let bits = 0;
  let count = -2; // the zero bits in front, which are nothing of the UUID
  let at = 0;
  for (let i = 3; i < imIdBytes.length; i++) {
    bits = (bits << 5) | VALUES[imId.charCodeAt(i)]!;
    for (count += 5; count >= 4; bits &= (1 << count) - 1) {
      count -= 4;
      if (uuidBytes[at] === DASH) at += 1;
      uuidBytes[at++] = DIGITS[bits >> count]!;
    }
  }
  return uuidBytes.toString('latin1');
}

let lastMs = 0;
let sequence = 0;

/** A UUIDv7 that rises within this process: the 12 bits count within a millisecond (RFC 9562 section 6.2, method 1). */
export function makeUuid(now: Date): string {
  const ms = Math.max(now.getTime(), lastMs);
  sequence = ms === lastMs ? sequence + 1 : Math.floor(Math.random() * 0x400);
  lastMs = ms;
  if (sequence > 0xfff) {
    lastMs += 1;
    sequence = 0;
  }
  return composeUuid(lastMs, sequence);
}

/** How many UUIDs of one millisecond can be put in order. */
export const UUIDS_IN_ORDER = 0x1000;

/** A UUIDv7 of exactly this time, to the millisecond; the rest is random, but for the place that it is given among others. */
export function makeUuidAt(
  instant: Date,
  place: number = Math.floor(Math.random() * UUIDS_IN_ORDER),
): string {
  return composeUuid(instant.getTime(), place);
}

/** A UUIDv7 of exactly this time, to the millisecond; the same again for the same text. */
export function deriveUuid(instant: Date, text: string): string {
  const digest = hash('sha256', text, 'buffer');
  digest[0] = (digest[0]! & 0x3f) | 0x80;
  const bits = 0x7000 | (digest.readUInt16BE(8) & 0xfff);
  return hexToUuid(toHex(instant.getTime()) + bits.toString(16) + digest.toString('hex', 0, 8));
}

/** The least of all UUIDs of this time. */
export function firstUuidAt(instant: Date): string {
  return hexToUuid(`${instant.getTime().toString(16).padStart(12, '0')}${'0'.repeat(20)}`);
}

const random = Buffer.allocUnsafe(4096);
let randomUsed = random.length;

/** RFC 9562 section 5.7: 48 bits of milliseconds, 12 bits given, 62 random ones. */
function composeUuid(ms: number, bits: number): string {
  if (randomUsed === random.length) {
    randomFillSync(random);
    randomUsed = 0;
  }
  random[randomUsed] = (random[randomUsed]! & 0x3f) | 0x80;
  const tail = random.toString('hex', randomUsed, (randomUsed += 8));
  return hexToUuid(toHex(ms) + (0x7000 | bits).toString(16) + tail);
}

function toHex(ms: number): string {
  return ms.toString(16).padStart(12, '0');
}

/** The time a UUIDv7 was made at, to the millisecond. */
export function timeOfUuid(uuid: string): Date {
  return new Date(Number.parseInt(uuid.slice(0, 8) + uuid.slice(9, 13), 16));
}

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

export function isUuidV7(text: string): boolean {
  return UUID_V7.test(text);
}

function hexToUuid(hex: string): string {
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
