// The token of the user. Asked for by one at a time; what comes too late, or after the user has left, is dropped.
// Invariant: the local clock is never held against `exp`. What counts is how long a token lives from when it came.

import type { ClientOptions, TokenReason } from './contract.ts';
import { ImidError } from './errors.ts';

export interface Token {
  readonly text: string;
  /** Whom it says it is for, and on which device. */
  readonly sub: string | undefined;
  readonly device: string | undefined;
  /** By `performance.now()`; Infinity where it doesn't say. */
  readonly expiresAt: number;
  readonly renewAt: number;
}

export type Tokens = ReturnType<typeof createTokens>;

export function createTokens({
  getToken,
  timeoutMs,
}: Pick<ClientOptions, 'getToken'> & { timeoutMs: number }) {
  let token: Token | undefined;
  let asking: { token: Promise<Token | undefined>; aborter: AbortController } | undefined;

  async function ask(reason: TokenReason, { signal }: AbortController): Promise<Token | undefined> {
    const given = Promise.withResolvers<never>();
    signal.addEventListener('abort', () => given.reject(signal.reason as ImidError));
    const text = await Promise.race([getToken({ reason, signal }), given.promise]);
    if (text === null) return undefined;
    // The page of an error, say, which no socket can be opened with.
    if (typeof text !== 'string' || !/^[\w.-]+$/.test(text))
      throw new ImidError('no_token', 'What getToken gave is no token.');
    return readToken(text);
  }

  function begin(reason: TokenReason): Promise<Token | undefined> {
    const aborter = new AbortController();
    const late = setTimeout(
      () => aborter.abort(new ImidError('no_token', 'getToken took too long.')),
      timeoutMs,
    );
    const done = ask(reason, aborter).then(
      (fresh) => {
        token = fresh;
        return fresh;
      },
      (cause: unknown) => {
        throw cause instanceof ImidError ? cause : new ImidError('no_token', 'getToken failed.', { cause });
      },
    );
    const mine = { token: done, aborter };
    asking = mine;
    const end = (): void => {
      clearTimeout(late);
      if (asking === mine) asking = undefined;
    };
    done.then(end, end);
    return done;
  }

  /** Nobody waits for it any more. */
  function cancel(error: ImidError): void {
    asking?.aborter.abort(error);
    asking = undefined;
  }

  return {
    cancel,
    /** A fresher one than `former`. Undefined: nobody is logged in. Throws an ImidError. */
    async renew(reason: TokenReason, former: Token | undefined): Promise<Token | undefined> {
      if (asking) return asking.token;
      return token && token !== former ? token : begin(reason);
    },
    /** One that should be good. */
    async get(): Promise<Token | undefined> {
      if (asking) return asking.token;
      if (!token) return begin('first');
      return token.expiresAt > performance.now() ? token : begin('expired');
    },
    /** Nobody is logged in any more. */
    forget(): void {
      token = undefined;
      cancel(new ImidError('logged_out', 'The user has logged out.'));
    },
  };
}

/** At some moment in the last fifth of its life, not at the same one on all clients. */
const renewalShare = (): number => 0.8 + Math.random() * 0.1;

function readToken(text: string): Token {
  const { sub, device, iat, exp } = readClaims(text);
  // Both are whole seconds, so that up to one of them is over already.
  const lifeMs = iat === undefined || exp === undefined ? Infinity : Math.max(exp - iat - 1, 0.5) * 1000;
  const now = performance.now();
  return { text, sub, device, expiresAt: now + lifeMs, renewAt: now + lifeMs * renewalShare() };
}

/** What can't be read is for the service to judge. */
function readClaims(text: string): { sub?: string; device?: string; iat?: number; exp?: number } {
  try {
    const [, claims = ''] = text.split('.');
    const bytes = atob(claims.replaceAll('-', '+').replaceAll('_', '/'));
    return JSON.parse(
      new TextDecoder().decode(Uint8Array.from(bytes, (each) => each.charCodeAt(0))),
    ) as object;
  } catch {
    return {};
  }
}
