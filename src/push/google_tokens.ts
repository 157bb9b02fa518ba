// Access tokens of a Google service account (RFC 7523): one is asked for at a time, and kept until shortly before its end.

import { importPKCS8, SignJWT } from 'jose';
import type { Asking } from './asking.ts';
import type { Outcome } from './contract.ts';
import { outcomeByStatus, parseObject, refuseCredential } from './outcomes.ts';

const SCOPE = 'https://www.googleapis.com/auth/firebase.messaging';
const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const ASSERTION_SECONDS = 3_600;
/** Before its end a token isn't used any more: the request that carries it takes its time. */
const MARGIN_MS = 60_000;

export interface GoogleAccount {
  client_email: string;
  private_key: string;
  private_key_id?: string;
}

export interface GoogleTokensOptions {
  asking: Asking;
  endpoint: string;
  now(): Date;
}

export function createGoogleTokens(account: GoogleAccount, { asking, endpoint, now }: GoogleTokensOptions) {
  let kept: { token: string; endsAt: number } | undefined;
  let asked: Promise<{ token: string } | Outcome> | undefined;

  async function sign(): Promise<string | undefined> {
    const key = await importPKCS8(account.private_key, 'RS256').catch(() => undefined);
    const iat = Math.floor(now().getTime() / 1_000);
    if (!key) return undefined;
    const kid = account.private_key_id;
    return new SignJWT({ scope: SCOPE })
      .setProtectedHeader({ alg: 'RS256', typ: 'JWT', ...(kid !== undefined && { kid }) })
      .setIssuer(account.client_email)
      .setAudience(endpoint)
      .setIssuedAt(iat)
      .setExpirationTime(iat + ASSERTION_SECONDS)
      .sign(key)
      .catch(() => undefined); // too short for RS256
  }

  async function fetchToken(): Promise<{ token: string } | Outcome> {
    const assertion = await sign();
    if (assertion === undefined)
      return refuseCredential('private_key must be an RSA key of at least 2048 bits as PKCS #8 in PEM');
    const answer = await asking.post(
      endpoint,
      { 'content-type': 'application/x-www-form-urlencoded' },
      new URLSearchParams({ grant_type: GRANT_TYPE, assertion }).toString(),
    );
    if ('kind' in answer) return answer;
    const { access_token: token, expires_in: seconds, error } = parseObject(answer.body) ?? {};
    if (answer.status === 400 || answer.status === 401)
      return refuseCredential(
        `Google refuses the service account${isCode(error) ? ` (${error})` : ''}: its key was deleted, the account is ` +
          "disabled, or this machine's clock is wrong",
      );
    if (answer.status !== 200) return outcomeByStatus(answer, now());
    if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token) || !isSeconds(seconds))
      return { kind: 'retry', reason: 'malformed: Google answers something else than an access token' };
    kept = { token, endsAt: now().getTime() + seconds * 1_000 };
    return kept;
  }

  return {
    /** A good token, or what comes of it that there is none. */
    async get(): Promise<{ token: string } | Outcome> {
      if (kept && now().getTime() < kept.endsAt - MARGIN_MS) return kept;
      asked ??= fetchToken().finally(() => (asked = undefined));
      return asked;
    },

    /** Makes the next get ask for another one than this. */
    forget(token: string): void {
      if (kept?.token === token) kept = undefined;
    },
  };
}

function isSeconds(value: unknown): value is number {
  return typeof value === 'number' && value > 0;
}

function isCode(value: unknown): value is string {
  return typeof value === 'string' && /^[a-z_]{1,40}$/.test(value);
}
