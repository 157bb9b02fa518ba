// Web Push (RFC 8030), encrypted for the browser (RFC 8291) and signed for its push service (RFC 8292). The endpoint is a URL
// that a client chose: it goes through the guard of such URLs, and what it answers tells nothing of other devices.

import { hash } from 'node:crypto';
import webpush from 'web-push';
import type { OutboundAnswer } from '../outbound.ts';
import { createAsking, type AskingOptions } from './asking.ts';
import type { Notification, Outcome, Provider } from './contract.ts';
import { writeWithin } from './fitting.ts';
import { outcomeByStatus, refuse, refuseCredential } from './outcomes.ts';
import { parseSubscription } from './subscription.ts';
import { createAuthorizations, faultOfKeys, type WebPushCredentials } from './vapid.ts';

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

export function createWebPush(
  credentials: WebPushCredentials,
  { now, pushServices = PUSH_SERVICES, ...options }: WebPushOptions,
): Provider {
  const asking = createAsking(options);
  const authorizationFor = createAuthorizations(credentials, now);
  const fault = faultOfKeys(credentials);

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

/** What the app's service worker gets. */
function writePayload({ id, title, body, data, badge, collapseId, isSilent }: Notification): string {
  return JSON.stringify({ id, title, body, data, badge, collapseId, isSilent });
}

/** Tells the push service nothing. */
function topicOf(collapseId: string): string {
  return hash('sha256', collapseId, 'base64url').slice(0, TOPIC_LENGTH);
}
