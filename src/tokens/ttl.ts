// How long a token lives, and how long a process goes without news of tokens and keys.

export const TTL_DEFAULT_SECONDS = 3_600;
export const TTL_MAX_SECONDS = 30 * 24 * 3_600;
export const DEFAULT_MAX_BLIND_MS = 30_000;
