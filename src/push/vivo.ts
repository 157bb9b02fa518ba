// vivo's push service, for Android of vivo and iQOO. It only shows notifications, and may say within a success that the token
// is dead.

import { hash } from 'node:crypto';
import { Type, type Static } from 'typebox';
import { createAccessTokens, isToken, type AccessToken } from './access_tokens.ts';
import { createAsking, type AskingOptions } from './asking.ts';
import type { Notification, Outcome, Provider, Target } from './contract.ts';
import { parseObject, refuse, refuseCredential } from './outcomes.ts';
import { AppName, notifyIdOf, shorten, wordsOf } from './vendor_words.ts';
import { createVerdicts, type Verdict } from './verdicts.ts';

export const VivoCredentials = Type.Object(
  {
    appId: Type.String({ pattern: '^\\d{1,30}$' }),
    appKey: Type.String({ pattern: '^[\\x21-\\x7e]{1,100}$' }),
    appSecret: Type.String({ pattern: '^[\\x21-\\x7e]{1,100}$' }),
    appName: AppName,
    classification: Type.Optional(
      Type.Union([Type.Literal(0), Type.Literal(1)], {
        default: 1,
        description:
          'Of the system (1), or marketing (0): few a day, and none at night. It has to fit the category.',
      }),
    ),
    category: Type.Optional(
      Type.String({ pattern: '^[A-Z_]{1,30}$', description: 'What vivo has granted the app, such as IM.' }),
    ),
  },
  { additionalProperties: false },
);
export type VivoCredentials = Static<typeof VivoCredentials>;

export interface VivoOptions extends AskingOptions {
  now(): Date;
  /** Another one in tests. */
  endpoint?: string | undefined;
}

const NAME = 'vivo';
const ENDPOINT = 'https://api-push.vivo.com.cn';
const JSON_TYPE = { 'content-type': 'application/json' };
/** They live for a day; vivo asks for a new one every hour or two. */
const TOKEN_SECONDS = 7_200;
const SUCCESS = 0;
const TOO_OFTEN = 10_093;
/** Of ASCII; any other character has the width of two. */
const TITLE_MAX_WIDTH = 40;
const BODY_MAX_WIDTH = 100;
const TTL_MIN_SECONDS = 60;
const TTL_MAX_SECONDS = 86_400;
const DATA_MAX_ENTRIES = 10;
const DATA_MAX_LENGTH = 1_024;
const RINGS_AND_SHAKES = 4;
const OPENS_APP = 1;

const codes: Readonly<Record<string, Verdict>> = {
  10000: 'renew',
  10070: 'quota',
  10071: refuse('out_of_hours: vivo shows marketing from 7 to 23 h only'),
  10073: 'quota',
  10085: refuse('censored: vivo takes the words for unfit'),
  [TOO_OFTEN]: 'throttled',
  10094: refuseCredential('appId is not of the app that appKey is of'),
  10097: refuseCredential('category and classification do not fit, or vivo has not granted them'),
  10104: refuse('censored: vivo takes the words for unfit'),
  10302: 'unknown',
  // Of the token, within a success.
  invalidUser1: 'unknown',
  invalidUser2: { kind: 'gone' },
  invalidUser3: refuse('inactive: the device has not been seen for 90 days'),
  invalidUser4: refuse('refused: the device is none of the test devices in the console of vivo'),
};
export function createVivo(
  credentials: VivoCredentials,
  { now, endpoint = ENDPOINT, ...options }: VivoOptions,
): Provider {
  const { appId, appKey, appSecret } = credentials;
  const asking = createAsking(options);
  const verdicts = createVerdicts({ name: NAME, now, codes });
  const tokens = createAccessTokens({ name: NAME, now, fetch: fetchToken });

  async function fetchToken(): Promise<AccessToken | Outcome> {
    const timestamp = now().getTime();
    const sign = hash('md5', appId + appKey + timestamp + appSecret);
    const body = JSON.stringify({ appId, appKey, timestamp, sign });
    const answer = await asking.post(`${endpoint}/message/auth`, JSON_TYPE, body);
    if ('kind' in answer) return answer;
    const { result, authToken: token } = parseObject(answer.body) ?? {};
    if (result === SUCCESS && isToken(token)) return { token, lifeSeconds: TOKEN_SECONDS };
    if (typeof result === 'number' && result !== SUCCESS && result !== TOO_OFTEN && answer.status < 500)
      return refuseCredential(
        `vivo refuses appId, appKey and appSecret, or this machine's clock (code ${result}): copy all from its console`,
      );
    const outcome = verdicts.of(result === SUCCESS ? undefined : result, answer);
    return outcome === 'renew' ? refuseCredential('vivo refuses appId, appKey and appSecret') : outcome;
  }

  async function post(message: object, authToken: string): Promise<Outcome | 'renew'> {
    const headers = { ...JSON_TYPE, authtoken: authToken };
    const answer = await asking.post(`${endpoint}/message/send`, headers, JSON.stringify(message));
    if ('kind' in answer) return answer;
    const { result, taskId, invalidUser } = parseObject(answer.body) ?? {};
    const status = (invalidUser as { status?: unknown } | null | undefined)?.status;
    if (result !== SUCCESS) return verdicts.of(result, answer);
    return status === undefined ? verdicts.sent(taskId) : verdicts.of(`invalidUser${Number(status)}`, answer);
  }

  return {
    async send(notification, target) {
      if (notification.isSilent) return refuse('unsupported: vivo takes nothing that is not shown');
      const entries = Object.entries(notification.data);
      const length = entries.flat().reduce((sum, text) => sum + text.length, 0);
      if (entries.length > DATA_MAX_ENTRIES || length > DATA_MAX_LENGTH)
        return refuse('too_large: vivo takes at most 10 entries of data, of 1024 characters together');
      const message = messageOf(notification, target, credentials);
      return verdicts.hold() ?? tokens.use((token) => post(message, token));
    },

    check: () => tokens.check(),

    async close() {
      asking.close();
    },
  };
}

function messageOf(
  notification: Notification,
  { token, environment }: Target,
  { appId, appName, category, classification = 1 }: VivoCredentials,
): object {
  const { title, body } = wordsOf(notification, appName);
  return {
    appId,
    regId: token,
    notifyType: RINGS_AND_SHAKES,
    title: shorten(title, TITLE_MAX_WIDTH, widthOf),
    content: shorten(body, BODY_MAX_WIDTH, widthOf),
    timeToLive: Math.min(Math.max(notification.ttlSeconds, TTL_MIN_SECONDS), TTL_MAX_SECONDS),
    skipType: OPENS_APP,
    classification,
    category,
    clientCustomMap: notification.data,
    // Of one request: the user's other devices get the same notification.
    requestId: hash('sha256', `${notification.id}\0${token}`),
    pushMode: environment === 'sandbox' ? 1 : 0,
    notifyId: notifyIdOf(notification),
  };
}

function widthOf(text: string): number {
  return text.length + text.replace(/\p{ASCII}/gu, '').length;
}
