// OPPO's push service, for Android of OPPO, OnePlus and realme. It only shows notifications; of dead tokens it tells in its
// answers, and in China on a feed of its own.

import { hash } from 'node:crypto';
import { createAccessTokens, isToken, type AccessToken } from './access_tokens.ts';
import { createAsking, type AskingOptions } from './asking.ts';
import type { Outcome, Provider } from './contract.ts';
import { readFeed, type GoneFeed } from './gone_feed.ts';
import { oppoMessage, type OppoCredentials } from './oppo_message.ts';
import { outcomeByStatus, parseObject, refuse, refuseCredential } from './outcomes.ts';
import { createVerdicts, type Verdict } from './verdicts.ts';

export interface OppoOptions extends AskingOptions {
  now(): Date;
  /** Other ones in tests. */
  endpoint?: string | undefined;
  feedEndpoint?: string | undefined;
}

const NAME = 'OPPO';
const ENDPOINTS = {
  china: 'https://api.push.oppomobile.com',
  global: 'https://api-intl.push.oppomobile.com',
};
const FEED_ENDPOINT = 'https://feedback.push.oppomobile.com';
const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
const TOKEN_SECONDS = 86_400;
const SUCCESS = 0;

const KEYS = refuseCredential('OPPO refuses appKey and masterSecret: copy both from its console once more');
const CLOCK = refuseCredential("OPPO finds this machine's clock wrong by more than 10 minutes");
const RIGHTS = refuseCredential(
  'OPPO has not granted the app the right to push, or has taken it: see its console',
);
const codes: Readonly<Record<string, Verdict>> = {
  '-2': 'throttled',
  '-1': 'unavailable',
  11: 'renew',
  13: 'throttled',
  14: KEYS,
  15: KEYS,
  16: KEYS,
  17: KEYS,
  18: CLOCK,
  19: CLOCK,
  26: refuseCredential("OPPO has blocked this machine's IP address"),
  27: RIGHTS,
  28: RIGHTS,
  29: 'renew',
  30: RIGHTS,
  33: 'quota',
  55: 'throttled',
  67: refuseCredential('category is none that OPPO has granted the app'),
  10000: 'unknown',
  10001: { kind: 'gone' },
};

export function createOppo(
  credentials: OppoCredentials,
  { now, endpoint, feedEndpoint = FEED_ENDPOINT, ...options }: OppoOptions,
): Provider & GoneFeed {
  const { appKey, masterSecret, region = 'china' } = credentials;
  const asking = createAsking(options);
  const verdicts = createVerdicts({ name: NAME, now, codes });
  const tokens = createAccessTokens({ name: NAME, now, fetch: fetchToken });
  const api = endpoint ?? ENDPOINTS[region];

  async function fetchToken(): Promise<AccessToken | Outcome> {
    const timestamp = String(now().getTime());
    const sign = hash('sha256', appKey + timestamp + masterSecret);
    const form = new URLSearchParams({ app_key: appKey, timestamp, sign });
    const answer = await asking.post(`${api}/server/v1/auth`, FORM, form.toString());
    if ('kind' in answer) return answer;
    const { code, data } = parseObject(answer.body) ?? {};
    const token = (data as { auth_token?: unknown } | null | undefined)?.auth_token;
    if (code === SUCCESS && isToken(token)) return { token, lifeSeconds: TOKEN_SECONDS };
    const outcome = verdicts.of(code === SUCCESS ? undefined : code, answer);
    return outcome === 'renew' ? KEYS : outcome;
  }

  async function post(message: object, token: string): Promise<Outcome | 'renew'> {
    const form = new URLSearchParams({ auth_token: token, message: JSON.stringify(message) });
    const url = `${api}/server/v1/message/notification/unicast`;
    const answer = await asking.post(url, FORM, form.toString());
    if ('kind' in answer) return answer;
    const { code, data } = parseObject(answer.body) ?? {};
    if (code !== SUCCESS) return verdicts.of(code, answer);
    return verdicts.sent((data as { messageId?: unknown } | null | undefined)?.messageId);
  }

  return {
    async send(notification, target) {
      if (notification.isSilent) return refuse('unsupported: OPPO takes nothing that is not shown');
      const message = oppoMessage(notification, target, credentials);
      return verdicts.hold() ?? tokens.use((token) => post(message, token));
    },

    check: () => tokens.check(),

    async pollGone() {
      if (region !== 'china') return { tokens: [] };
      return readFeed(async () => {
        let list: readonly unknown[] = [];
        const outcome = await tokens.use(async (token) => {
          const query = new URLSearchParams({ auth_token: token });
          const url = `${feedEndpoint}/server/v1/feedback/fetch_invalid_regidList?${query.toString()}`;
          const answer = await asking.get(url, {});
          if ('kind' in answer) return answer;
          const { code, data } = parseObject(answer.body) ?? {};
          const ids = (data as { registration_ids?: unknown } | null | undefined)?.registration_ids;
          if (code !== SUCCESS) return verdicts.of(code, answer);
          if (!Array.isArray(ids)) return outcomeByStatus(answer, now());
          list = ids;
          return { kind: 'sent' };
        });
        return outcome.kind === 'sent' ? list : outcome;
      });
    },

    async close() {
      asking.close();
    },
  };
}
