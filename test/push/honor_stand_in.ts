// Honor's push service, as far as we use it: any other field is refused.

import { Type } from 'typebox';
import type { HonorCredentials } from '../../src/push/honor.ts';
import { formIn, ok, strict, target, type Vendor } from './vendor_stand_in.ts';

export const honorCredentials: HonorCredentials = {
  appId: '104410638',
  clientId: 'honor-client',
  clientSecret: 'honor-s3cret',
  appName: 'Chat',
  badgeClass: 'com.example.MainActivity',
};

const Notice = strict({
  title: Type.String({ minLength: 1 }),
  body: Type.String({ minLength: 1 }),
  clickAction: strict({ type: Type.Literal(3) }),
  importance: Type.Enum(['LOW', 'NORMAL']),
  notifyId: Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }),
  badge: Type.Optional(
    strict({ setNum: Type.Integer({ minimum: 0, maximum: 99 }), badgeClass: Type.String({ minLength: 1 }) }),
  ),
});
const CLOCK_MS = 600_000;

const came = (changes: object) =>
  ok({
    code: 200,
    message: 'Success',
    data: { sendResult: true, requestId: '104-1', failTokens: [], expireTokens: [], ...changes },
  });

export const honor: Vendor = {
  schema: strict({
    data: Type.String(),
    android: strict({
      ttl: Type.String({ pattern: '^[1-9]\\d{0,6}s$' }),
      targetUserType: Type.Enum([0, 1]),
      notification: Type.Optional(Notice),
    }),
    token: Type.Array(Type.String({ minLength: 1 }), { minItems: 1, maxItems: 1_000 }),
  }),
  sendPath: `/api/v1/${honorCredentials.appId}/sendMessage`,
  contentType: 'application/json',
  messageOf: ({ body }) => JSON.parse(body.toString()),
  tokenOf: ({ headers }) => /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1],
  faultOf(message, { headers }, now) {
    if (Buffer.byteLength(JSON.stringify({ ...message, token: undefined })) > 4_096) return 'too large';
    if (Number.parseInt(message.android.ttl, 10) > 1_296_000) return 'ttl';
    if (!(Math.abs(Number(headers['timestamp']) - now.getTime()) < CLOCK_MS)) return 'timestamp';
    return undefined;
  },
  auth: {
    path: '/auth/token',
    contentType: 'application/x-www-form-urlencoded',
    faultOf(asked) {
      const { grant_type: type, client_id: id, client_secret: secret, ...others } = formIn(asked);
      if (type !== 'client_credentials' || Object.keys(others).length > 0) return 'another grant';
      if (id !== honorCredentials.clientId || secret !== honorCredentials.clientSecret) return 'secret';
      return undefined;
    },
    given: (token) => ok({ access_token: token, expires_in: 3_600, token_type: 'Bearer' }),
    refused: { status: 401, body: { error: 'invalid_client' } },
  },
  sent: came({}),
  gone: came({ sendResult: false, expireTokens: [target.token] }),
  throttled: { status: 503, body: '' },
  tokenRefused: ok({ code: 80_200_003, message: 'token expired' }),
  wrong: { status: 400, body: { code: 80_100_003, message: 'wrong' } },
};
