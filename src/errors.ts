// The one table of error codes and the one of close codes: whatever a caller is told stands here.

/** Every code a problem document or an error frame may carry (stable), with its HTTP status and title. */
export const errorCodes = {
  invalid_request: { status: 400, title: 'The request is not well-formed' },
  unauthorized: { status: 401, title: 'A valid credential is needed' },
  token_expired: { status: 401, title: 'The token has expired' },
  token_revoked: { status: 401, title: 'The token acts for nobody any more' },
  forbidden: { status: 403, title: 'This credential may not do that' },
  not_found: { status: 404, title: 'There is no such thing' },
  request_timeout: { status: 408, title: 'The request took too long to arrive' },
  conflict: { status: 409, title: 'It clashes with what is there' },
  scheme_disabled: { status: 409, title: 'The app does not use this scheme' },
  precondition_failed: { status: 412, title: 'It is not what the request demands' },
  payload_too_large: { status: 413, title: 'It is too large' },
  unknown_recipient: { status: 422, title: 'Nobody has this address' },
  idempotency_mismatch: { status: 422, title: 'The key stands for another request' },
  rate_limited: { status: 429, title: 'Too many at once' },
  unavailable: { status: 503, title: 'The service cannot do this right now' },
} as const;

export type ErrorCode = keyof typeof errorCodes;

/**
 * Close codes of the socket. The range says whether to come back: below 4500 reconnect with back-off and full
 * jitter, from 4500 on don't until the app says so.
 */
export const closeCodes = {
  draining: { code: 1001, reason: 'the service is restarting' },
  tokenExpired: { code: 4001, reason: 'token expired' },
  tooSlow: { code: 4008, reason: 'reads too slowly' },
  tooFast: { code: 4010, reason: 'sends too fast' },
  unavailable: { code: 4011, reason: 'unavailable, try again' },
  tokenRevoked: { code: 4502, reason: 'token revoked' },
  replaced: { code: 4503, reason: 'replaced by a newer connection of this device' },
  protocolError: { code: 4509, reason: 'protocol error' },
} as const;

export type CloseReason = keyof typeof closeCodes;

/** One bad field: where it is (a JSON pointer in its URI form, RFC 6901 section 6, into the part of the request that `in` names) and why. */
export interface FieldFault {
  in: 'body' | 'query' | 'path' | 'header' | 'frame';
  pointer: string;
  detail: string;
}

/** Thrown by any stage for what the caller is to be told; printed by the error handler and by the socket. */
export class ImidError extends Error {
  readonly code: ErrorCode;
  readonly errors: FieldFault[] | undefined;
  readonly retryAfterSeconds: number | undefined;

  /** Of `retryAfterSeconds` one that isn't given is a second, where the code asks for it. */
  constructor(
    code: ErrorCode,
    detail: string,
    more: { errors?: FieldFault[]; cause?: unknown; retryAfterSeconds?: number } = {},
  ) {
    super(detail, { cause: more.cause });
    this.name = 'ImidError';
    this.code = code;
    this.errors = more.errors;
    const { retryAfterSeconds = 1 } = more;
    this.retryAfterSeconds =
      code === 'unavailable' || code === 'rate_limited' ? retryAfterSeconds : undefined;
  }
}

/** What the token endpoint may answer (RFC 6749 section 5.2, RFC 8693 section 2.2.2), with its HTTP status. */
export const oauthErrorCodes = {
  invalid_request: { status: 400 },
  invalid_scope: { status: 400 },
  invalid_target: { status: 400 },
  unsupported_grant_type: { status: 400 },
  temporarily_unavailable: { status: 503 },
} as const;

export type OauthErrorCode = keyof typeof oauthErrorCodes;

/** Thrown where only the token endpoint answers. */
export class OauthError extends ImidError {
  readonly oauthCode: OauthErrorCode;

  constructor(oauthCode: OauthErrorCode, detail: string, more: { cause?: unknown } = {}) {
    super('invalid_request', detail, more);
    this.oauthCode = oauthCode;
  }
}

/** What a caller is told of anything thrown: a lost database is `unavailable`, and nothing internal gets out. */
export function asImidError(thrown: unknown): ImidError {
  if (thrown instanceof ImidError) return thrown;
  if (isOutage(thrown))
    return new ImidError('unavailable', 'The database is out of reach.', { cause: thrown });
  return new ImidError('unavailable', 'Something went wrong here; it was logged.', { cause: thrown });
}

// SQLSTATE classes 08 (connection), 53 (resources), 57 (operator intervention), 58 (system), and 25006 (a standby).
const OUTAGE_STATES = /^(08...|53...|57P0.|57014|58...|25006)$/;
const OUTAGE_ERRNOS = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOENT',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
]);
const OUTAGE_WORDS =
  /connection terminated|timeout exceeded when trying to connect|query read timeout|client has encountered a connection error|not queryable|driver has already been destroyed|cannot use a pool after calling end/i;

/** Whether a thrown error says that the database is out of reach (rather than that a statement is wrong). */
export function isOutage(thrown: unknown): boolean {
  if (thrown instanceof AggregateError) return thrown.errors.some(isOutage);
  if (!(thrown instanceof Error)) return false;
  const code = 'code' in thrown ? String(thrown.code) : '';
  return OUTAGE_STATES.test(code) || OUTAGE_ERRNOS.has(code) || OUTAGE_WORDS.test(thrown.message);
}
