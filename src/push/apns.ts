// Apple's push service, by HTTP/2 and a provider token. What Apple says of one device is told apart from what it says of
// the credential, and of the connection: those two are mended once before they count.

import { outcomeOf, readAnswer, remedyOf } from './apns_answers.ts';
import { createChannel, type ApnsChannel } from './apns_channel.ts';
import { ApnsFault, type Pace } from './apns_connection.ts';
import type { ApnsCredentials } from './apns_credentials.ts';
import { apnsHeaders, apnsPayload } from './apns_payload.ts';
import { createApnsTokens, createSharedTokens, type SharedTokens } from './apns_tokens.ts';
import type { ApnsAnswer } from './apns_reasons.ts';
import { AGAIN_MAX_MS, type Notification, type Outcome, type Provider, type Target } from './contract.ts';

export interface ApnsOptions extends Partial<Pace> {
  now(): Date;
  /** Of all that may hold the same key, so that Apple sees one token of it. */
  sharedTokens?: SharedTokens | undefined;
  origins?: Readonly<Record<Target['environment'], string>> | undefined;
}

const ORIGINS = {
  production: 'https://api.push.apple.com',
  sandbox: 'https://api.sandbox.push.apple.com',
};
const TIMEOUT_MS = 10_000;
const PING_MS = 60_000;
const IDLE_MS = 15 * 60_000;
/** Of no device: what Apple finds fault with, if not with this, is the credential. */
const NO_DEVICE = '0'.repeat(64);
const TOKEN = /^(?:[0-9a-f]{2}){1,128}$/i;

export function createApns(credentials: ApnsCredentials, options: ApnsOptions): Provider {
  const { now, sharedTokens: shared = createSharedTokens(), origins = ORIGINS } = options;
  const { timeoutMs = TIMEOUT_MS, pingMs = PING_MS, idleMs = IDLE_MS } = options;
  const { bundleId } = credentials;
  const tokens = createApnsTokens(credentials, { now, shared });
  const pace = { timeoutMs, pingMs, idleMs };
  const channels: Record<Target['environment'], ApnsChannel> = {
    production: createChannel(origins.production, pace),
    sandbox: createChannel(origins.sandbox, pace),
  };

  async function post(notification: Notification, body: Buffer, target: Target): Promise<ApnsAnswer> {
    const channel = channels[target.environment];
    const startMs = performance.now();
    const ask = async (jwt: string): Promise<ApnsAnswer> => {
      if (performance.now() - startMs > AGAIN_MAX_MS)
        throw new ApnsFault('timeout: what came before took too long to ask APNs at once');
      return readAnswer(
        await channel.ask(apnsHeaders(notification, target, { bundleId, jwt, now: now() }), body),
      );
    };
    const jwt = await tokens.get();
    const answer = await ask(jwt);
    switch (remedyOf(answer)) {
      case 'token': {
        const fresh = await tokens.renew(jwt);
        return fresh ? ask(fresh) : answer;
      }
      case 'connection':
        channel.reconnect();
        return ask(jwt);
      default:
        return answer;
    }
  }

  async function send(notification: Notification, target: Target): Promise<Outcome> {
    if (!TOKEN.test(target.token)) return { kind: 'gone' };
    const payload = apnsPayload(notification);
    if ('reason' in payload) return { kind: 'failed', reason: payload.reason, isCredential: false };
    try {
      return outcomeOf(await post(notification, payload, target));
    } catch (error) {
      if (error instanceof ApnsFault) return { kind: 'retry', reason: error.message };
      throw error;
    }
  }

  async function faultIn(environment: Target['environment']): Promise<string | undefined> {
    const nothing = { id: 'check', data: {}, ttlSeconds: 0, priority: 'normal', isSilent: true } as const;
    const outcome = await send(nothing, { token: NO_DEVICE, environment });
    const isFine = outcome.kind === 'failed' && !outcome.isCredential;
    return 'reason' in outcome && !isFine ? outcome.reason : undefined;
  }

  return {
    send,

    /** A key may be of one environment only, which is enough. */
    async check() {
      const fault = await faultIn('production');
      return fault && (await faultIn('sandbox')) && fault;
    },

    async close() {
      await Promise.all([channels.production.close(), channels.sandbox.close()]);
    },
  };
}
