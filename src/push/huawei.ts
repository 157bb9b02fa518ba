// Huawei Push Kit, version 1, for Android devices of Huawei and for HarmonyOS up to 4. Within a success it may say that the
// token is dead.

import { Type, type Static } from 'typebox';
import { createAccessTokens, fetchByClientSecret } from './access_tokens.ts';
import { createAsking, type AskingOptions } from './asking.ts';
import type { Notification, Outcome, Provider, Target } from './contract.ts';
import { isShown, writeWithin } from './fitting.ts';
import { parseObject, postpone, refuse, refuseCredential } from './outcomes.ts';
import { AppName, BadgeClass, notifyIdOf, wordsOf } from './vendor_words.ts';
import { createVerdicts, type Verdict } from './verdicts.ts';

export const HuaweiCredentials = Type.Object(
  {
    clientId: Type.String({ pattern: '^\\d{1,30}$', description: 'The app id of AppGallery Connect.' }),
    clientSecret: Type.String({ pattern: '^[\\x21-\\x7e]{1,200}$', description: 'The app secret.' }),
    appName: AppName,
    category: Type.Optional(
      Type.String({
        pattern: '^[A-Z_]{1,30}$',
        description:
          'What Huawei has granted the app, such as IM. Without one it is marketing: silent, and few a day.',
      }),
    ),
    channelId: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
    badgeClass: BadgeClass,
  },
  { additionalProperties: false },
);
export type HuaweiCredentials = Static<typeof HuaweiCredentials>;

export interface HuaweiOptions extends AskingOptions {
  now(): Date;
  /** Other ones in tests. */
  endpoint?: string | undefined;
  tokenEndpoint?: string | undefined;
}

const NAME = 'Huawei';
const ENDPOINT = 'https://push-api.cloud.huawei.com';
const TOKEN_ENDPOINT = 'https://oauth-login.cloud.huawei.com/oauth2/v3/token';
const SUCCESS = '80000000';
const IN_PART = '80100000';
/** Without the tokens. */
const MESSAGE_MAX_BYTES = 4_096;
const TTL_MAX_SECONDS = 1_296_000;
const BADGE_MAX = 99;
/** So many groups, of each of which the latest is kept for a device that is away. */
const COLLAPSE_KEYS = 100;
const OPENS_APP = 3;

/** Honor has the same. */
export const huaweiCodes: Readonly<Record<string, Verdict>> = {
  80100016: refuse('censored: the vendor takes the words for sensitive'),
  80200001: 'renew',
  80200003: 'renew',
  80200005: 'renew',
  80300002: refuseCredential('the app may not push: switch the push service on in the console of the vendor'),
  80300007: 'unknown',
  80300008: refuse('too_large: the vendor takes at most 4096 bytes, of which the data takes too much'),
  80300011: refuseCredential(
    'the app may not send of this category: apply for it in the console of the vendor',
  ),
  80300037: refuseCredential('the vendor punishes the app: see its console'),
  80600003: refuseCredential('the vendor refuses clientId and clientSecret'),
  81000001: 'unavailable',
};

export function createHuawei(
  credentials: HuaweiCredentials,
  { now, endpoint = ENDPOINT, tokenEndpoint = TOKEN_ENDPOINT, ...options }: HuaweiOptions,
): Provider {
  const asking = createAsking(options);
  const verdicts = createVerdicts({ name: NAME, now, codes: huaweiCodes });
  const tokens = createAccessTokens({
    name: NAME,
    now,
    fetch: () => fetchByClientSecret({ asking, name: NAME, now }, tokenEndpoint, credentials),
  });
  const url = `${endpoint}/v1/${credentials.clientId}/messages:send`;

  async function post(body: string, { token }: Target, accessToken: string): Promise<Outcome | 'renew'> {
    const headers = { authorization: `Bearer ${accessToken}`, 'content-type': 'application/json' };
    const answer = await asking.post(url, headers, body);
    if ('kind' in answer) return answer;
    if (answer.status === 503) return postpone(answer, now(), `throttled: ${NAME} asks for less at a time`);
    const { code, msg, requestId } = parseObject(answer.body) ?? {};
    if (code === SUCCESS) return verdicts.sent(requestId);
    if (code !== IN_PART) return verdicts.of(code, answer);
    const bad = parseObject(String(msg))?.['illegal_tokens'];
    if (Array.isArray(bad) && bad.includes(token)) return { kind: 'gone' };
    return refuse(`refused: ${NAME} has sent it to others only`);
  }

  return {
    send(notification, target) {
      const body = messageWithin(notification, target, credentials);
      return tokens.use((accessToken) => post(body, target, accessToken));
    },
    check: () => tokens.check(),
    async close() {
      asking.close();
    },
  };
}

function messageWithin(notification: Notification, target: Target, credentials: HuaweiCredentials): string {
  const { token, environment } = target;
  const ttlSeconds = Math.min(Math.max(notification.ttlSeconds, 1), TTL_MAX_SECONDS);
  const shown = isShown(notification);
  return writeWithin(MESSAGE_MAX_BYTES + token.length, notification, (fitted) =>
    JSON.stringify({
      message: {
        data: JSON.stringify(fitted.data),
        android: {
          ttl: `${ttlSeconds}s`,
          target_user_type: environment === 'sandbox' ? 1 : 0,
          category: shown ? credentials.category : undefined,
          collapse_key: !shown && fitted.collapseId ? (notifyIdOf(fitted) % COLLAPSE_KEYS) + 1 : undefined,
          notification: shown ? noticeOf(fitted, credentials) : undefined,
        },
        token: [token],
      },
    }),
  );
}

function noticeOf(notification: Notification, { appName, channelId, badgeClass }: HuaweiCredentials): object {
  const { badge } = notification;
  return {
    ...wordsOf(notification, appName),
    click_action: { type: OPENS_APP },
    importance: 'NORMAL',
    channel_id: channelId,
    notify_id: notifyIdOf(notification),
    badge:
      badge !== undefined && badgeClass
        ? { set_num: Math.min(badge, BADGE_MAX), class: badgeClass }
        : undefined,
  };
}
