// FCM and Google's token endpoint: the assertion, the access token, every field of the message and how many collapse keys a
// device has are looked at as the real ones do.

import { generateKeyPairSync } from 'node:crypto';
import { jwtVerify } from 'jose';
import type { FcmCredentials } from '../../src/push/fcm.ts';
import { isFcmRequest } from './fcm_schema.ts';
import { Refused, startHttpStandIn, type Answer, type Asked, type Running } from './http_stand_in.ts';

const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const PROJECT = 'chat-1f2e';
export const TOKEN_SECONDS = 3_599;

export const account: FcmCredentials = {
  type: 'service_account',
  project_id: PROJECT,
  private_key_id: '9f8e7d6c',
  private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
  client_email: `push@${PROJECT}.iam.gserviceaccount.com`,
};

/** An answer of FCM, as of 2026. */
export function fcmError(
  status: number,
  code: string,
  more: { fcm?: string; message?: string; field?: string } = {},
) {
  const details: object[] = [];
  if (more.fcm)
    details.push({ '@type': 'type.googleapis.com/google.firebase.fcm.v1.FcmError', errorCode: more.fcm });
  if (more.field)
    details.push({
      '@type': 'type.googleapis.com/google.rpc.BadRequest',
      fieldViolations: [{ field: more.field, description: 'is bad' }],
    });
  const message = more.message ?? 'Something is wrong.';
  return { status, body: { error: { code: status, message, status: code, details } } } satisfies Answer;
}

export async function startFcm(t: Running, now: () => Date = () => new Date()) {
  const messages: any[] = [];
  const tokens = new Map<string, number>();
  const collapseKeys = new Map<string, Set<string>>();
  const throttled = fcmError(429, 'RESOURCE_EXHAUSTED', { fcm: 'QUOTA_EXCEEDED' });

  async function mint({ headers, body }: Asked): Promise<Answer> {
    const invalid = (why: string): Refused =>
      new Refused(why, { status: 400, body: { error: 'invalid_grant', error_description: why } });
    if (headers['content-type'] !== 'application/x-www-form-urlencoded') throw invalid('not a form');
    const {
      grant_type: type,
      assertion,
      ...others
    } = Object.fromEntries(new URLSearchParams(body.toString()));
    if (type !== 'urn:ietf:params:oauth:grant-type:jwt-bearer' || Object.keys(others).length > 0)
      throw invalid('another grant');
    const { payload, protectedHeader } = await jwtVerify(assertion!, publicKey, {
      algorithms: ['RS256'],
      issuer: account.client_email,
      audience: `${google.url}/token`,
      requiredClaims: ['iat', 'exp'],
      typ: 'JWT',
      currentDate: now(),
      maxTokenAge: 300,
    }).catch((error: Error) => {
      throw invalid(error.message);
    });
    if (protectedHeader.kid !== account.private_key_id) throw invalid('another key');
    if (payload.exp! - payload.iat! > 3_600) throw invalid('too long a life');
    if (payload['scope'] !== 'https://www.googleapis.com/auth/firebase.messaging')
      throw invalid('another scope');
    const token = `ya29.${google.asked.length}`;
    tokens.set(token, now().getTime() + TOKEN_SECONDS * 1_000);
    return { status: 200, body: { access_token: token, expires_in: TOKEN_SECONDS, token_type: 'Bearer' } };
  }

  function send({ method, path, headers, body }: Asked): Answer {
    if (method !== 'POST' || path !== `/v1/projects/${PROJECT}/messages:send`)
      throw new Refused(path, { status: 404, body: '<html>' });
    const endsAt = tokens.get(/^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1] ?? '');
    if (!endsAt || endsAt <= now().getTime()) throw new Refused('bearer', fcmError(401, 'UNAUTHENTICATED'));
    const request = JSON.parse(body.toString());
    const bad = (why: string): Refused =>
      new Refused(why, fcmError(400, 'INVALID_ARGUMENT', { fcm: 'INVALID_ARGUMENT' }));
    if (headers['content-type'] !== 'application/json') throw bad('content-type');
    if (!isFcmRequest(request)) throw bad(JSON.stringify(isFcmRequest.errors));
    const { token, topic, ...message } = request.message;
    if ((token === undefined) === (topic === undefined)) throw bad('not one of token and topic');
    if (Buffer.byteLength(JSON.stringify(message)) > 4_096) throw bad('too big');
    if (Number.parseFloat(message.android?.ttl ?? '0') > 2_419_200) throw bad('ttl');
    const { headers: apns, payload } = message.apns ?? {};
    const isBackground = Object.keys(payload?.aps ?? {}).join() === 'content-available';
    if (apns && (apns['apns-push-type'] === 'background') !== isBackground) throw bad('push type');
    if (isBackground && apns['apns-priority'] !== '5') throw bad('background');
    if (Buffer.byteLength(apns?.['apns-collapse-id'] ?? '') > 64) throw bad('apns-collapse-id');
    if (!request.validate_only) {
      const keys = collapseKeys.get(token) ?? new Set();
      if (message.android?.collapse_key) keys.add(message.android.collapse_key);
      if (keys.size > 4) throw bad('more than 4 collapse keys');
      collapseKeys.set(token, keys);
    }
    return { status: 200, body: { name: `projects/${PROJECT}/messages/0:${messages.length}` } };
  }

  const google = await startHttpStandIn(t, mint, {});
  const fcm = await startHttpStandIn(
    t,
    (asked, conduct) => {
      const answer = send(asked);
      const { validate_only: isTry, message } = JSON.parse(asked.body.toString());
      if (conduct === 'accept' && !isTry) messages.push(message);
      return answer;
    },
    {
      gone: fcmError(404, 'NOT_FOUND', { fcm: 'UNREGISTERED', message: 'Requested entity was not found.' }),
      throttled,
      'throttled for 7 s': { ...throttled, headers: { 'retry-after': '7' } },
      'credential refused': fcmError(403, 'PERMISSION_DENIED'),
      nonsense: { status: 200, body: '<html>hello</html>' },
    },
  );
  return {
    ...fcm,
    google: { ...google, endpoint: `${google.url}/token` },
    messages,
    /** Makes every access token worthless. */
    forgetTokens: () => tokens.clear(),
  };
}
