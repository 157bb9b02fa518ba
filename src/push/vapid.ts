// The keys by which push services know an app (VAPID, RFC 8292), and what they sign: nothing of the message, only whose push
// service it is for.

import { createECDH } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { Type, type Static } from 'typebox';
import webpush from 'web-push';

export const WebPushCredentials = Type.Object(
  {
    publicKey: Type.String({
      pattern: '^[\\w-]{87}$',
      description: 'The applicationServerKey that browsers subscribe with.',
    }),
    privateKey: Type.String({
      pattern: '^[\\w-]{43}$',
      description: 'Of 32 bytes, in base64url without padding.',
    }),
    // Apple takes nothing at localhost.
    subject: Type.String({
      pattern: '^(mailto:[^@\\s]+@|https://)[A-Za-z0-9.-]+\\.[A-Za-z]{2,}(/\\S*)?$',
      maxLength: 200,
      description:
        'Whom push services write to when something is wrong: mailto: or https:, of a real domain.',
    }),
  },
  { additionalProperties: false, description: 'VAPID keys, P-256 in base64url.' },
);
export type WebPushCredentials = Static<typeof WebPushCredentials>;
type Keys = Pick<WebPushCredentials, 'publicKey' | 'privateKey'>;

const LIFE_SECONDS = 12 * 3_600;
const KEPT_MS = 3_600_000;
const KEPT_MAX = 100;

export function createWebPushKeys(): Keys {
  return webpush.generateVAPIDKeys();
}

/** Why the two are no pair, in words. */
export function faultOfKeys({ publicKey, privateKey }: Keys): string | undefined {
  try {
    const ecdh = createECDH('prime256v1');
    ecdh.setPrivateKey(privateKey, 'base64url');
    return ecdh.getPublicKey('base64url') === publicKey ? undefined : 'publicKey must be that of privateKey';
  } catch {
    return 'privateKey must be a private key of P-256 in base64url';
  }
}

/** The same of the field that it is about. */
export function faultsOfWebPush(keys: Keys): { pointer: string; detail: string }[] {
  const [field, ...words] = faultOfKeys(keys)?.split(' ') ?? [];
  return field === undefined ? [] : [{ pointer: `/${field}`, detail: words.join(' ') }];
}

/** What goes into `Authorization`, by the origin of a push service: the same for an hour, as they remember what they verified. */
export function createAuthorizations(
  { subject, publicKey, privateKey }: WebPushCredentials,
  now: () => Date,
): (origin: string) => string {
  const kept = new LRUCache<string, { header: string; at: number }>({ max: KEPT_MAX });
  return (origin) => {
    const at = now().getTime();
    const known = kept.get(origin);
    if (known && at - known.at < KEPT_MS) return known.header;
    const exp = Math.floor(at / 1_000) + LIFE_SECONDS;
    const signed = webpush.getVapidHeaders(origin, subject, publicKey, privateKey, 'aes128gcm', exp);
    kept.set(origin, { header: signed.Authorization, at });
    return signed.Authorization;
  };
}
