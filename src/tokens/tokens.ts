// Issues tokens and verifies them. Takes exactly what it issues, in the one spelling in which it does: the signed text is
// written once more from what was read in it, and has to be the same. So the header chooses nothing but a kid among our own
// keys, and nothing is said twice, otherwise, or besides. Whom a token acts for is not decided here.

import { isUtf8 } from 'node:buffer';
import { errors, jwtVerify, SignJWT, type JWTPayload } from 'jose';
import { ImidError } from '../errors.ts';
import {
  isName,
  isUuidV7,
  makeUuidAt,
  parseImId,
  timeOfUuid,
  type AppId,
  type ImId,
  type Scheme,
} from '../ids.ts';
import type { Clock } from '../store/clock.ts';
import { parseAudience, toAudience } from './audience.ts';
import { readCompact } from './compact.ts';
import type { Keys } from './keys.ts';
import { TTL_DEFAULT_SECONDS, TTL_MAX_SECONDS } from './ttl.ts';

const TOKEN_TYPE = 'imid+jwt';
const TOKEN_MAX_LENGTH = 4_096;
/** By how much the clocks of two processes may differ. */
const CLOCK_TOLERANCE_MS = 1_000;

/** What a token says, checked. */
export interface Claims {
  appId: AppId;
  sub: ImId;
  scheme: Scheme;
  /** What it is known by: the text of a token is never compared or kept. */
  jti: string;
  /** Of the key that signed it. */
  kid: string;
  /** To the millisecond, from the jti. */
  issuedAt: Date;
  expiresAt: Date;
  deviceId: string | undefined;
}

export interface Tokens {
  /** Throws `unavailable` where this process has been without news of its keys for too long. */
  issue(subject: {
    appId: AppId;
    imId: ImId;
    ttlSeconds?: number | undefined;
    deviceId?: string | undefined;
  }): Promise<{ token: string; imId: ImId; scheme: Scheme; expiresAt: Date }>;
  /**
   * Throws `token_expired` for one of ours that is over, `token_revoked` for one that was revoked by its jti, `unavailable`
   * where this process has been without news for too long, `unauthorized` for everything else that isn't good.
   */
  verify(token: string): Promise<Claims>;
}

export interface TokensOptions {
  keys: Pick<Keys, 'current' | 'find'>;
  revocations: {
    isRevoked(appId: AppId, jti: string): boolean;
    /** Throws `unavailable` where this process has been without news for too long. */
    requireSight(): void;
  };
  issuer: string;
  clock: Clock;
}

export function createTokens({ keys, revocations, issuer, clock }: TokensOptions): Tokens {
  return {
    async issue({ appId, imId, ttlSeconds = TTL_DEFAULT_SECONDS, deviceId }) {
      revocations.requireSight();
      const { kid, alg, privateKey } = keys.current();
      const jti = makeUuidAt(await clock.stamp());
      const iat = toSeconds(timeOfUuid(jti));
      const { scheme } = parseImId(imId)!;
      const exp = iat + ttlSeconds;
      const token = await new SignJWT(
        toPayload({
          scheme,
          device: deviceId,
          iss: issuer,
          aud: toAudience(appId),
          sub: imId,
          iat,
          exp,
          jti,
        }),
      )
        .setProtectedHeader(toHeader(alg, kid))
        .sign(privateKey);
      return { token, imId, scheme, expiresAt: new Date(exp * 1_000) };
    },

    async verify(token) {
      revocations.requireSight();
      const { header, payload } = readParts(token);
      const key = typeof header['kid'] === 'string' ? await keys.find(header['kid']) : undefined;
      if (!key) throw refused('it was not signed by this service');
      const { kid, alg } = key;
      if (JSON.stringify(toHeader(alg, kid)) !== header.text)
        throw refused('its header is not that of a token of this service');
      await jwtVerify(token, key.publicKey, {
        algorithms: [alg],
        typ: TOKEN_TYPE,
        issuer,
        requiredClaims: ['iss', 'aud', 'sub', 'scheme', 'iat', 'exp', 'jti'],
        currentDate: clock.now(),
      }).catch((error: unknown) => {
        if (error instanceof errors.JWTExpired)
          throw new ImidError('token_expired', 'The token has expired.');
        throw refused('its signature or its claims are not good', error);
      });
      const claims = readClaims(payload, kid, clock.now());
      if (!claims || JSON.stringify(toPayload(payload)) !== payload.text)
        throw refused('its claims are not those of a token of this service');
      if (revocations.isRevoked(claims.appId, claims.jti))
        throw new ImidError('token_revoked', 'The token was revoked.');
      return claims;
    },
  };
}

/** What a token says, in the order in which it says it. */
function toPayload({ scheme, device, iss, aud, sub, iat, exp, jti }: Record<string, unknown>): JWTPayload {
  return { scheme, ...(device === undefined ? {} : { device }), iss, aud, sub, iat, exp, jti } as JWTPayload;
}

const toHeader = (alg: string, kid: string) => ({ alg, kid, typ: TOKEN_TYPE });

type Part = Record<string, unknown> & { text: string };

function readParts(token: string): { header: Part; payload: Part } {
  const { header, payload } = readCompact(token, TOKEN_MAX_LENGTH, refused);
  return { header: readJson(header), payload: readJson(payload) };
}

function readJson(bytes: Buffer): Part {
  // Or what it says couldn't be told from what it is read as.
  if (isUtf8(bytes))
    try {
      const text = bytes.toString();
      const value: unknown = JSON.parse(text);
      if (typeof value === 'object' && value !== null) return { ...value, text };
    } catch {
      // falls through to the one refusal
    }
  throw refused('it is not JSON inside');
}

function readClaims(payload: Part, kid: string, now: Date): Claims | undefined {
  const { aud, sub, scheme, iat, exp, jti, device } = payload;
  if (typeof aud !== 'string' || typeof sub !== 'string' || typeof jti !== 'string' || !isUuidV7(jti))
    return undefined;
  const issuedAt = timeOfUuid(jti);
  if (iat !== toSeconds(issuedAt) || issuedAt.getTime() > now.getTime() + CLOCK_TOLERANCE_MS)
    return undefined;
  if (!Number.isSafeInteger(exp) || (exp as number) - iat > TTL_MAX_SECONDS) return undefined;
  if (device !== undefined && !(typeof device === 'string' && isName(device))) return undefined;
  const appId = parseAudience(aud);
  const imId = parseImId(sub);
  if (appId === undefined || imId?.scheme !== scheme) return undefined;
  if (imId?.scheme === 'composed' && imId.appId !== appId) return undefined;
  return {
    appId,
    sub: sub as ImId,
    scheme: scheme as Scheme,
    jti,
    kid,
    issuedAt,
    expiresAt: new Date((exp as number) * 1_000),
    deviceId: device as string | undefined,
  };
}

function toSeconds(instant: Date): number {
  return Math.floor(instant.getTime() / 1_000);
}

function refused(why: string, cause?: unknown): ImidError {
  return new ImidError('unauthorized', `The token is refused: ${why}.`, { cause });
}
