// Push through a sender that the customer brings: a request to its URL for each device, signed by Standard Webhooks 1.0.
// docs/push-webhook.md says what it gets, and what its answers come to.

import { hash, randomBytes } from 'node:crypto';
import { Type, type Static } from 'typebox';
import type { Provider } from './contract.ts';
import { writeWithin } from './fitting.ts';
import { createSignedPost, type SignedPostOptions } from './signed_post.ts';

const QUAD = '[A-Za-z0-9+/]{4}';
const TWO = '[A-Za-z0-9+/]{2}==';
const THREE = '[A-Za-z0-9+/]{3}=';
/** 24 to 64 bytes. */
const SECRET = `^whsec_(?:(?:${QUAD}){8,20}(?:${TWO}|${THREE})?|(?:${QUAD}){21}(?:${TWO})?)$`;

const EXAMPLE_SECRET = 'whsec_bm90IGEgc2VjcmV0LCBidXQgMzIgYnl0ZXMgbG9uZyE=';

export const WebhookSecrets = Type.Array(
  Type.String({
    pattern: SECRET,
    description: '`whsec_` and 24 to 64 bytes in base64.',
    examples: [EXAMPLE_SECRET],
  }),
  {
    minItems: 1,
    maxItems: 2,
    description: 'Every one of them signs, so that one can take the place of another without a gap.',
  },
);

export const WebhookCredentials = Type.Object(
  {
    url: Type.String({ maxLength: 2_000 }),
    secrets: WebhookSecrets,
  },
  { additionalProperties: false },
);
export type WebhookCredentials = Static<typeof WebhookCredentials>;

const SECRET_BYTES = 32;
/** Standard Webhooks asks for less than 20 kB. */
const BODY_MAX_BYTES = 16 * 1024;

export function createWebhookSecret(): string {
  return `whsec_${randomBytes(SECRET_BYTES).toString('base64')}`;
}

export function createWebhook(credentials: WebhookCredentials, options: SignedPostOptions): Provider {
  const { now } = options;
  const { post, close } = createSignedPost(credentials, options);

  return {
    send: (notification, { token, environment }) =>
      post(idOf(notification.id, notification.isSilent ? 'silent' : 'shown', token), (timestamp) =>
        writeWithin(BODY_MAX_BYTES, notification, (fitted) => {
          const data = { notification: fitted, device: { token, environment } };
          return JSON.stringify({ type: 'push', timestamp, data });
        }),
      ),

    async check() {
      const outcome = await post(idOf('check', now().toISOString()), (timestamp) =>
        JSON.stringify({ type: 'check', timestamp, data: {} }),
      );
      if (outcome.kind === 'sent') return undefined;
      return 'reason' in outcome
        ? outcome.reason
        : 'refused: the webhook answers 410, which only a device can be';
    },

    async close() {
      close();
    },
  };
}

/** The same at another try, and another one for another device. */
function idOf(...parts: string[]): string {
  return `push_${hash('sha256', JSON.stringify(parts), 'base64url')}`;
}
