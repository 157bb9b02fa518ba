// Honor's push service for Android. Within a success it may say that the token is dead; its numbers are Huawei's, as far as
// is known.

import { Type, type Static } from 'typebox';
import { createAccessTokens, fetchByClientSecret } from './access_tokens.ts';
import { createAsking } from './asking.ts';
import type { Notification, Outcome, Provider, Target } from './contract.ts';
import { isShown, writeWithin } from './fitting.ts';
import { huaweiCodes, type HuaweiOptions } from './huawei.ts';
import { parseObject, postpone, refuse } from './outcomes.ts';
import { AppName, BadgeClass, notifyIdOf, wordsOf } from './vendor_words.ts';
import { createVerdicts } from './verdicts.ts';

export const HonorCredentials = Type.Object(
  {
    appId: Type.String({ pattern: '^\\d{1,30}$' }),
    clientId: Type.String({ pattern: '^[\\x21-\\x7e]{1,200}$' }),
    clientSecret: Type.String({ pattern: '^[\\x21-\\x7e]{1,200}$' }),
    appName: AppName,
    importance: Type.Optional(
      Type.Union([Type.Literal('NORMAL'), Type.Literal('LOW')], {
        default: 'NORMAL',
        description:
          'NORMAL is of services and conversations, and has to be granted by Honor; LOW is marketing.',
      }),
    ),
    badgeClass: BadgeClass,
  },
  { additionalProperties: false },
);
export type HonorCredentials = Static<typeof HonorCredentials>;

export type HonorOptions = HuaweiOptions;

const NAME = 'Honor';
const ENDPOINT = 'https://push-api.cloud.honor.com';
const TOKEN_ENDPOINT = 'https://iam.developer.honor.com/auth/token';
const SUCCESS = 200;
const IN_PART = 80_100_000;
/** Without the tokens. */
const MESSAGE_MAX_BYTES = 4_096;
const TTL_MAX_SECONDS = 1_296_000;
const BADGE_MAX = 99;
const OPENS_APP = 3;

/** Whether this one drops a token isn't known well enough. */
const codes: typeof huaweiCodes = {
  ...huaweiCodes,
  80300007: refuse("unknown_token: Honor doesn't know the token"),
};

export function createHonor(
  credentials: HonorCredentials,
  { now, endpoint = ENDPOINT, tokenEndpoint = TOKEN_ENDPOINT, ...options }: HonorOptions,
): Provider {
  const asking = createAsking(options);
  const verdicts = createVerdicts({ name: NAME, now, codes });
  const tokens = createAccessTokens({
    name: NAME,
    now,
    fetch: () => fetchByClientSecret({ asking, name: NAME, now }, tokenEndpoint, credentials),
  });
  const url = `${endpoint}/api/v1/${credentials.appId}/sendMessage`;

  async function post(body: string, { token }: Target, accessToken: string): Promise<Outcome | 'renew'> {
    const headers = {
      authorization: `Bearer ${accessToken}`,
      'content-type': 'application/json',
      timestamp: String(now().getTime()),
    };
    const answer = await asking.post(url, headers, body);
    if ('kind' in answer) return answer;
    if (answer.status === 503) return postpone(answer, now(), `throttled: ${NAME} asks for less at a time`);
    const { code, data } = parseObject(answer.body) ?? {};
    if (code !== SUCCESS && code !== IN_PART) return verdicts.of(code, answer);
    const { sendResult, requestId, expireTokens, failTokens } = (data ?? {}) as Record<string, unknown>;
    if (Array.isArray(expireTokens) && expireTokens.includes(token)) return { kind: 'gone' };
    if (Array.isArray(failTokens) && failTokens.includes(token))
      return refuse(`refused: ${NAME} doesn't send to this token, and gives no reason`);
    if (sendResult === true) return verdicts.sent(requestId);
    return { kind: 'retry', reason: `malformed: ${NAME} doesn't say what came of it` };
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

function messageWithin(notification: Notification, target: Target, credentials: HonorCredentials): string {
  const { token, environment } = target;
  const ttlSeconds = Math.min(Math.max(notification.ttlSeconds, 1), TTL_MAX_SECONDS);
  const shown = isShown(notification);
  return writeWithin(MESSAGE_MAX_BYTES + token.length, notification, (fitted) =>
    JSON.stringify({
      data: JSON.stringify(fitted.data),
      android: {
        ttl: `${ttlSeconds}s`,
        targetUserType: environment === 'sandbox' ? 1 : 0,
        notification: shown ? noticeOf(fitted, credentials) : undefined,
      },
      token: [token],
    }),
  );
}

function noticeOf(
  notification: Notification,
  { appName, importance = 'NORMAL', badgeClass }: HonorCredentials,
): object {
  const { badge } = notification;
  return {
    ...wordsOf(notification, appName),
    clickAction: { type: OPENS_APP },
    importance,
    notifyId: notifyIdOf(notification),
    badge: badge !== undefined && badgeClass ? { setNum: Math.min(badge, BADGE_MAX), badgeClass } : undefined,
  };
}
