// Xiaomi's push service (MiPush), for Android. It tells of dead tokens within a success, and on a feed of its own.

import { createAsking, type AskingOptions } from './asking.ts';
import type { Outcome, Provider } from './contract.ts';
import { readFeed, type GoneFeed } from './gone_feed.ts';
import { outcomeByStatus, parseObject, refuse, refuseCredential } from './outcomes.ts';
import { createVerdicts, type Verdict } from './verdicts.ts';
import { xiaomiForm, type XiaomiCredentials } from './xiaomi_form.ts';

export interface XiaomiOptions extends AskingOptions {
  now(): Date;
  /** Other ones in tests. */
  endpoint?: string | undefined;
  feedEndpoint?: string | undefined;
}

const NAME = 'Xiaomi';
const HOSTS = { china: 'xmpush.xiaomi.com', global: 'xmpush.global.xiaomi.com' };
const SUCCESS = 0;
const NOT_SENT = 20_301;
const NOBODY = /no valid targets/i;

const CREDENTIAL = refuseCredential('Xiaomi refuses appSecret: copy it from its console once more');
const PACKAGE = refuseCredential('packageName is not of the app that appSecret is of');
const BANNED = refuseCredential('Xiaomi has banned the app from pushing: see its console');
const TOO_LARGE = refuse('too_large: Xiaomi takes no data of this size');
const codes: Readonly<Record<string, Verdict>> = {
  1: 'unavailable',
  10001: 'unavailable',
  10002: 'unavailable',
  10003: 'unavailable',
  10008: refuse('refused: Xiaomi takes it for wrong (code 10008)'),
  10016: TOO_LARGE,
  10017: TOO_LARGE,
  10027: 'throttled',
  10031: BANNED,
  10034: 'quota',
  10036: BANNED,
  21301: CREDENTIAL,
  21302: CREDENTIAL,
  22000: PACKAGE,
  22006: PACKAGE,
  22007: PACKAGE,
  22022: PACKAGE,
  27001: refuseCredential('channelId is none that Xiaomi has granted the app'),
  65009: TOO_LARGE,
  65029: 'unavailable',
  nobody: 'unknown',
};

export function createXiaomi(
  credentials: XiaomiCredentials,
  { now, endpoint, feedEndpoint, ...options }: XiaomiOptions,
): Provider & GoneFeed {
  const asking = createAsking(options);
  const verdicts = createVerdicts({ name: NAME, now, codes });
  const host = HOSTS[credentials.region ?? 'china'];
  const api = endpoint ?? `https://api.${host}`;
  const feed = feedEndpoint ?? `https://feedback.${host}`;
  const authorization = `key=${credentials.appSecret}`;

  async function post(form: URLSearchParams, token: string): Promise<Outcome> {
    const headers = { authorization, 'content-type': 'application/x-www-form-urlencoded;charset=UTF-8' };
    const answer = await asking.post(`${api}/v3/message/regid`, headers, form.toString());
    if ('kind' in answer) return answer;
    const { code, data, reason } = parseObject(answer.body) ?? {};
    const { id, bad_regids: bad } = (data ?? {}) as Record<string, unknown>;
    if (code === SUCCESS && String(bad).split(',').includes(token)) return { kind: 'gone' };
    if (code === SUCCESS) return verdicts.sent(id);
    const isUnknown = code === NOT_SENT && NOBODY.test(String(reason));
    const outcome = verdicts.of(isUnknown ? 'nobody' : code, answer);
    return outcome === 'renew' ? CREDENTIAL : outcome;
  }

  return {
    async send(notification, target) {
      // It would be several.
      if (target.token.includes(',')) return { kind: 'gone' };
      return verdicts.hold() ?? post(xiaomiForm(notification, target, credentials), target.token);
    },

    /** By the counters of today, for which only the credential is needed. */
    async check() {
      const today = now().toISOString().slice(0, 10).replaceAll('-', '');
      const query = new URLSearchParams({
        start_date: today,
        end_date: today,
        restricted_package_name: credentials.packageName,
      });
      const answer = await asking.get(`${api}/v1/stats/message/counters?${query.toString()}`, {
        authorization,
      });
      if ('kind' in answer) return answer.reason;
      const { code } = parseObject(answer.body) ?? {};
      if (code === SUCCESS) return undefined;
      const outcome = verdicts.of(code, answer);
      return reasonOf(outcome === 'renew' ? CREDENTIAL : outcome);
    },

    pollGone: () =>
      readFeed(async () => {
        const answer = await asking.get(`${feed}/v1/feedback/fetch_invalid_regids`, { authorization });
        if ('kind' in answer) return answer;
        const { code, data } = parseObject(answer.body) ?? {};
        const list = (data as { list?: unknown } | null | undefined)?.list;
        return code === SUCCESS && Array.isArray(list) ? list : outcomeByStatus(answer, now());
      }),

    async close() {
      asking.close();
    },
  };
}

function reasonOf(outcome: Outcome): string | undefined {
  return 'reason' in outcome ? outcome.reason : undefined;
}
