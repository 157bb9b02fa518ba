// What FCM's answers come to, by its own code of the error. A token is dropped only where FCM says it of the token itself.

import type { OutboundAnswer } from '../outbound.ts';
import type { Outcome } from './contract.ts';
import { outcomeByStatus, parseObject, postpone, refuse, refuseCredential } from './outcomes.ts';

const FCM_ERROR = 'type.googleapis.com/google.firebase.fcm.v1.FcmError';
const BAD_REQUEST = 'type.googleapis.com/google.rpc.BadRequest';
const MESSAGE_NAME = /^projects\/[^/\s]{1,100}\/messages\/\S{1,200}$/;
/** What FCM asks for where it names no time. */
const QUOTA_RETRY_MS = 60_000;

export interface Circumstances {
  now: Date;
  /** FCM has taken a notification to a token of this project. */
  isProven: boolean;
}

/** `renew`: another access token may do. */
export function fcmOutcome(answer: OutboundAnswer, circumstances: Circumstances): Outcome | 'renew' {
  if (answer.status === 200) {
    const name = parseObject(answer.body)?.['name'];
    if (typeof name === 'string' && MESSAGE_NAME.test(name)) return { kind: 'sent', providerId: name };
    return { kind: 'retry', reason: "malformed: FCM answers 200 without the message's name" };
  }
  const error = parseError(answer);
  if (answer.status === 401 && !error?.isFcm) return 'renew';
  if (error && Object.hasOwn(reactions, error.code))
    return reactions[error.code]!({ ...error, ...circumstances, answer });
  return outcomeByStatus(answer, circumstances.now, 'FCM');
}

interface FcmError {
  code: string;
  /** It is FCM's own code, not that of whatever stands before it. */
  isFcm: boolean;
  message: string;
  /** What was found fault with. */
  fields: string[];
}

interface Refusal extends FcmError, Circumstances {
  answer: OutboundAnswer;
}

const throttle = ({ answer, now }: Refusal): Outcome =>
  postpone(answer, now, "throttled: FCM's quota of the project or of the device is used up", QUOTA_RETRY_MS);

/** By FCM's code. Clients bring tokens of any kind, so that none may say that the credential is bad by its own badness. */
const reactions: Readonly<Record<string, (refusal: Refusal) => Outcome>> = {
  UNREGISTERED: () => ({ kind: 'gone' }),
  INVALID_ARGUMENT({ message, fields }) {
    if (fields.includes('message.token') || /registration token/i.test(message)) return { kind: 'gone' };
    if (/too big|too large|payload size/i.test(message))
      return refuse('too_large: FCM takes at most 4096 bytes');
    const named = fields.filter((field) => /^[\w.[\]]{1,100}$/.test(field));
    return refuse(`refused: FCM finds fault with ${named.join(', ') || 'the message'}`);
  },
  // Of a token it says UNREGISTERED.
  NOT_FOUND: () => refuse('unknown_project: FCM knows no project of this project_id'),
  // Where nothing else was taken, it may as well be the service account that is of another project.
  SENDER_ID_MISMATCH: ({ isProven }) =>
    isProven
      ? { kind: 'gone' }
      : refuse('wrong_app: the token is of another Firebase project than the service account'),
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

function parseError({ body }: OutboundAnswer): FcmError | undefined {
  const error = parseObject(body)?.['error'] as Record<string, unknown> | null | undefined;
  if (typeof error !== 'object' || error === null) return undefined;
  const details = (Array.isArray(error['details']) ? error['details'] : []) as Record<string, unknown>[];
  const detailOf = (type: string) => details.find((detail) => detail?.['@type'] === type);
  const fcm = detailOf(FCM_ERROR)?.['errorCode'];
  const violations: unknown = detailOf(BAD_REQUEST)?.['fieldViolations'];
  return {
    code: String(fcm ?? error['status']),
    isFcm: typeof fcm === 'string',
    message: String(error['message']),
    fields: (Array.isArray(violations) ? violations : []).map((each) => String(each?.field)),
  };
}
