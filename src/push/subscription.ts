// The subscription of a browser to Web Push, as `JSON.stringify(subscription)` writes it: parsed and found fault with, but for
// whether its endpoint may be asked, which `outbound` says.

import { ECDH } from 'node:crypto';
import { parseObject } from './outcomes.ts';

export interface Subscription {
  endpoint: string;
  keys: { p256dh: string; auth: string };
}

const AUTH_BYTES = 16;
const P256DH_BYTES = 65;
const MAX_LENGTH = 4_096;

/** The fault is in words that end a sentence about the subscription, and tells nothing of what it holds. */
export function parseSubscription(text: string): Subscription | { fault: string } {
  if (text.length > MAX_LENGTH) return { fault: `must be at most ${MAX_LENGTH} characters` };
  const { endpoint, keys } = parseObject(text) ?? {};
  if (typeof endpoint !== 'string' || typeof keys !== 'object' || keys === null)
    return { fault: 'must be a PushSubscription as JSON, with endpoint and keys' };
  const { p256dh, auth } = keys as Record<string, unknown>;
  if (typeof auth !== 'string' || bytesOf(auth)?.length !== AUTH_BYTES)
    return { fault: `must have ${AUTH_BYTES} bytes in base64url as keys.auth` };
  if (typeof p256dh !== 'string' || !isPoint(p256dh))
    return { fault: 'must have an uncompressed point of P-256 in base64url as keys.p256dh' };
  return { endpoint, keys: { p256dh, auth } };
}

/** Some browsers pad what they write. */
function bytesOf(text: string): Buffer | undefined {
  return /^[\w-]+={0,2}$/.test(text) ? Buffer.from(text, 'base64url') : undefined;
}

function isPoint(text: string): boolean {
  const bytes = bytesOf(text);
  if (bytes?.length !== P256DH_BYTES || bytes[0] !== 4) return false;
  try {
    ECDH.convertKey(bytes, 'prime256v1');
    return true;
  } catch {
    return false;
  }
}
