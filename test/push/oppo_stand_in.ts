// OPPO's push service, as far as we use it: any other field is refused. It has a feed of dead tokens, which goes on telling
// the same.

import { createHash } from 'node:crypto';
import { Type } from 'typebox';
import type { OppoCredentials } from '../../src/push/oppo_message.ts';
import { formIn, ok, strict, type Vendor } from './vendor_stand_in.ts';

export const oppoCredentials: OppoCredentials = {
  appKey: 'oppo-app-key',
  masterSecret: 'oppo-master-s3cret',
  appName: 'Chat',
  category: 'IM',
  channelId: 'messages',
};

const CLOCK_MS = 600_000;
export const oppoCode = (code: number) => ok({ code, message: 'Something' });
const done = (data: object) => ok({ code: 0, message: 'Success', data });
const FORM = 'application/x-www-form-urlencoded';

export function createOppoVendor(dead: readonly string[]): Vendor {
  let lastToken = '';
  return {
    schema: strict({
      target_type: Type.Literal(2),
      target_value: Type.String({ minLength: 1 }),
      notification: strict({
        app_message_id: Type.String({ minLength: 1, maxLength: 64 }),
        style: Type.Enum([1, 2]),
        title: Type.String({ minLength: 1, maxLength: 50 }),
        content: Type.String({ minLength: 1, maxLength: 128 }),
        click_action_type: Type.Literal(0),
        action_parameters: Type.String({ maxLength: 4_000 }),
        off_line: Type.Boolean(),
        off_line_ttl: Type.Optional(Type.Integer({ minimum: 1, maximum: 864_000 })),
        channel_id: Type.Optional(Type.String()),
        category: Type.Optional(Type.String()),
        notify_level: Type.Optional(Type.Enum([1, 2, 16])),
        notify_id: Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }),
      }),
    }),
    sendPath: '/server/v1/message/notification/unicast',
    contentType: FORM,
    messageOf(asked) {
      const { message, auth_token: _, ...others } = formIn(asked);
      return { ...others, ...JSON.parse(message!) };
    },
    tokenOf: (asked) => formIn(asked)['auth_token'],
    faultOf({
      notification: { style, content, off_line: isKept, off_line_ttl: ttl, category, notify_level },
    }) {
      if (style === 1 && Array.from(content as string).length > 50) return 'content';
      if (isKept !== (ttl !== undefined)) return 'off_line_ttl';
      return notify_level !== undefined && !category ? 'notify_level without category' : undefined;
    },
    auth: {
      path: '/server/v1/auth',
      contentType: FORM,
      faultOf(asked, now) {
        const { app_key: key, timestamp = '', sign, ...others } = formIn(asked);
        if (key !== oppoCredentials.appKey || Object.keys(others).length > 0) return 'app_key';
        if (!(Math.abs(Number(timestamp) - now.getTime()) < CLOCK_MS)) return 'timestamp';
        const wanted = createHash('sha256').update(`${key}${timestamp}${oppoCredentials.masterSecret}`);
        return sign === wanted.digest('hex') ? undefined : 'sign';
      },
      given(token) {
        lastToken = token;
        return done({ auth_token: token, create_time: Date.now() });
      },
      refused: oppoCode(16),
    },
    sent: done({ messageId: '5b8b5e1' }),
    gone: oppoCode(10_001),
    throttled: oppoCode(13),
    tokenRefused: oppoCode(11),
    wrong: oppoCode(41),
    more({ method, path }) {
      const { pathname, searchParams } = new URL(path, 'http://localhost');
      if (method !== 'GET' || pathname !== '/server/v1/feedback/fetch_invalid_regidList') return undefined;
      if (searchParams.get('auth_token') !== lastToken) return oppoCode(11);
      return done({ registration_ids: dead, totalCount: dead.length });
    },
  };
}
