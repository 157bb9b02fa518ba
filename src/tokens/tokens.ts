// Issues tokens and verifies them. Takes exactly what it issues: a compact JWS in its one canonical spelling, whose
// header chooses nothing but a kid among our own keys. Whom a token acts for is not decided here.

import { errors, jwtVerify, SignJWT } from 'jose';
import { ImidError } from '../errors.ts';
import {
  isUuidV7,
  makeUuidAt,
  parseAppId,
  parseImId,
  timeOfUuid,
  type AppId,
  type ImId,
  type Scheme,
} from '../ids.ts';
import type { Clock } from '../store/clock.ts';
import { readCompact } from './compact.ts';
import type { Keys } from './keys.ts';

export const TTL_DEFAULT_SECONDS = 3_600;
export const TTL_MAX_SECONDS = 30 * 24 * 3_600;
const TOKEN_TYPE = 'imid+jwt';
const TOKEN_MAX_LENGTH = 4_096;
/** By how much the clocks of two processes may differ. */
const CLOCK_TOLERANCE_MS = 1_000;

/** What a token says, checked. */
export interface Claims {
  appId: AppId;
  sub: ImId;
  scheme: Scheme;
  jti: string;
  /** To the millisecond, from the jti. */
  issuedAt: Date;
  expiresAt: Date;
  deviceId: string | undefined;
}

export interface Tokens {
  issue(subject: {
    appId: AppId;
    imId: ImId;
    ttlSeconds?: number | undefined;
    deviceId?: string | undefined;
  }): Promise<{ token: string; imId: ImId; scheme: Scheme; expiresAt: Date }>;
  /** Throws `token_expired` for one of ours that is over, `unauthorized` for everything else that isn't good. */
  verify(token: string): Promise<Claims>;
}

export function createTokens({ keys, issuer, clock }: { keys: Keys; issuer: string; clock: Clock }): Tokens {
  return {
    async issue({ appId, imId, ttlSeconds = TTL_DEFAULT_SECONDS, deviceId }) {
      const { kid, alg, privateKey } = keys.current();
      const jti = makeUuidAt(await clock.stamp());
      const issuedAt = toSeconds(timeOfUuid(jti));
      const scheme = parseImId(imId)!.scheme;
      const token = await new SignJWT({ scheme, ...(deviceId === undefined ? {} : { device: deviceId }) })
        .setProtectedHeader({ alg, kid, typ: TOKEN_TYPE })
        .setIssuer(issuer)
        .setAudience(audienceOf(appId))
        .setSubject(imId)
        .setIssuedAt(issuedAt)
        .setExpirationTime(issuedAt + ttlSeconds)
        .setJti(jti)
        .sign(privateKey);
      return { token, imId, scheme, expiresAt: new Date((issuedAt + ttlSeconds) * 1000) };
    },

    async verify(token) {
      const header = readHeader(token);
      const key = await keys.find(header.kid);
      if (!key) throw refused('it was not signed by this service');
      const { payload } = await jwtVerify(token, key.publicKey, {
        algorithms: [key.alg],
        typ: TOKEN_TYPE,
        issuer,
        requiredClaims: ['iss', 'aud', 'sub', 'scheme', 'iat', 'exp', 'jti'],
        currentDate: clock.now(),
      }).catch((error: unknown) => {
        if (error instanceof errors.JWTExpired)
          throw new ImidError('token_expired', 'The token has expired.');
        throw refused('its signature or its claims are not good', error);
      });
      const claims = readClaims(payload, clock.now());
      if (!claims) throw refused('its claims are not those of a token of this service');
      return claims;
    },
  };
}

function audienceOf(appId: AppId): string {
  return `imid:${appId}`;
}

function readHeader(token: string): { kid: string } {
  const header = readJson(readCompact(token, TOKEN_MAX_LENGTH, refused).header.toString());
  const names = Object.keys(header).toSorted().join();
  if (names !== 'alg,kid,typ' || typeof header['kid'] !== 'string' || header['typ'] !== TOKEN_TYPE)
    throw refused('its header is not that of a token of this service');
  return { kid: header['kid'] };
}

function readJson(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // falls through to the one refusal
  }
  throw refused('it is not JSON inside');
}

function readClaims(payload: Record<string, unknown>, now: Date): Claims | undefined {
  const { aud, sub, scheme, iat, exp, jti, device } = payload;
  if (typeof aud !== 'string' || typeof sub !== 'string' || typeof jti !== 'string' || !isUuidV7(jti))
    return undefined;
  const issuedAt = timeOfUuid(jti);
  if (iat !== toSeconds(issuedAt) || issuedAt.getTime() > now.getTime() + CLOCK_TOLERANCE_MS)
    return undefined;
  if (!Number.isSafeInteger(exp) || (exp as number) - iat > TTL_MAX_SECONDS) return undefined;
  if (device !== undefined && typeof device !== 'string') return undefined;
  const appId = aud.startsWith('imid:') ? parseAppId(aud.slice('imid:'.length)) : undefined;
  const imId = parseImId(sub);
  if (appId === undefined || imId?.scheme !== scheme) return undefined;
  if (imId?.scheme === 'composed' && imId.appId !== appId) return undefined;
  return {
    appId,
    sub: sub as ImId,
    scheme: scheme as Scheme,
    jti,
    issuedAt,
    expiresAt: new Date((exp as number) * 1000),
    deviceId: device,
  };
}

function toSeconds(instant: Date): number {
  return Math.floor(instant.getTime() / 1000);
}

function refused(why: string, cause?: unknown): ImidError {
  return new ImidError('unauthorized', `The token is refused: ${why}.`, { cause });
}
