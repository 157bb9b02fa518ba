// The signing keys: one current that signs, two next that stand by, and retired ones that verify what they signed.
// Invariants: a key is shown in the JWKS for as long as anybody may keep a copy of it before it signs (but in an emergency);
// it is shown, and verifies, until the last token that it signed is over.

import type { JWK } from 'jose';
import { ImidError } from '../errors.ts';
import type { Database } from '../store/database.ts';
import {
  changeSigningKeys,
  findSigningKeys,
  type KeyChange,
  type SigningKeyRow,
} from '../store/signing_keys.ts';
import type { Box } from './box.ts';
import {
  makeSigningKey,
  openSigner,
  readSigningKey,
  type Signer,
  type SigningAlg,
  type SigningKey,
} from './signing.ts';
import { DEFAULT_MAX_BLIND_MS, TTL_MAX_SECONDS } from './ttl.ts';

export type { SigningKeyRow } from '../store/signing_keys.ts';

/** For how long others may keep a copy of the JWKS. */
export const JWKS_MAX_AGE_SECONDS = 60;
const STANDING_BY = 2;
/** How often an unknown kid may cost a look at the database. */
const RELOAD_MS = 1_000;
/** For what processes that haven't heard yet sign with a key that was retired, and for clocks. */
const RETIREMENT_MARGIN_MS = 60_000;
const RETIRED_LIFE_MS = TTL_MAX_SECONDS * 1_000 + RETIREMENT_MARGIN_MS;

export interface KeysOptions {
  database: Database;
  box: Box;
  alg?: SigningAlg | undefined;
  /** How old the current key gets before another one signs. */
  maxAgeMs?: number | undefined;
  /** For how long a process may not have heard of a key. */
  maxBlindMs?: number | undefined;
  log: (message: string, error: unknown) => void;
  /** Told when this process has changed the keys. */
  onChange: () => void;
}

export type Keys = Awaited<ReturnType<typeof createKeys>>;

const DEFAULT_MAX_AGE_MS = 30 * 24 * 3_600_000;

export async function createKeys(options: KeysOptions) {
  const { box, alg = 'ES256', maxAgeMs = DEFAULT_MAX_AGE_MS, onChange, log } = options;
  const shownSeconds = JWKS_MAX_AGE_SECONDS + (options.maxBlindMs ?? DEFAULT_MAX_BLIND_MS) / 1_000;
  const { kysely, clock } = options.database;
  let rows: SigningKeyRow[] = [];
  let byKid: ReadonlyMap<string, SigningKey> = new Map();
  let signer: Signer | undefined;
  let isStarted = false;
  let loadedAt = 0;
  let loading: Promise<void> | undefined;

  async function readAll(): Promise<void> {
    loadedAt = performance.now();
    const found = await findSigningKeys(kysely);
    const loaded = new Map<string, SigningKey>();
    for (const row of found) loaded.set(row.kid, byKid.get(row.kid) ?? (await readSigningKey(row)));
    const current = found.find((row) => row.state === 'current');
    rows = found;
    byKid = loaded;
    if (!current || current.kid === signer?.kid) return;
    signer = await openSigner(current, box).catch((error: unknown) => {
      if (!isStarted) throw error;
      // What others signed is still verified.
      log('the signing key could not be opened: no tokens are issued here', error);
      return undefined;
    });
  }

  /** Reads the keys anew; what is asked for meanwhile is read after that. */
  function load(): Promise<void> {
    const after = (loading ?? Promise.resolve()).catch(() => {}).then(readAll);
    loading = after;
    return after;
  }

  async function change<T>(act: (change: KeyChange) => Promise<T>): Promise<T> {
    const done = await changeSigningKeys(kysely, act);
    onChange();
    // It is done: where it can't be read right now, it is within a second, or nobody is trusted.
    await load().catch((error: unknown) => log('the signing keys could not be read', error));
    return done;
  }

  async function topUp({ insert }: KeyChange, count: number): Promise<void> {
    for (let i = 0; i < count; i += 1) await insert(await makeSigningKey(alg, box), 'next');
  }

  const isComplete = (): boolean =>
    signer !== undefined &&
    nextOf(rows).length >= STANDING_BY &&
    nextOf(rows).every((row) => row.alg === alg);

  /**
   * At the first start the keys are made together, so that nobody has seen one without the others. A service that is to sign
   * otherwise has keys of that kind stand by; they sign when they have been shown.
   */
  const complete = (): Promise<void> =>
    changeSigningKeys(kysely, async (making) => {
      if (!making.keys.some((key) => key.state === 'current'))
        await making.insert(await makeSigningKey(alg, box), 'current');
      const next = nextOf(making.keys);
      const others = next.filter((key) => key.alg !== alg);
      await making.delete(others.map((key) => key.kid));
      await topUp(making, STANDING_BY - (next.length - others.length));
    });

  await load();
  if (!isComplete()) {
    await complete();
    await load();
  }
  isStarted = true;

  /** Lets the next key sign; gives back its kid. Throws `conflict` while copies of the JWKS may not have it yet. */
  async function promoteNext(making: KeyChange): Promise<string> {
    const { keys, now } = making;
    const current = keys.find((key) => key.state === 'current')!;
    const next = nextOf(keys)[0]!;
    const waitSeconds = secondsUntilShown(current, next, now, shownSeconds);
    if (waitSeconds > 0) throw tooEarly(waitSeconds);
    await making.retire(current.kid);
    await making.promote(next.kid);
    await topUp(making, 1 + STANDING_BY - nextOf(keys).length);
    return next.kid;
  }

  /** Whether the current key is too old, or of another kind than the service is to sign with. */
  function isOverdue({ keys, now }: Pick<KeyChange, 'keys' | 'now'>): boolean {
    const current = keys.find((key) => key.state === 'current');
    const [next, behind] = nextOf(keys);
    if (!current || !next || secondsUntilShown(current, next, now, shownSeconds) > 0) return false;
    const ageMs = now.getTime() - current.current_since!.getTime();
    // Both, or processes that are to sign differently would take turns.
    return ageMs > maxAgeMs || (current.alg !== alg && next.alg === alg && behind?.alg === alg);
  }

  return {
    /** The key that signs. */
    current(): Signer {
      if (!signer) throw new ImidError('unavailable', 'The signing key could not be opened.');
      return signer;
    },

    /** The service's own key of this kid; undefined when it has none. */
    async find(kid: string): Promise<SigningKey | undefined> {
      if (!byKid.has(kid) && performance.now() - loadedAt > RELOAD_MS) await load();
      return byKid.get(kid);
    },

    /** As `find`, by what is known here. */
    has: (kid: string): boolean => byKid.has(kid),

    /** Public halves, as RFC 7517 section 5 says: of those that sign, will, and did. */
    jwks: (): { keys: JWK[] } => ({ keys: [...byKid.values()].map((key) => key.publicJwk) }),

    list: (): readonly SigningKeyRow[] => rows,

    endOf,

    /** To be called when another process has changed the keys. */
    load,

    /** Lets the next key sign. Throws `conflict` while copies of the JWKS may not have it yet. */
    rotate: (actor: string): Promise<void> =>
      change(async (making) => making.note(actor, 'signing_key.rotate', await promoteNext(making))),

    /**
     * Drops a key at once, with all that it signed; in place of the current one the next signs. Throws `not_found`.
     */
    revoke: (kid: string, actor: string): Promise<void> =>
      change(async (making) => {
        const key = making.keys.find((each) => each.kid === kid);
        if (!key) throw new ImidError('not_found', 'There is no such key.');
        await making.delete([kid]);
        const standing = nextOf(making.keys).filter((each) => each.kid !== kid);
        if (key.state === 'current') {
          const next = standing.shift();
          if (next) await making.promote(next.kid);
          else await making.insert(await makeSigningKey(alg, box), 'current');
        }
        await topUp(making, STANDING_BY - standing.length);
        await making.note(actor, 'signing_key.revoke', kid);
      }),

    /** Rotates where it is time, and drops keys whose last tokens are over. */
    async tend(): Promise<void> {
      const now = clock.now();
      if (isOverdue({ keys: rows, now }))
        await change(async (making) => {
          if (isOverdue(making))
            await making.note('service', 'signing_key.rotate', await promoteNext(making));
        });
      if (rows.some((row) => isOver(row, now)))
        await change((making) =>
          making.delete(making.keys.filter((row) => isOver(row, making.now)).map((row) => row.kid)),
        );
    },
  };
}

/** When nothing that a key has signed is good any more; undefined while it may still sign. */
function endOf({ retired_at: retiredAt }: SigningKeyRow): Date | undefined {
  return retiredAt === null ? undefined : new Date(retiredAt.getTime() + RETIRED_LIFE_MS);
}

function isOver(key: SigningKeyRow, now: Date): boolean {
  const end = endOf(key);
  return end !== undefined && now > end;
}

const nextOf = (keys: readonly SigningKeyRow[]): SigningKeyRow[] =>
  keys.filter((key) => key.state === 'next');

/** Until every copy of the JWKS has the next key, whichever process it is of; one that was made with the current one was never missing. */
function secondsUntilShown(
  current: SigningKeyRow,
  next: SigningKeyRow,
  now: Date,
  shownSeconds: number,
): number {
  if (next.created_at <= current.created_at) return 0;
  const shownMs = now.getTime() - next.created_at.getTime();
  return Math.ceil(shownSeconds - shownMs / 1_000);
}

function tooEarly(seconds: number): ImidError {
  return new ImidError(
    'conflict',
    `Copies of the JWKS may be about that don’t have the next key yet: rotate again in ${seconds} seconds. In an ` +
      'emergency, delete the current key instead.',
  );
}
