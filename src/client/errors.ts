// What is thrown, by whatever it was caused: the service's code where it has spoken, one of the library's own else.

/** Codes of the service are stable; `detail` is for people. */
export type ServiceCode =
  | 'invalid_request'
  | 'unauthorized'
  | 'token_expired'
  | 'token_revoked'
  | 'forbidden'
  | 'not_found'
  | 'request_timeout'
  | 'conflict'
  | 'scheme_disabled'
  | 'payload_too_large'
  | 'unknown_recipient'
  | 'rate_limited'
  | 'unavailable';

/**
 * - `no_network`: nobody answers.
 * - `no_token`: `getToken` has none, since nobody is logged in, or can't get one.
 * - `replaced`: another connection has the same deviceId.
 * - `other_user`: another user has logged in meanwhile, without a `logout()`.
 * - `protocol_error`: the two don't understand each other.
 * - `logged_out`, `cancelled`: the app has said so.
 * - `listener_failed`, `store_failed`: something of the app threw; it is the `cause`.
 * - `closed`: closed for good, for a reason that this version of the library doesn't know; see `closeCode`.
 */
export type LibraryCode =
  | 'no_network'
  | 'no_token'
  | 'replaced'
  | 'other_user'
  | 'protocol_error'
  | 'logged_out'
  | 'cancelled'
  | 'listener_failed'
  | 'store_failed'
  | 'closed';

/** One of those, or one that a later service has. */
export type Code = ServiceCode | LibraryCode | (string & {});

/** The service has spoken, or nobody has: `code` says which, and what is wrong. */
export class ImidError extends Error {
  readonly code: Code;
  /** Of the connection, where it was closed. */
  readonly closeCode: number | undefined;
  /** How long the service asks to wait. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: Code,
    detail: string,
    more: { cause?: unknown; closeCode?: number; retryAfterMs?: number | undefined } = {},
  ) {
    super(detail, { cause: more.cause });
    this.name = 'ImidError';
    this.code = code;
    this.closeCode = more.closeCode;
    this.retryAfterMs = more.retryAfterMs;
  }
}

/** What isn't an answer to what was asked, but to when: asked again, it may well be answered. */
const PASSING: ReadonlySet<Code> = new Set([
  'unavailable',
  'rate_limited',
  'request_timeout',
  'unauthorized',
  'token_expired',
  'token_revoked',
]);

export const isPassing = ({ code }: ImidError): boolean => PASSING.has(code);

const CODES: Record<number, Code> = {
  1001: 'unavailable',
  1002: 'protocol_error',
  1007: 'protocol_error',
  1009: 'payload_too_large',
  4001: 'token_expired',
  4008: 'rate_limited',
  4010: 'rate_limited',
  4011: 'unavailable',
  4502: 'token_revoked',
  4503: 'replaced',
  4509: 'protocol_error',
};

/** What a close code says. */
export function closeError(closeCode: number, reason: string): ImidError {
  const code = CODES[closeCode] ?? (isFinal(closeCode) ? 'closed' : 'no_network');
  return new ImidError(code, reason || `The connection was closed with ${closeCode}.`, { closeCode });
}

/** Whether a connection that was closed so makes no sense again, by the range of the code. */
export const isFinal = (closeCode: number): boolean =>
  (closeCode >= 4500 && closeCode < 5000) || closeCode === 1002 || closeCode === 1007 || closeCode === 1009;
