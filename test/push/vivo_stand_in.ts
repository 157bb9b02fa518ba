// vivo's push service, as far as we use it: any other field is refused.

import { createHash } from 'node:crypto';
import { Type } from 'typebox';
import type { VivoCredentials } from '../../src/push/vivo.ts';
import { ok, strict, target, type Vendor } from './vendor_stand_in.ts';

export const vivoCredentials: VivoCredentials = {
  appId: '10004',
  appKey: '25509283-3767',
  appSecret: 'vivo-s3cret',
  appName: 'Chat',
  category: 'IM',
};

const CLOCK_MS = 600_000;
export const vivoCode = (result: number, more: object = {}) => ok({ result, desc: 'Something', ...more });
const dead = (status: number) => ({ taskId: '17', invalidUser: { userid: target.token, status } });
export const vivoDead = (status: number) => vivoCode(0, dead(status));

export const vivo: Vendor = {
  schema: strict({
    appId: Type.Literal(vivoCredentials.appId),
    regId: Type.String({ minLength: 1 }),
    notifyType: Type.Enum([1, 2, 3, 4]),
    title: Type.String({ minLength: 1 }),
    content: Type.String({ minLength: 1 }),
    timeToLive: Type.Integer({ minimum: 60, maximum: 86_400 }),
    skipType: Type.Literal(1),
    classification: Type.Enum([0, 1]),
    category: Type.Optional(Type.String()),
    clientCustomMap: Type.Record(Type.String(), Type.String(), { maxProperties: 10 }),
    requestId: Type.String({ minLength: 1, maxLength: 64 }),
    pushMode: Type.Enum([0, 1]),
    notifyId: Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }),
  }),
  sendPath: '/message/send',
  contentType: 'application/json',
  messageOf: ({ body }) => JSON.parse(body.toString()),
  tokenOf: ({ headers }) => headers['authtoken'] as string | undefined,
  faultOf({ title, content, clientCustomMap }) {
    if (widthOf(title) > 40 || widthOf(content) > 100) return 'title or content';
    return Object.entries(clientCustomMap).flat().join('').length > 1_024 ? 'clientCustomMap' : undefined;
  },
  auth: {
    path: '/message/auth',
    contentType: 'application/json',
    faultOf({ body }, now) {
      const { appId, appKey, timestamp, sign, ...others } = JSON.parse(body.toString());
      if (appId !== vivoCredentials.appId || appKey !== vivoCredentials.appKey) return 'app';
      if (Object.keys(others).length > 0) return 'unknown field';
      if (!(Math.abs(timestamp - now.getTime()) < CLOCK_MS)) return 'timestamp';
      const wanted = createHash('md5').update(appId + appKey + timestamp + vivoCredentials.appSecret);
      return sign === wanted.digest('hex') ? undefined : 'sign';
    },
    given: (token) => vivoCode(0, { authToken: token }),
    refused: vivoCode(10_204),
  },
  sent: vivoCode(0, { taskId: '17' }),
  gone: vivoDead(2),
  throttled: vivoCode(10_093),
  tokenRefused: vivoCode(10_000),
  wrong: vivoCode(10_097),
};

/** One Chinese character is as wide as two Latin ones. */
function widthOf(text: string): number {
  return Array.from(text).reduce((sum, character) => sum + (character < '\u0080' ? 1 : 2), 0);
}
