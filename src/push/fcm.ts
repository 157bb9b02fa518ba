// Firebase Cloud Messaging, HTTP v1. A token is taken for dead only where FCM says so of the token itself.

import { Type, type Static } from 'typebox';
import { createAccessTokens } from './access_tokens.ts';
import { createAsking, type AskingOptions } from './asking.ts';
import type { Outcome, Provider } from './contract.ts';
import { fcmOutcome } from './fcm_answers.ts';
import { writeFcmSend } from './fcm_message.ts';
import { faultOfGoogleKey, fetchGoogleToken } from './google_token.ts';

/** The JSON file of a service account as Google hands it out, of which only this is used. */
export const FcmCredentials = Type.Object(
  {
    type: Type.Literal('service_account'),
    project_id: Type.String({
      pattern: '^[a-z0-9][a-z0-9.:-]{0,99}$',
      description: 'The id of the Firebase project, which is not its name.',
    }),
    client_email: Type.String({ pattern: '^[^@\\s]{1,200}@[^@\\s]{1,200}$' }),
    private_key: Type.String({
      pattern: '^-----BEGIN PRIVATE KEY-----',
      maxLength: 10_000,
      description: 'RSA, PKCS#8 in PEM.',
    }),
    private_key_id: Type.Optional(Type.String({ maxLength: 100 })),
  },
  { description: 'The JSON file of a service account of the Firebase project, as it was downloaded.' },
);
export type FcmCredentials = Static<typeof FcmCredentials>;

/** What the schema can't say: whether the private key is one. */
export function faultsOfFcm({ private_key: pem }: FcmCredentials): { pointer: string; detail: string }[] {
  const detail = faultOfGoogleKey(pem);
  return detail ? [{ pointer: '/private_key', detail }] : [];
}

export interface FcmOptions extends AskingOptions {
  now(): Date;
  /** Other ones in tests: what the credentials say in `token_uri` never counts. */
  endpoint?: string | undefined;
  tokenEndpoint?: string | undefined;
}

const ENDPOINT = 'https://fcm.googleapis.com';
const TOKEN_ENDPOINT = 'https://oauth2.googleapis.com/token';

export function createFcm(
  account: FcmCredentials,
  { now, endpoint = ENDPOINT, tokenEndpoint = TOKEN_ENDPOINT, ...options }: FcmOptions,
): Provider {
  const asking = createAsking(options);
  const tokens = createAccessTokens({
    name: 'Google',
    now,
    fetch: () => fetchGoogleToken({ asking, now }, tokenEndpoint, account),
  });
  const url = `${endpoint}/v1/projects/${encodeURIComponent(account.project_id)}/messages:send`;

  /** FCM has taken a notification to a token of this project. */
  let isProven = false;

  const post = (body: string): Promise<Outcome> =>
    tokens.use(async (token) => {
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
      const answer = await asking.post(url, headers, body);
      return 'kind' in answer ? answer : fcmOutcome(answer, { now: now(), isProven });
    });

  return {
    async send(notification, { token }) {
      const outcome = await post(writeFcmSend(notification, token, now()));
      isProven ||= outcome.kind === 'sent';
      return outcome;
    },

    /** By what is sent to no one: a topic, and only to be validated. */
    async check() {
      const outcome = await post(JSON.stringify({ validate_only: true, message: { topic: 'imid-check' } }));
      return 'reason' in outcome ? outcome.reason : undefined;
    },

    async close() {
      asking.close();
    },
  };
}
