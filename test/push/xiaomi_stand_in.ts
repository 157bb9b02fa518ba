// Xiaomi's push service, as far as we use it: any other field is refused. It has counters, and a feed of dead tokens that
// forgets what it has told.

import { Type } from 'typebox';
import type { XiaomiCredentials } from '../../src/push/xiaomi_form.ts';
import { formIn, ok, strict, target, type Vendor } from './vendor_stand_in.ts';

export const xiaomiCredentials: XiaomiCredentials = {
  appSecret: 'xiaomi-s3cret',
  packageName: 'com.example.chat',
  appName: 'Chat',
  channelId: '104551',
};

const done = (data: object) => ok({ result: 'ok', code: 0, trace_id: 'Xcm1', description: 'success', data });
export const xiaomiCode = (code: number, reason = 'Something') =>
  ok({ result: 'error', code, reason, trace_id: 'Xcm1', description: 'failed' });

const Shared = {
  registration_id: Type.String({ minLength: 1, pattern: '^[^,]+$' }),
  restricted_package_name: Type.Literal(xiaomiCredentials.packageName),
  payload: Type.String({ minLength: 1 }),
  time_to_live: Type.Optional(Type.String({ pattern: '^[1-9]\\d{0,9}$' })),
  'extra.only_send_once': Type.Optional(Type.Literal('1')),
  'extra.jobkey': Type.String({ pattern: '^[A-Za-z0-9-][\\w-]{0,19}$' }),
};

export function createXiaomiVendor(dead: string[]): Vendor {
  return {
    schema: Type.Union([
      strict({ ...Shared, pass_through: Type.Literal('1') }),
      strict({
        ...Shared,
        pass_through: Type.Literal('0'),
        title: Type.String({ maxLength: 49, pattern: '\\S' }),
        description: Type.String({ maxLength: 127, pattern: '\\S' }),
        notify_type: Type.Literal('-1'),
        notify_id: Type.String({ pattern: '^\\d{1,10}$' }),
        'extra.notify_effect': Type.Literal('1'),
        'extra.channel_id': Type.Optional(Type.Literal(xiaomiCredentials.channelId!)),
      }),
    ]),
    sendPath: '/v3/message/regid',
    contentType: 'application/x-www-form-urlencoded',
    messageOf: formIn,
    tokenOf: ({ headers }) => /^key=(.+)$/.exec(headers.authorization ?? '')?.[1],
    fixedToken: xiaomiCredentials.appSecret,
    faultOf: ({ time_to_live: ttl, notify_id: id }) => {
      if (Number(ttl ?? 0) > 14 * 86_400_000) return 'time_to_live';
      return Number(id ?? 0) > 2 ** 31 - 1 ? 'notify_id' : undefined;
    },
    sent: done({ id: 'scm1' }),
    gone: done({ id: 'scm1', bad_regids: target.token }),
    throttled: xiaomiCode(10_027),
    tokenRefused: xiaomiCode(21_301),
    wrong: xiaomiCode(10_017),
    more({ method, path, headers }) {
      const { pathname, searchParams } = new URL(path, 'http://localhost');
      if (headers.authorization !== `key=${xiaomiCredentials.appSecret}`) return xiaomiCode(21_301);
      if (method === 'GET' && pathname === '/v1/feedback/fetch_invalid_regids')
        return done({ list: dead.splice(0, 2) });
      const query = Object.fromEntries(searchParams);
      if (method !== 'GET' || pathname !== '/v1/stats/message/counters') return undefined;
      if (!/^\d{8}$/.test(query['start_date']!) || query['start_date']! > query['end_date']!)
        return xiaomiCode(10_017);
      return query['restricted_package_name'] === xiaomiCredentials.packageName
        ? done({ data: [] })
        : xiaomiCode(22_022);
    },
  };
}
