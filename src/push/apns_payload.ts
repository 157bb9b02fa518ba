// A notification in APNs' words: the headers and at most 4096 bytes of JSON. Words are shortened to fit, data never is.

import { hash } from 'node:crypto';
import { sensitiveHeaders } from 'node:http2';
import type { Notification, Target } from './contract.ts';

/** Refused here, since Apple would, or would take it for something else. */
export interface Unsendable {
  reason: string;
}

export const PAYLOAD_MAX_BYTES = 4_096;
/** Apple keeps nothing for longer. */
const TTL_MAX_SECONDS = 30 * 86_400;
/** Of the room for words, what a title keeps however long the body is. */
const TITLE_SHARE = 1 / 4;
const ELLIPSIS = '…';
const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' });

/** Apple's table of header compression is small: what each request has another one of, and what is secret, stays out. */
const UNINDEXED = {
  [sensitiveHeaders]: [':path', 'authorization', 'apns-id', 'apns-expiration', 'apns-collapse-id'],
};

export interface ApnsHeadersOptions {
  bundleId: string;
  /** The provider token. */
  jwt: string;
  now: Date;
}

/** By name and value in turn. */
export function apnsHeaders(
  notification: Notification,
  { token }: Target,
  { bundleId, jwt, now }: ApnsHeadersOptions,
): string[] {
  const { id, collapseId, priority, ttlSeconds, isSilent } = notification;
  const isUrgent = priority === 'high' && !isSilent && isSeen(notification);
  const ttl = Math.min(ttlSeconds, TTL_MAX_SECONDS);
  const expiration = ttl > 0 ? Math.floor(now.getTime() / 1_000) + ttl : 0;
  // prettier-ignore
  const headers = [
    ':method', 'POST',
    ':path', `/3/device/${token.toLowerCase()}`,
    'authorization', `bearer ${jwt}`,
    'apns-topic', bundleId,
    'apns-push-type', isSeen(notification) ? 'alert' : 'background',
    'apns-priority', isUrgent ? '10' : '5',
    'apns-id', apnsId(id, token),
    'apns-expiration', String(expiration),
  ];
  if (collapseId) headers.push('apns-collapse-id', collapseId);
  return Object.assign(headers, UNINDEXED);
}

export function apnsPayload(notification: Notification): Buffer | Unsendable {
  const { data } = notification;
  if ('aps' in data)
    return { reason: 'refused: data must not hold a field "aps", which is a word of Apple\'s' };
  const words = wordsOf(notification);
  const whole = Buffer.from(JSON.stringify(payloadOf(notification, words)));
  if (whole.length <= PAYLOAD_MAX_BYTES) return whole;
  const { title, body } = words;
  const room = PAYLOAD_MAX_BYTES - sizeOf(payloadOf(notification, { title: title && '', body: body && '' }));
  if (room < 0)
    return { reason: `too_large: data leaves no room in the ${PAYLOAD_MAX_BYTES} bytes that Apple takes` };
  const shortTitle =
    title && shorten(title, Math.max(Math.floor(room * TITLE_SHARE), room - textSize(body ?? '')));
  const shortBody = body && shorten(body, room - textSize(shortTitle ?? ''));
  return Buffer.from(JSON.stringify(payloadOf(notification, { title: shortTitle, body: shortBody })));
}

interface Words {
  title: string | undefined;
  body: string | undefined;
}

/** Half a surrogate pair is no text to Apple; no words are none. */
function wordsOf({ isSilent, title, body }: Notification): Words {
  const word = (text = ''): string | undefined => (isSilent ? '' : text).toWellFormed() || undefined;
  return { title: word(title), body: word(body) };
}

/** Changes something that the user sees, be it only the badge: such a push must not be called `background`. */
function isSeen({ isSilent, title, body, badge }: Notification): boolean {
  return (!isSilent && Boolean(title || body)) || badge !== undefined;
}

function payloadOf(notification: Notification, { title, body }: Words): object {
  const { data, badge, priority, isSilent } = notification;
  const hasWords = title !== undefined || body !== undefined;
  return {
    ...data,
    aps: {
      ...(hasWords && { alert: { title, body } }),
      ...(hasWords && priority === 'high' && { sound: 'default' }),
      badge,
      ...((isSilent || !isSeen(notification)) && { 'content-available': 1 }),
    },
  };
}

/** The same for every try of one notification to one device, so that Apple's records show them as one. */
function apnsId(id: string, token: string): string {
  const hex = hash('sha256', `${id}\0${token}`);
  // Version 8 and the variant of RFC 9562.
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

function sizeOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}

/** Within a JSON string: without its quotes. */
function textSize(text: string): number {
  return sizeOf(text) - 2;
}

/** At most `maxBytes` within a JSON string, cut between characters as people see them. */
export function shorten(text: string, maxBytes: number): string {
  if (textSize(text) <= maxBytes) return text;
  const room = maxBytes - textSize(ELLIPSIS);
  // A unit of UTF-16 takes at least a byte.
  let [fits, fitsNot] = [0, Math.min(text.length, maxBytes) + 1];
  while (fitsNot - fits > 1) {
    const middle = Math.floor((fits + fitsNot) / 2);
    if (textSize(text.slice(0, middle).toWellFormed()) <= room) fits = middle;
    else fitsNot = middle;
  }
  const length = graphemes.segment(text).containing(fits)?.index ?? fits;
  return length === 0 ? '' : `${text.slice(0, length).trimEnd()}${ELLIPSIS}`;
}
