// How long a token lives.

export const TTL_DEFAULT_SECONDS = 3_600;
export const TTL_MAX_SECONDS = 30 * 24 * 3_600;
