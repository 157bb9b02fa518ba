// Which tokens count no more, known without I/O: single ones by their jtis, and what was revoked lately otherwise. When a
// token is looked at, its user, device and app say the rest. Follows what every process revokes, and how its keys stand.
// Invariant: whoever hasn't been able to follow for too long takes no token for good.

import { setTimeout as sleep } from 'node:timers/promises';
import { ImidError } from '../errors.ts';
import { isUuidV7, timeOfUuid, type AppId } from '../ids.ts';
import type { Database } from '../store/database.ts';
import {
  deleteOverRevocations,
  findPoint,
  findRevocationsSince,
  renewForeignRevocations,
  revokeApp,
  revokeDevice,
  revokeToken,
  revokeUser,
  SETTLED_AFTER_MS,
  streamRevocations,
  type Revocation,
} from '../store/revocations.ts';
import { JtiSet } from './jti_set.ts';
import type { Keys } from './keys.ts';
import type { Claims } from './tokens.ts';
import { DEFAULT_MAX_BLIND_MS, TTL_MAX_SECONDS } from './ttl.ts';

export type { Revocation } from '../store/revocations.ts';

/** What a connection acts by. */
export interface Holding {
  readonly appId: AppId;
  readonly claims: Pick<Claims, 'jti' | 'kid' | 'issuedAt'>;
  /** The rows that its user was, one after the other. */
  readonly identityIds: ReadonlySet<number>;
  readonly deviceId: string;
}

export interface RevocationsOptions {
  database: Database;
  keys: Keys;
  /** For how long this process may be without news. */
  maxBlindMs?: number | undefined;
  /** Told when this process has revoked something. */
  onRevoke: () => void;
  onNews: (news: News) => void;
}

/** What counts no more, as it is heard of: connections may act by it. */
export interface News {
  revoked: readonly Revocation[];
  /** There are other keys: what was signed with one that is gone counts no more. */
  hasOtherKeys: boolean;
}

export type Revocations = Awaited<ReturnType<typeof createRevocations>>;

const CLEANING_MS = 60_000;
/** How long what closes connections is remembered: longer than a connection takes to open. */
const RECENT_MS = 60_000;
/** From its jti's time until a token is over, at the latest. */
const LIFE_MS = (TTL_MAX_SECONDS + 1) * 1_000;
const TOLERANCE_MS = 1_000;

export async function createRevocations({
  database: { kysely, pool, clock },
  keys,
  maxBlindMs = DEFAULT_MAX_BLIND_MS,
  onRevoke,
  onNews,
}: RevocationsOptions) {
  const tokens = new Map<AppId, JtiSet>();
  const recent = createRecent();
  let point: string;
  let keysVersion: number | undefined;
  let seenAt = -Infinity;
  let cleanAt = performance.now() + CLEANING_MS;
  let following: Promise<void> | undefined;
  let next: Promise<void> | undefined;

  async function read(): Promise<void> {
    const askedAt = performance.now();
    const found = await findRevocationsSince(pool, point);
    const hasOtherKeys = found.keysVersion !== keysVersion;
    if (hasOtherKeys) await keys.load();
    keysVersion = found.keysVersion;
    const revoked = found.revoked.filter(take);
    point = found.point;
    seenAt = askedAt;
    if (hasOtherKeys || revoked.length > 0) onNews({ revoked, hasOtherKeys });
  }

  /** False for what is known already. */
  function take(revocation: Revocation): boolean {
    if (revocation.jti === undefined) return recent.add(revocation, performance.now());
    let ofApp = tokens.get(revocation.appId);
    if (!ofApp) tokens.set(revocation.appId, (ofApp = new JtiSet()));
    const { size } = ofApp;
    ofApp.add(revocation.jti);
    return ofApp.size > size;
  }

  /** Reads what is new; what is asked for while that is under way is read after it. */
  function follow(): Promise<void> {
    if (!following) return (following = read().finally(() => (following = undefined)));
    const before = following;
    return (next ??= before
      .catch(() => {})
      .then(() => {
        next = undefined;
        return follow();
      }));
  }

  async function clean(): Promise<void> {
    if (performance.now() < cleanAt) return;
    cleanAt = performance.now() + CLEANING_MS;
    const madeBefore = new Date(clock.now().getTime() - LIFE_MS);
    for (const [appId, ofApp] of tokens) {
      ofApp.dropBefore(madeBefore);
      if (ofApp.size === 0) tokens.delete(appId);
    }
    recent.dropUntil(performance.now() - RECENT_MS);
    while (await deleteOverRevocations(kysely));
    await renewForeignRevocations(kysely);
  }

  /** Returns when what is issued from now on is behind the revocation. */
  async function revoke(act: () => Promise<boolean>, absent: string): Promise<void> {
    if (!(await act())) throw new ImidError('not_found', absent);
    onRevoke();
    // It is done: where it can't be followed right now, it is found out within a second, or nobody is trusted.
    await Promise.all([follow().catch(() => {}), sleep(SETTLED_AFTER_MS)]);
  }

  /** Whether a single token is revoked. */
  const isRevoked = (appId: AppId, jti: string): boolean => tokens.get(appId)?.has(jti) ?? false;

  /** Reads all that there is, and what has come meanwhile. */
  async function readAll(): Promise<void> {
    point = await findPoint(kysely);
    keysVersion = undefined;
    for await (const revoked of streamRevocations(kysely)) revoked.forEach(take);
    await follow();
  }

  await readAll();

  return {
    /** To be called once a second, and when another process has revoked something or changed the keys. */
    follow,

    /** To be called once a second. */
    async tend(): Promise<void> {
      await keys.tend();
      await clean();
    },

    /** Starts over, with another state of the database. */
    reload: readAll,

    get isBlind(): boolean {
      return performance.now() - seenAt > maxBlindMs;
    },

    /** Throws `unavailable` where this process has been without news for too long. */
    requireSight(): void {
      if (this.isBlind)
        throw new ImidError('unavailable', 'The service has been without its database for too long.');
    },

    isRevoked,

    /** Whether a connection, taken for good when it was looked at, acts by something that counts no more. */
    ends: (holding: Holding): boolean =>
      isRevoked(holding.appId, holding.claims.jti) || !keys.has(holding.claims.kid) || recent.ends(holding),

    /** How many single tokens are revoked. */
    get size(): number {
      let size = 0;
      for (const ofApp of tokens.values()) size += ofApp.size;
      return size;
    },

    /** Throws `invalid_request` for what can't be the jti of a token that was issued. */
    async revokeToken(appId: AppId, jti: string): Promise<void> {
      if (!isUuidV7(jti) || timeOfUuid(jti).getTime() > clock.now().getTime() + TOLERANCE_MS)
        throw new ImidError('invalid_request', 'jti is not that of a token of this service.', {
          errors: [{ in: 'body', pointer: '#/jti', detail: 'is not that of a token of this service' }],
        });
      const expiresAt = expiryOf(jti);
      if (expiresAt < clock.now()) return; // over anyway
      await revoke(() => revokeToken(kysely, appId, jti, expiresAt), NO_APP);
    },

    /** Throws `not_found` where the user is gone. */
    revokeUser: (appId: AppId, identityId: number): Promise<void> =>
      revoke(() => revokeUser(kysely, appId, identityId), NO_USER),

    /** Throws `not_found` where the user is gone. */
    revokeDevice: (appId: AppId, identityId: number, deviceId: string): Promise<void> =>
      revoke(() => revokeDevice(kysely, appId, identityId, deviceId, expiryOf), NO_USER),

    /** Throws `not_found` where the app is gone. */
    revokeApp: (appId: AppId): Promise<void> => revoke(() => revokeApp(kysely, appId), NO_APP),
  };
}

const NO_APP = 'There is no such app.';
const NO_USER = 'Nobody in this app has this address.';

/** When the token is over at the latest. */
const expiryOf = (jti: string): Date => new Date(timeOfUuid(jti).getTime() + LIFE_MS);

/** What was revoked lately, but for single tokens. */
function createRecent() {
  const heard = new Map<string, { from: number; at: number }>();
  const hits = (key: string, issuedMs: number): boolean => issuedMs < (heard.get(key)?.from ?? -Infinity);
  return {
    add(revocation: Exclude<Revocation, { jti: string }>, at: number): boolean {
      const key = keyOf(revocation.appId, revocation.identityId, revocation.deviceId);
      const from = revocation.tokensFrom.getTime();
      const known = heard.get(key);
      if (known && known.from >= from) return false;
      heard.set(key, { from, at });
      return true;
    },
    ends({ appId, claims, identityIds, deviceId }: Holding): boolean {
      if (heard.size === 0) return false;
      const issuedMs = claims.issuedAt.getTime();
      if (hits(keyOf(appId, undefined, undefined), issuedMs)) return true;
      for (const id of identityIds)
        if (hits(keyOf(appId, id, undefined), issuedMs) || hits(keyOf(appId, id, deviceId), issuedMs))
          return true;
      return false;
    },
    /** Forgets what was heard of by a time of the monotonic clock. */
    dropUntil(ms: number): void {
      for (const [key, { at }] of heard) if (at <= ms) heard.delete(key);
    },
  };
}

const keyOf = (appId: AppId, identityId: number | undefined, deviceId: string | undefined): string =>
  `${appId}/${identityId ?? ''}/${deviceId ?? ''}`;
