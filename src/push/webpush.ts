// Web Push (RFC 8030), encrypted for the browser (RFC 8291) and signed for its push service (RFC 8292). The endpoint is a URL
// that a client chose: it goes through the guard of such URLs, and what it answers tells nothing of other devices.

import { createECDH, hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { Type, type Static } from 'typebox';
import webpush from 'web-push';
import type { OutboundAnswer } from '../outbound.ts';
import { createAsking, type AskingOptions } from './asking.ts';
import type { Notification, Outcome, Provider } from './contract.ts';
import { writeWithin } from './fitting.ts';
import { outcomeByStatus, refuse, refuseCredential } from './outcomes.ts';
import { parseSubscription } from './subscription.ts';

export const WebPushCredentials = Type.Object(
  {
    publicKey: Type.String({
      pattern: '^[\\w-]{87}$',
      description: 'The applicationServerKey that browsers subscribe with.',
    }),
    privateKey: Type.String({ pattern: '^[\\w-]{43}$' }),
    subject: Type.String({
      pattern: '^(mailto:[^@\\s]+@|https://)[A-Za-z0-9.-]+\\.[A-Za-z]{2,}(/\\S*)?$',
      maxLength: 200,
      description:
        'Whom push services write to when something is wrong: mailto: or https:, and nothing at localhost.',
    }),
  },
  { additionalProperties: false, description: 'VAPID keys, P-256 in base64url.' },
);
export type WebPushCredentials = Static<typeof WebPushCredentials>;

export interface WebPushOptions extends AskingOptions {
  now(): Date;
  /** The hosts, with all below them, that are believed when they refuse the VAPID keys; others in tests. */
  pushServices?: readonly string[] | undefined;
}

const PUSH_SERVICES = [
  'fcm.googleapis.com',
  'push.services.mozilla.com',
  'push.apple.com',
  'notify.windows.com',
];
const PAYLOAD_MAX_BYTES = 3_993;
/** Mozilla's, the shortest. */
const TTL_MAX_SECONDS = 2_592_000;
/** 32 characters, and base64url that can be decoded, on which Apple insists. */
const TOPIC_LENGTH = 32;
const VAPID_SECONDS = 12 * 3_600;
const VAPID_KEPT_MS = 3_600_000;
const VAPID_KEPT_MAX = 100;

export function createWebPushKeys(): Pick<WebPushCredentials, 'publicKey' | 'privateKey'> {
  return webpush.generateVAPIDKeys();
}

export function createWebPush(
  { publicKey, privateKey, subject }: WebPushCredentials,
  { now, pushServices = PUSH_SERVICES, ...options }: WebPushOptions,
): Provider {
  const asking = createAsking(options);
  const authorizations = new LRUCache<string, { header: string; at: number }>({ max: VAPID_KEPT_MAX });
  const fault = faultOfKeys({ publicKey, privateKey });

  /** The same for an hour: push services remember what they have verified. */
  function authorizationFor(origin: string): string {
    const kept = authorizations.get(origin);
    const at = now().getTime();
    if (kept && at - kept.at < VAPID_KEPT_MS) return kept.header;
    const expiry = Math.floor(at / 1_000) + VAPID_SECONDS;
    const { Authorization: header } = webpush.getVapidHeaders(
      origin,
      subject,
      publicKey,
      privateKey,
      'aes128gcm',
      expiry,
    );
    authorizations.set(origin, { header, at });
    return header;
  }

  function outcomeOf(answer: OutboundAnswer, host: string): Outcome {
    const { status } = answer;
    if (status >= 200 && status < 300) return { kind: 'sent' };
    if (status === 404 || status === 410) return { kind: 'gone' };
    if (status !== 401 && status !== 403) return outcomeByStatus(answer, now());
    const text = answer.body.toString();
    const isOfAll = /jwt/i.test(text) && !/mismatch|correspond/i.test(text);
    if (isOfAll && pushServices.some((service) => host === service || host.endsWith(`.${service}`)))
      return refuseCredential(
        'the push service refuses the VAPID keys, their subject, or the clock of this machine',
      );
    return refuse(
      'other_keys: the push service refuses the VAPID keys: the browser may have subscribed with others',
    );
  }

  return {
    async send(notification, { token }) {
      if (fault !== undefined) return refuseCredential(fault);
      const subscription = parseSubscription(token);
      if ('fault' in subscription) return refuse(`refused: the subscription ${subscription.fault}`);
      const { endpoint } = subscription;
      const urlFault = options.outbound.faultOf(endpoint);
      if (urlFault !== undefined) return refuse(`refused: the endpoint of the subscription ${urlFault}`);
      const { collapseId, priority, ttlSeconds } = notification;
      const { origin, hostname } = new URL(endpoint);
      // Encrypted by the keys only; of the endpoint's path the library makes exceptions of its own.
      const { headers, body } = webpush.generateRequestDetails(
        { endpoint: origin, keys: subscription.keys },
        writeWithin(PAYLOAD_MAX_BYTES, notification, writePayload),
        {
          TTL: Math.min(ttlSeconds, TTL_MAX_SECONDS),
          urgency: priority,
          ...(collapseId !== undefined && { topic: topicOf(collapseId) }),
        },
      );
      const signed = { ...headers, Authorization: authorizationFor(origin) };
      const answer = await asking.post(endpoint, signed, body);
      return 'kind' in answer ? answer : outcomeOf(answer, hostname);
    },

    async check() {
      return fault;
    },

    async close() {
      asking.close();
    },
  };
}

/** Why the two are no pair, in words. */
function faultOfKeys({ publicKey, privateKey }: Pick<WebPushCredentials, 'publicKey' | 'privateKey'>) {
  try {
    const ecdh = createECDH('prime256v1');
    ecdh.setPrivateKey(privateKey, 'base64url');
    if (ecdh.getPublicKey('base64url') === publicKey) return undefined;
  } catch {
    return 'privateKey must be a private key of P-256 in base64url';
  }
  return 'publicKey must be that of privateKey';
}

/** What the app's service worker gets. */
function writePayload({ id, title, body, data, badge, collapseId, isSilent }: Notification): string {
  return JSON.stringify({ id, title, body, data, badge, collapseId, isSilent });
}

/** Tells the push service nothing. */
function topicOf(collapseId: string): string {
  return hash('sha256', collapseId, 'base64url').slice(0, TOPIC_LENGTH);
}
