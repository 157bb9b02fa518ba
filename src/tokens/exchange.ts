// Verifies the tokens that are exchanged for ours (RFC 8693): JWTs of an issuer that an app trusts. As RFC 8725 asks, what
// is taken is chosen by the issuer's settings, never by the token. Who the user is, and whether there is one, isn't decided here.

import { errors, jwtVerify } from 'jose';
import { OauthError } from '../errors.ts';
import { faultOfName, type AppId, type Name } from '../ids.ts';
import type { Clock } from '../store/clock.ts';
import { parseAudience } from './audience.ts';
import { readCompact, readUnambiguous } from './compact.ts';
import type { Issuer, Issuers } from './issuers.ts';

const SUBJECT_TOKEN_MAX_LENGTH = 8_192;
/** Typed otherwise, it is meant for something else (RFC 8725 section 3.11). */
const TYPES = new Set(['jwt', 'at+jwt']);
/** What would have it verified otherwise than it is here, or opens something else. */
const REFUSED_HEADERS = ['crit', 'b64', 'jwk', 'jku', 'x5u', 'x5c', 'enc', 'zip', 'cty'];

/** What a subject token says, checked. */
export interface Subject {
  appId: AppId;
  issuer: Issuer;
  name: Name;
  /** How much longer it is good, with the issuer's skew; at least 1. */
  secondsLeft: number;
}

export type Exchange = ReturnType<typeof createExchange>;

export function createExchange({ issuers, clock }: { issuers: Issuers; clock: Clock }) {
  return {
    /**
     * Verifies a token for an app; without one, for the app that its own audience names. Throws `invalid_request` and
     * `invalid_target` of OAuth, and `unavailable` when the issuer's keys can't be had.
     */
    async verify(token: string, wantedApp: AppId | undefined): Promise<Subject> {
      const parts = readCompact(token, SUBJECT_TOKEN_MAX_LENGTH, refused);
      const header = readUnambiguous(parts.header);
      const payload = readUnambiguous(parts.payload);
      if (!header || !payload)
        throw refused('its header or its claims are not JSON objects with each member once');
      checkHeader(header);
      checkClaims(payload);
      const { iss, aud } = payload as { iss: string; aud: string | string[] };
      const appId = wantedApp ?? appOfAudiences([aud].flat());
      const issuer = await issuers.findTrusted(appId, iss);
      if (!issuer) throw untrusted();
      const now = clock.now();
      await jwtVerify(token, issuers.keysOf(issuer), {
        algorithms: issuer.algorithms,
        issuer: issuer.issuer,
        audience: issuer.audiences,
        requiredClaims: ['exp'],
        clockTolerance: issuer.clockSkewSeconds,
        currentDate: now,
      }).catch((error: unknown) => {
        if (error instanceof errors.JOSEError) throw refused(reasonOf(error), error);
        throw error;
      });
      const nowSeconds = now.getTime() / 1_000;
      const { exp, iat } = payload as { exp: number; iat?: number };
      if (iat !== undefined && iat > nowSeconds + issuer.clockSkewSeconds)
        throw refused('it was issued in the future');
      const secondsLeft = Math.max(1, Math.floor(exp + issuer.clockSkewSeconds - nowSeconds));
      return { appId, issuer, name: readName(payload, issuer.subjectClaim), secondsLeft };
    },
  };
}

function checkHeader(header: Record<string, unknown>): void {
  const bad = REFUSED_HEADERS.find((name) => Object.hasOwn(header, name));
  if (bad) throw refused(`its header holds ${bad}`);
  const { typ = 'JWT', kid } = header;
  if (typeof typ !== 'string' || !TYPES.has(typ.toLowerCase().replace(/^application\//, '')))
    throw refused('its typ is neither JWT nor at+jwt');
  if (kid !== undefined && typeof kid !== 'string') throw refused('its kid is not text');
}

/** What jose doesn't look at. */
function checkClaims({ iss, aud, exp, nbf, iat, events, cnf }: Record<string, unknown>): void {
  if (!isText(iss)) throw refused('it has no iss');
  const audiences = [aud].flat();
  if (audiences.length === 0 || !audiences.every(isText)) throw refused('it has no aud');
  if (exp === undefined) throw refused('it has no exp');
  for (const [name, time] of Object.entries({ exp, nbf, iat }))
    if (time !== undefined && !(Number.isSafeInteger(time) && (time as number) >= 0))
      throw refused(`its ${name} is not a whole number of seconds`);
  if (events !== undefined) throw refused('it tells of an event instead of a user');
  if (cnf !== undefined) throw refused('it is bound to a key, which is not proven here');
}

/** Without what no issuer can be put with, and Postgres doesn't take. */
function isText(value: unknown): boolean {
  return typeof value === 'string' && !/[\p{Cc}\p{Cs}]/u.test(value);
}

/** Never by who trusts the issuer: whichever customer did so, too, could have its way with another's users. */
function appOfAudiences(audiences: readonly string[]): AppId {
  const [appId, other] = audiences.flatMap((audience) => parseAudience(audience) ?? []);
  if (appId === undefined || other !== undefined)
    throw new OauthError(
      'invalid_request',
      'audience is missing: imid:<appId> says for which app the token is to be.',
    );
  return appId;
}

function readName(payload: Record<string, unknown>, claim: string): Name {
  const name = Object.hasOwn(payload, claim) ? payload[claim] : undefined;
  if (typeof name !== 'string') throw refused(`its claim ${claim} is not text`);
  const fault = faultOfName(name);
  if (fault) throw refused(`its claim ${claim} ${fault}`);
  return name as Name;
}

function reasonOf(error: Error): string {
  if (error instanceof errors.JWTExpired) return 'it has expired';
  if (error instanceof errors.JWTClaimValidationFailed)
    return error.claim === 'nbf' ? 'it is not good yet' : `its ${error.claim} is not one that the app trusts`;
  if (error instanceof errors.JOSEAlgNotAllowed) return 'its alg is not one that the app trusts';
  if (error instanceof errors.JWKSMultipleMatchingKeys)
    return 'several keys of its issuer fit it, so that it needs a kid of its own';
  if (error instanceof errors.JWKSNoMatchingKey) return 'its issuer has no such key';
  return 'its signature is not good';
}

/** The same whether there is no such app, or it doesn't trust the issuer. */
function untrusted(): OauthError {
  return new OauthError('invalid_target', 'No such audience takes tokens of this issuer.');
}

function refused(why: string, cause?: unknown): OauthError {
  return new OauthError('invalid_request', `The subject_token is refused: ${why}.`, { cause });
}
