// Huawei's Push Kit, as far as we use it: any other field is refused.

import { Type } from 'typebox';
import type { HuaweiCredentials } from '../../src/push/huawei.ts';
import { formIn, ok, strict, target, type Vendor } from './vendor_stand_in.ts';

export const huaweiCredentials: HuaweiCredentials = {
  clientId: '104529',
  clientSecret: 'huawei-s3cret',
  appName: 'Chat',
  category: 'IM',
  channelId: 'messages',
  badgeClass: 'com.example.MainActivity',
};

const Notice = strict({
  title: Type.String({ minLength: 1 }),
  body: Type.String({ minLength: 1 }),
  click_action: strict({ type: Type.Literal(3) }),
  importance: Type.Enum(['LOW', 'NORMAL']),
  channel_id: Type.Optional(Type.String()),
  notify_id: Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }),
  badge: Type.Optional(
    strict({ set_num: Type.Integer({ minimum: 0, maximum: 99 }), class: Type.String({ minLength: 1 }) }),
  ),
});
const code = (number: string, msg = 'Something') => ({ code: number, msg, requestId: '1600' });

export const huawei: Vendor = {
  schema: strict({
    message: strict({
      data: Type.String(),
      android: strict({
        ttl: Type.String({ pattern: '^[1-9]\\d{0,6}s$' }),
        target_user_type: Type.Enum([0, 1]),
        category: Type.Optional(Type.Enum(['IM', 'MARKETING'])),
        collapse_key: Type.Optional(Type.Integer({ minimum: -1, maximum: 100 })),
        notification: Type.Optional(Notice),
      }),
      token: Type.Array(Type.String({ minLength: 1 }), { minItems: 1, maxItems: 1_000 }),
    }),
  }),
  sendPath: `/v1/${huaweiCredentials.clientId}/messages:send`,
  contentType: 'application/json',
  messageOf: ({ body }) => JSON.parse(body.toString()),
  tokenOf: ({ headers }) => /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1],
  faultOf({ message }) {
    if (Buffer.byteLength(JSON.stringify({ message: { ...message, token: undefined } })) > 4_096)
      return 'too large';
    if (Number.parseInt(message.android.ttl, 10) > 1_296_000) return 'ttl';
    return undefined;
  },
  auth: {
    path: '/oauth2/v3/token',
    contentType: 'application/x-www-form-urlencoded',
    faultOf(asked) {
      const { grant_type: type, client_id: id, client_secret: secret, ...others } = formIn(asked);
      if (type !== 'client_credentials' || Object.keys(others).length > 0) return 'another grant';
      if (id !== huaweiCredentials.clientId || secret !== huaweiCredentials.clientSecret) return 'secret';
      return undefined;
    },
    given: (token) => ok({ access_token: token, expires_in: 3_600, token_type: 'Bearer' }),
    refused: { status: 401, body: { error: 1101, sub_error: 20001, error_description: 'invalid client' } },
  },
  sent: ok(code('80000000', 'Success')),
  gone: ok(code('80100000', JSON.stringify({ success: 0, failure: 1, illegal_tokens: [target.token] }))),
  throttled: { status: 503, body: '' },
  tokenRefused: { status: 401, body: code('80200003') },
  wrong: { status: 400, body: code('80100003') },
};
