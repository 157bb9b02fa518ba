// The issuers that an app trusts, and their keys: given with the issuer, or fetched from where it publishes them.
// A change made on another process counts here within a second.

import { createLocalJWKSet, createRemoteJWKSet, customFetch, errors, type JWTVerifyGetKey } from 'jose';
import { LRUCache } from 'lru-cache';
import { ImidError } from '../errors.ts';
import type { AppId } from '../ids.ts';
import { OutboundError, type Outbound } from '../outbound.ts';
import { addToApp } from '../store/apps.ts';
import { violatedUnique } from '../store/constraints.ts';
import type { Database } from '../store/database.ts';
import { createFresh } from '../store/fresh.ts';
import {
  deleteIssuer,
  findIssuer,
  findIssuers,
  findTrusted,
  putIssuer,
  type Issuer,
  type IssuerSettings,
} from '../store/issuers.ts';
import { faultOfJwk, pickPublic } from './jwk_faults.ts';

export type { Issuer, IssuerSettings } from '../store/issuers.ts';

const MAX_AGE_MS = 1_000;
const MAX_KEY_SETS = 1_000;
const KEYS_MAX_AGE_MS = 600_000;
/** How often a kid that isn't known, or a set that can't be had, makes it ask again. */
const COOLDOWN_MS = 10_000;
const TIMEOUT_MS = 5_000;
const JWKS_MAX_BYTES = 256 * 1024;
export const JWKS_MAX_KEYS = 100;

export type Issuers = ReturnType<typeof createIssuers>;

export interface IssuersOptions {
  database: Database;
  outbound: Outbound;
  maxPerApp: number;
  cooldownMs?: number | undefined;
}

export function createIssuers({
  database: { kysely },
  outbound,
  maxPerApp,
  cooldownMs = COOLDOWN_MS,
}: IssuersOptions) {
  const keyOf = (appId: AppId, iss: string): string => `${appId} ${iss}`;
  const trusted = createFresh(MAX_AGE_MS, (key: string) => {
    const space = key.indexOf(' ');
    return findTrusted(kysely, Number(key.slice(0, space)) as AppId, key.slice(space + 1));
  });
  const keySets = new LRUCache<string, { changedAt: number; getKey: JWTVerifyGetKey }>({ max: MAX_KEY_SETS });

  return {
    /** Throws `invalid_request`, naming the field, `not_found` and `conflict`. */
    async put(
      appId: AppId,
      name: string,
      settings: IssuerSettings,
    ): Promise<{ issuer: Issuer; isNew: boolean }> {
      const fault = settings.jwksUrl === undefined ? undefined : outbound.faultOf(settings.jwksUrl);
      if (fault) throw badField('/jwksUrl', fault);
      const jwks = settings.jwks && readKeys(settings.jwks.keys);
      const put = await addToApp(kysely, appId, { table: 'issuer', max: maxPerApp }, (trx) =>
        putIssuer(trx, appId, name, { ...settings, jwks }),
      ).catch((error: unknown) => {
        if (violatedUnique(error) !== 'issuer__issuer') throw error;
        throw new ImidError('conflict', 'The app trusts this issuer already, under another name.', {
          errors: [{ in: 'body', pointer: '#/issuer', detail: 'is that of another issuer of the app' }],
        });
      });
      trusted.forget(keyOf(appId, settings.issuer));
      return put;
    },

    /** Throws `not_found`. */
    async get(appId: AppId, name: string): Promise<Issuer> {
      return (await findIssuer(kysely, appId, name)) ?? refuseName();
    },

    list: (appId: AppId, afterName: string, limit: number): Promise<Issuer[]> =>
      findIssuers(kysely, appId, afterName, limit),

    /** Throws `not_found`. */
    async remove(appId: AppId, name: string): Promise<void> {
      const gone = (await deleteIssuer(kysely, appId, name)) ?? refuseName();
      trusted.forget(keyOf(appId, gone.issuer));
    },

    /** The issuer of an app whose tokens have this `iss`. */
    findTrusted: (appId: AppId, iss: string): Promise<Issuer | undefined> => trusted.get(keyOf(appId, iss)),

    /** Where an issuer's keys are looked up. The same again until the issuer is changed. */
    keysOf(issuer: Issuer): JWTVerifyGetKey {
      const id = `${issuer.appId} ${issuer.name}`;
      const changedAt = issuer.changedAt.getTime();
      const known = keySets.get(id);
      if (known?.changedAt === changedAt) return known.getKey;
      const getKey =
        issuer.jwksUrl === undefined
          ? createLocalJWKSet(issuer.jwks!)
          : createPublishedKeys(outbound, issuer.jwksUrl, cooldownMs);
      keySets.set(id, { changedAt, getKey });
      return getKey;
    },
  };
}

/**
 * Keys as they are published. Throws `unavailable` while they can't be had, and then doesn't ask each time; those that are
 * had already stay good for as long as they would have been.
 */
function createPublishedKeys(outbound: Outbound, url: string, cooldownMs: number): JWTVerifyGetKey {
  let failure: { detail: string; at: number } | undefined;
  let getKnownKey: ReturnType<typeof createLocalJWKSet> | undefined;
  const getKey = createRemoteJWKSet(new URL(url), {
    cacheMaxAge: KEYS_MAX_AGE_MS,
    cooldownDuration: cooldownMs,
    timeoutDuration: 2 * TIMEOUT_MS, // ours is what ends it
    async [customFetch]() {
      const keys = await fetchKeys(outbound, url);
      getKnownKey = createLocalJWKSet(keys);
      return Response.json(keys);
    },
  });
  return async (header, token) => {
    if (failure && performance.now() - failure.at < cooldownMs) {
      const known = getKey.fresh ? await getKnownKey?.(header, token).catch(passNoMatch) : undefined;
      if (!known) throw new ImidError('unavailable', failure.detail);
      return known;
    }
    failure = undefined;
    try {
      return await getKey(header, token);
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error;
      failure = {
        detail: `The keys of this issuer can't be had: its jwksUrl ${error.message}.`,
        at: performance.now(),
      };
      throw new ImidError('unavailable', failure.detail, { cause: error });
    }
  };
}

function passNoMatch(error: unknown): undefined {
  if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
}

/** The keys of a published set that can be used; it may hold others, such as those for encryption. */
async function fetchKeys(outbound: Outbound, url: string): Promise<{ keys: Record<string, string>[] }> {
  const { status, body } = await outbound.fetch(url, {
    headers: { accept: 'application/jwk-set+json, application/json' },
    timeoutMs: TIMEOUT_MS,
    maxBytes: JWKS_MAX_BYTES,
  });
  if (status !== 200) throw new OutboundError(`answers ${status} instead of 200`);
  const keys = parseKeys(body);
  if (!keys || keys.length > JWKS_MAX_KEYS)
    throw new OutboundError(`answers something else than a JWK set of at most ${JWKS_MAX_KEYS} keys`);
  const good = keys.filter((key) => !faultOfJwk(key)) as Record<string, unknown>[];
  return { keys: good.map(pickPublic) };
}

function parseKeys(body: Buffer): unknown[] | undefined {
  try {
    const { keys } = JSON.parse(body.toString());
    return Array.isArray(keys) ? keys : undefined;
  } catch {
    return undefined;
  }
}

/** The keys of a set that came with its issuer, all of which must be good. Throws `invalid_request`, naming the member. */
function readKeys(keys: readonly Record<string, unknown>[]): { keys: Record<string, string>[] } {
  const kids = new Set<unknown>();
  for (const [i, key] of keys.entries()) {
    const fault = faultOfJwk(key);
    if (fault) throw badField(`/jwks/keys/${i}${fault.member && `/${fault.member}`}`, fault.detail);
    if (key['kid'] !== undefined && kids.has(key['kid']))
      throw badField(`/jwks/keys/${i}/kid`, 'is that of another key of the set');
    kids.add(key['kid']);
  }
  return { keys: keys.map(pickPublic) };
}

function badField(path: string, detail: string): ImidError {
  const pointer = `#${path}`;
  return new ImidError('invalid_request', `${path.slice(1).replaceAll('/', '.')} ${detail}.`, {
    errors: [{ in: 'body', pointer, detail }],
  });
}

function refuseName(): never {
  throw new ImidError('not_found', 'The app has no issuer of this name.');
}
