// How long to wait before trying again: exponential back-off with full jitter, so that those who were cut off together don't
// come back together.

export type Backoff = ReturnType<typeof createBackoff>;

export function createBackoff({ baseMs = 1_000, maxMs = 30_000 }: { baseMs?: number; maxMs?: number } = {}) {
  let tries = 0;
  return {
    nextMs: (): number => Math.random() * Math.min(maxMs, baseMs * 2 ** Math.min(tries++, 30)),
    reset(): void {
      tries = 0;
    },
  };
}
