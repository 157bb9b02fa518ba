// Many jtis in little memory: 16 bytes each in one open-addressing table, at most two thirds full. Hashed under a seed of
// this process, since backends may revoke whatever they make up.

import { randomBytes } from 'node:crypto';

const SEED = randomBytes(4).readInt32LE();
const WORDS = 4;
const MIN_SLOTS = 16;
const MAX_FILL = 2 / 3;

export class JtiSet {
  /** Slots of four words; the first word of a free one is 0, which is a time before 1970's spring, and nobody's. */
  #words = new Uint32Array(MIN_SLOTS * WORDS);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get bytes(): number {
    return this.#words.byteLength;
  }

  add(jti: string): void {
    if ((this.#size + 1) * WORDS > this.#words.length * MAX_FILL) this.#grow();
    this.#insert(wordOf(jti, 0), wordOf(jti, 1), wordOf(jti, 2), wordOf(jti, 3));
  }

  has(jti: string): boolean {
    return this.#words[this.#find(wordOf(jti, 0), wordOf(jti, 1), wordOf(jti, 2), wordOf(jti, 3))] !== 0;
  }

  /** Drops those that were made before a time, but for some of the last minute of it. */
  dropBefore(instant: Date): void {
    const limit = Math.floor(instant.getTime() / 0x1_0000);
    const old = this.#words;
    let kept = 0;
    for (let at = 0; at < old.length; at += WORDS) if (old[at]! >= limit && old[at] !== 0) kept += 1;
    if (kept === this.#size) return;
    let slots = MIN_SLOTS;
    while (kept > slots * MAX_FILL) slots *= 2;
    this.#rebuild(slots, limit);
  }

  #grow(): void {
    this.#rebuild((this.#words.length / WORDS) * 2, 1);
  }

  #rebuild(slots: number, limit: number): void {
    const old = this.#words;
    this.#words = new Uint32Array(slots * WORDS);
    this.#size = 0;
    for (let at = 0; at < old.length; at += WORDS)
      if (old[at]! >= limit) this.#insert(old[at]!, old[at + 1]!, old[at + 2]!, old[at + 3]!);
  }

  #insert(a: number, b: number, c: number, d: number): void {
    const at = this.#find(a, b, c, d);
    if (this.#words[at] !== 0) return;
    this.#words[at] = a;
    this.#words[at + 1] = b;
    this.#words[at + 2] = c;
    this.#words[at + 3] = d;
    this.#size += 1;
  }

  /** Where these words stand, or else the free slot where they would. */
  #find(a: number, b: number, c: number, d: number): number {
    const words = this.#words;
    const last = words.length - 1;
    // The last two words of a UUIDv7 are random.
    let hash = Math.imul(d ^ SEED, 0x9e37_79b1) ^ c;
    hash = Math.imul(hash ^ (hash >>> 15), 0x85eb_ca6b);
    let at = ((hash ^ (hash >>> 13)) * WORDS) & last;
    while (words[at] !== 0) {
      if (words[at + 3] === d && words[at + 2] === c && words[at + 1] === b && words[at] === a) return at;
      at = (at + WORDS) & last;
    }
    return at;
  }
}

/** Where the eight hex digits of each word stand in a UUID, with its dashes. */
const DIGITS = [
  [0, 1, 2, 3, 4, 5, 6, 7],
  [9, 10, 11, 12, 14, 15, 16, 17],
  [19, 20, 21, 22, 24, 25, 26, 27],
  [28, 29, 30, 31, 32, 33, 34, 35],
] as const;

function wordOf(uuid: string, word: 0 | 1 | 2 | 3): number {
  let bits = 0;
  for (const place of DIGITS[word]) {
    const code = uuid.charCodeAt(place);
    bits = (bits << 4) | (code > 57 ? code - 87 : code - 48);
  }
  return bits >>> 0;
}
