// What makes a test go another way each time, and the same way again by its seed.

/** Printed by whoever uses it. */
export const seed = Number(process.env['IMID_SOAK_SEED'] ?? Date.now() % 2 ** 31);
export const fuzzSeed = Number(process.env['IMID_FUZZ_SEED'] ?? Date.now() % 2 ** 31);
export const rounds = Number(process.env['IMID_SOAK_ROUNDS'] ?? 10);

/** Numbers from 0 to 1 (mulberry32). */
export function createRandom(from: number): () => number {
  let state = from;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
