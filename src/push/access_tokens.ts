// The tokens that a vendor gives for a credential: kept until shortly before their end, asked for by one request at a time,
// and renewed once when one is refused before its time.

import type { Asking } from './asking.ts';
import { AGAIN_MAX_MS, type Outcome } from './contract.ts';
import { outcomeByStatus, parseObject, refuseCredential } from './outcomes.ts';

/** Before its end a token isn't used any more: the request that carries it takes its time. */
const MARGIN_MS = 60_000;
const FORM = { 'content-type': 'application/x-www-form-urlencoded' };

export interface AccessToken {
  token: string;
  lifeSeconds: number;
}

export interface AccessTokensOptions {
  name: string;
  now(): Date;
  /** A new one, or what comes of it that there is none. */
  fetch(): Promise<AccessToken | Outcome>;
}

export interface AccessTokens {
  /** What `ask` comes to with a token that isn't refused; it is asked twice at the most. */
  use(ask: (token: string) => Promise<Outcome | 'renew'>): Promise<Outcome>;
  /** What is wrong with the credential, as a new token shows. */
  check(): Promise<string | undefined>;
}

export function createAccessTokens({ name, now, fetch }: AccessTokensOptions): AccessTokens {
  let kept: { token: string; endsAt: number } | undefined;
  let asked: Promise<{ token: string } | Outcome> | undefined;

  async function renew(): Promise<{ token: string } | Outcome> {
    const got = await fetch();
    if ('kind' in got) return got;
    kept = { token: got.token, endsAt: now().getTime() + got.lifeSeconds * 1_000 };
    return kept;
  }

  function getNew(): Promise<{ token: string } | Outcome> {
    asked ??= renew().finally(() => (asked = undefined));
    return asked;
  }

  return {
    async use(ask) {
      const startMs = performance.now();
      const isLate = (): boolean => performance.now() - startMs > AGAIN_MAX_MS;
      const late = {
        kind: 'retry',
        reason: `timeout: ${name} takes too long to be asked again at once`,
      } as const;
      for (let renewals = 0; renewals < 2; renewals++) {
        const isGood = kept && now().getTime() < kept.endsAt - MARGIN_MS;
        const got = isGood ? kept! : await getNew();
        if ('kind' in got) return got;
        if (isLate()) return late;
        const outcome = await ask(got.token);
        if (outcome !== 'renew') return outcome;
        // Another one may have come meanwhile.
        if (kept?.token === got.token) kept = undefined;
        if (isLate()) return late;
      }
      return refuseCredential(
        `${name} refuses the tokens that it gives for it: is it of the app that is sent to?`,
      );
    },

    async check() {
      const got = await getNew();
      return 'reason' in got ? got.reason : undefined;
    },
  };
}

/** By the client credentials grant of OAuth 2.0 (RFC 6749 section 4.4). */
export async function fetchByClientSecret(
  { asking, name, now }: { asking: Asking; name: string; now(): Date },
  url: string,
  { clientId, clientSecret }: { clientId: string; clientSecret: string },
): Promise<AccessToken | Outcome> {
  const grant = { grant_type: 'client_credentials', client_id: clientId, client_secret: clientSecret };
  const answer = await asking.post(url, FORM, new URLSearchParams(grant).toString());
  if ('kind' in answer) return answer;
  const { access_token: token, expires_in: lifeSeconds } = parseObject(answer.body) ?? {};
  if (answer.status === 400 || answer.status === 401 || answer.status === 403)
    return refuseCredential(
      `${name} refuses clientId and clientSecret: copy both from its console once more`,
    );
  if (answer.status !== 200) return outcomeByStatus(answer, now());
  if (!isToken(token) || typeof lifeSeconds !== 'number' || !(lifeSeconds > 0))
    return { kind: 'retry', reason: `malformed: ${name} answers something else than an access token` };
  return { token, lifeSeconds };
}

/** It can be a header. */
export function isToken(value: unknown): value is string {
  return typeof value === 'string' && /^[\x21-\x7e]{1,4096}$/.test(value);
}
