// Firebase Cloud Messaging, HTTP v1. A token is taken for dead only where FCM says so of the token itself.

import { Type, type Static } from 'typebox';
import type { OutboundAnswer } from '../outbound.ts';
import { createAsking, type AskingOptions } from './asking.ts';
import type { Outcome, Provider } from './contract.ts';
import { writeFcmSend } from './fcm_message.ts';
import { createGoogleTokens } from './google_tokens.ts';
import { outcomeByStatus, parseObject, postpone, refuse, refuseCredential } from './outcomes.ts';

/** The JSON file of a service account as Google hands it out, of which only this is used. */
export const FcmCredentials = Type.Object(
  {
    type: Type.Literal('service_account'),
    project_id: Type.String({ pattern: '^[a-z0-9][a-z0-9.:-]{0,99}$' }),
    client_email: Type.String({ pattern: '^[^@\\s]{1,200}@[^@\\s]{1,200}$' }),
    private_key: Type.String({ pattern: '^-----BEGIN PRIVATE KEY-----', maxLength: 10_000 }),
    private_key_id: Type.Optional(Type.String({ maxLength: 100 })),
  },
  { description: 'The JSON file of a service account of the Firebase project, as it was downloaded.' },
);
export type FcmCredentials = Static<typeof FcmCredentials>;

export interface FcmOptions extends AskingOptions {
  now(): Date;
  /** Other ones in tests: what the credentials say in `token_uri` never counts. */
  endpoint?: string | undefined;
  tokenEndpoint?: string | undefined;
}

const ENDPOINT = 'https://fcm.googleapis.com';
const TOKEN_ENDPOINT = 'https://oauth2.googleapis.com/token';
const FCM_ERROR = 'type.googleapis.com/google.firebase.fcm.v1.FcmError';
const BAD_REQUEST = 'type.googleapis.com/google.rpc.BadRequest';
/** What FCM asks for where it names no time. */
const QUOTA_RETRY_MS = 60_000;

export function createFcm(
  account: FcmCredentials,
  { now, endpoint = ENDPOINT, tokenEndpoint = TOKEN_ENDPOINT, ...options }: FcmOptions,
): Provider {
  const asking = createAsking(options);
  const tokens = createGoogleTokens(account, { asking, endpoint: tokenEndpoint, now });
  const url = `${endpoint}/v1/projects/${encodeURIComponent(account.project_id)}/messages:send`;

  async function post(body: string): Promise<Outcome> {
    for (const isLast of [false, true]) {
      const access = await tokens.get();
      if ('kind' in access) return access;
      const headers = { authorization: `Bearer ${access.token}`, 'content-type': 'application/json' };
      const answer = await asking.post(url, headers, body);
      if ('kind' in answer) return answer;
      const error = answer.status === 200 ? undefined : parseError(answer);
      if (answer.status !== 401 || error?.isFcm) return outcomeOf(answer, error, now());
      tokens.forget(access.token);
      if (isLast) break;
    }
    return refuseCredential('FCM refuses the access tokens of this service account');
  }

  return {
    send: (notification, { token }) => post(writeFcmSend(notification, token, now())),

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

interface FcmError {
  code: string;
  /** It is FCM's own code, not that of whatever stands before it. */
  isFcm: boolean;
  message: string;
  /** What was found fault with. */
  fields: string[];
}

function parseError({ body }: OutboundAnswer): FcmError | undefined {
  const error = parseObject(body)?.['error'] as Record<string, unknown> | null | undefined;
  if (typeof error !== 'object' || error === null) return undefined;
  const details = (Array.isArray(error['details']) ? error['details'] : []) as Record<string, unknown>[];
  const detailOf = (type: string) => details.find((detail) => detail?.['@type'] === type);
  const fcm = detailOf(FCM_ERROR)?.['errorCode'];
  const violations = detailOf(BAD_REQUEST)?.['fieldViolations'];
  return {
    code: String(fcm ?? error['status']), // NOT_FOUND alone may be of the project
    isFcm: typeof fcm === 'string',
    message: String(error['message']),
    fields: (Array.isArray(violations) ? violations : []).map(({ field }) => String(field)),
  };
}

function outcomeOf(answer: OutboundAnswer, error: FcmError | undefined, now: Date): Outcome {
  if (answer.status === 200) {
    const name = parseObject(answer.body)?.['name'];
    if (typeof name === 'string') return { kind: 'sent', providerId: name };
    return { kind: 'retry', reason: "malformed: FCM answers 200 without the message's name" };
  }
  return (error && reactions[error.code]?.(error, answer, now)) ?? outcomeByStatus(answer, now);
}

type Reaction = (error: FcmError, answer: OutboundAnswer, now: Date) => Outcome;

const throttle: Reaction = (_error, answer, now) =>
  postpone(answer, now, "throttled: FCM's quota of the project or of the device is used up", QUOTA_RETRY_MS);

/** By FCM's code. Clients bring tokens of any kind, so that none may say that the credential is bad by its own badness. */
const reactions: Readonly<Record<string, Reaction>> = {
  UNREGISTERED: () => ({ kind: 'gone' }),
  INVALID_ARGUMENT({ message, fields }) {
    if (fields.includes('message.token') || /registration token/i.test(message)) return { kind: 'gone' };
    if (/too big|too large|payload size/i.test(message))
      return refuse('too_large: FCM takes at most 4096 bytes');
    const named = fields.filter((field) => /^[\w.[\]]{1,100}$/.test(field));
    return refuse(`refused: FCM finds fault with ${named.join(', ') || 'the message'}`);
  },
  SENDER_ID_MISMATCH: () =>
    refuse('wrong_app: the token is of another Firebase project than the service account'),
  THIRD_PARTY_AUTH_ERROR: () =>
    refuse(
      'upstream_credential: the APNs key or Web Push certificate in the settings of the Firebase project is bad',
    ),
  PERMISSION_DENIED: () =>
    refuseCredential(
      'the service account may not send for this project: enable the Firebase Cloud Messaging API, and give the account ' +
        'the role of its admin',
    ),
  QUOTA_EXCEEDED: throttle,
  RESOURCE_EXHAUSTED: throttle,
};
