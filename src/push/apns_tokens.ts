// The provider token that proves an app to APNs, a JWT that Apple wants reused: it throttles a key that shows more than one
// in 20 minutes, from however many processes. So a token is made for a slot of the clock, and all of a slot share one text.

import { createPrivateKey } from 'node:crypto';
import { SignJWT } from 'jose';
import { LRUCache } from 'lru-cache';
import { keyFingerprint, type ApnsCredentials } from './apns_credentials.ts';

/** Where those who share a key agree on one token. ES256 signs at random: the same claims don't make the same text. */
export interface SharedTokens {
  /**
   * The text that was given under this name first, from `sign` where there was none. A name holds a fingerprint of the
   * private key, so that nobody comes by a token by claiming another's ids. Its token is of no use after an hour.
   */
  get(name: string, sign: () => Promise<string>): Promise<string>;
}

export interface ApnsTokens {
  get(): Promise<string>;
  /** Another one than `refused`, which Apple calls too old; undefined when one more would come too soon. */
  renew(refused: string): Promise<string | undefined>;
}

const SLOT_SECONDS = 1_800;
/** A slot's token is used from here on, so that it isn't of the future to those whose clock is behind. */
const LAG_SECONDS = 300;
const SHARED_MAX = 10_000;

/** Among the providers of one process; `agree`: among processes, too. */
export function createSharedTokens(agree: SharedTokens['get'] = (_name, sign) => sign()): SharedTokens {
  const texts = new LRUCache<string, Promise<string>>({ max: SHARED_MAX });
  return {
    get(name, sign) {
      const known = texts.get(name);
      if (known) return known;
      const text = agree(name, sign);
      texts.set(name, text);
      text.catch(() => texts.delete(name));
      return text;
    },
  };
}

/** Tokens are 5 to 35 minutes old when they are used, and replaced every 30. */
export function createApnsTokens(
  { keyId, teamId, privateKey }: Pick<ApnsCredentials, 'keyId' | 'teamId' | 'privateKey'>,
  { now, shared }: { now(): Date; shared: SharedTokens },
): ApnsTokens {
  const key = createPrivateKey(privateKey);
  const name = `${teamId}.${keyId}.${keyFingerprint(key)}`;
  let renewedSlot: number | undefined;

  const seconds = (): number => Math.floor(now().getTime() / 1_000);

  const sign = (iat: number): Promise<string> =>
    new SignJWT()
      .setProtectedHeader({ alg: 'ES256', kid: keyId })
      .setIssuer(teamId)
      .setIssuedAt(iat)
      .sign(key);

  function currentSlot(): number {
    return Math.floor((seconds() - LAG_SECONDS) / SLOT_SECONDS) * SLOT_SECONDS;
  }

  function get(): Promise<string> {
    const slot = currentSlot();
    return renewedSlot === slot
      ? shared.get(`${name}.${slot}.renewed`, () => sign(seconds()))
      : shared.get(`${name}.${slot}`, () => sign(slot));
  }

  return {
    get,

    async renew(refused) {
      const current = await get();
      if (current !== refused) return current;
      if (renewedSlot === currentSlot()) return undefined;
      renewedSlot = currentSlot();
      return get();
    },
  };
}
