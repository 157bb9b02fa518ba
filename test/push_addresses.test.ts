// Where each provider is, as it documents: stand-ins are elsewhere, and so would never find a wrong address.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Outbound } from '../src/outbound.ts';
import { pushProviders, type PushProviderName } from '../src/routing/push_providers.ts';
import { account } from './push/fcm_stand_in.ts';
import { honorCredentials } from './push/honor_stand_in.ts';
import { huaweiCredentials } from './push/huawei_stand_in.ts';
import { oppoCredentials } from './push/oppo_stand_in.ts';
import { vivoCredentials } from './push/vivo_stand_in.ts';
import { notificationOf } from './push/contract.ts';
import { xiaomiCredentials } from './push/xiaomi_stand_in.ts';

const OPPO_PATHS = ['/server/v1/auth', '/server/v1/message/notification/unicast'];
const XIAOMI_PATHS = ['/v3/message/regid', '/v1/feedback/fetch_invalid_regids'];
const addresses: [PushProviderName, object, string[]][] = [
  [
    'fcm',
    account,
    [
      'https://oauth2.googleapis.com/token',
      `https://fcm.googleapis.com/v1/projects/${account.project_id}/messages:send`,
    ],
  ],
  [
    'huawei',
    huaweiCredentials,
    [
      'https://oauth-login.cloud.huawei.com/oauth2/v3/token',
      `https://push-api.cloud.huawei.com/v1/${huaweiCredentials.clientId}/messages:send`,
    ],
  ],
  [
    'honor',
    honorCredentials,
    [
      'https://iam.developer.honor.com/auth/token',
      `https://push-api.cloud.honor.com/api/v1/${honorCredentials.appId}/sendMessage`,
    ],
  ],
  [
    'xiaomi',
    xiaomiCredentials,
    ['https://api.xmpush.xiaomi.com', 'https://feedback.xmpush.xiaomi.com'].map(
      (at, i) => at + XIAOMI_PATHS[i],
    ),
  ],
  [
    'xiaomi',
    { ...xiaomiCredentials, region: 'global' },
    ['https://api.xmpush.global.xiaomi.com', 'https://feedback.xmpush.global.xiaomi.com'].map(
      (at, i) => at + XIAOMI_PATHS[i],
    ),
  ],
  [
    'oppo',
    oppoCredentials,
    [
      ...OPPO_PATHS.map((path) => `https://api.push.oppomobile.com${path}`),
      'https://feedback.push.oppomobile.com/server/v1/feedback/fetch_invalid_regidList',
    ],
  ],
  [
    'oppo',
    { ...oppoCredentials, region: 'global' },
    OPPO_PATHS.map((path) => `https://api-intl.push.oppomobile.com${path}`),
  ],
  [
    'vivo',
    vivoCredentials,
    ['https://api-push.vivo.com.cn/message/auth', 'https://api-push.vivo.com.cn/message/send'],
  ],
];
/** A token, for whoever asks for one. */
const given = {
  code: 0,
  result: 0,
  access_token: 'abc',
  expires_in: 3_600,
  authToken: 'abc',
  data: { auth_token: 'abc', list: [], registration_ids: [] },
};

for (const [name, credentials, expected] of addresses)
  test(`${name} is asked at ${new URL(expected[0]!).host}`, async () => {
    const asked: string[] = [];
    const outbound: Outbound = {
      faultOf: () => undefined,
      async fetch(url) {
        asked.push(url.split('?')[0]!);
        return { status: 200, headers: {}, body: Buffer.from(JSON.stringify(given)) };
      },
      close() {},
    };
    const sharedTokens = { get: (_name: string, sign: () => Promise<string>) => sign() };
    const context = { now: () => new Date(), outbound, endpoints: {}, sharedTokens };
    const provider = pushProviders[name].create(credentials, context);
    await provider.send(notificationOf(), { token: 'abc', environment: 'production' });
    await provider.pollGone?.();
    assert.deepEqual(asked, expected);
  });
