// The providers of push, as a table: what an app needs for each, and how it is sent by.

import type { TSchema } from 'typebox';
import { createApns, type ApnsOptions } from '../push/apns.ts';
import { ApnsCredentials, faultsOfApns } from '../push/apns_credentials.ts';
import { createSharedTokens, type SharedTokens } from '../push/apns_tokens.ts';
import type { AskingOptions } from '../push/asking.ts';
import type { Provider } from '../push/contract.ts';
import { createFcm, FcmCredentials, faultsOfFcm, type FcmOptions } from '../push/fcm.ts';
import type { GoneFeed } from '../push/gone_feed.ts';
import { createHonor, HonorCredentials, type HonorOptions } from '../push/honor.ts';
import { createHuawei, HuaweiCredentials, type HuaweiOptions } from '../push/huawei.ts';
import { OppoCredentials } from '../push/oppo_message.ts';
import { createOppo, type OppoOptions } from '../push/oppo.ts';
import { parseSubscription } from '../push/subscription.ts';
import { faultsOfWebPush, WebPushCredentials } from '../push/vapid.ts';
import { createVivo, VivoCredentials, type VivoOptions } from '../push/vivo.ts';
import { createWebhook, WebhookCredentials } from '../push/webhook.ts';
import { createWebPush } from '../push/webpush.ts';
import { XiaomiCredentials } from '../push/xiaomi_form.ts';
import { createXiaomi, type XiaomiOptions } from '../push/xiaomi.ts';

export { createSharedTokens };
export type { Notification, Outcome, Provider } from '../push/contract.ts';
export { WebhookSecrets } from '../push/webhook.ts';
export type Outbound = AskingOptions['outbound'];

/** Other addresses than the real ones, in tests. */
export interface PushEndpoints {
  apns?: ApnsOptions['origins'];
  fcm?: Pick<FcmOptions, 'endpoint' | 'tokenEndpoint'>;
  huawei?: Pick<HuaweiOptions, 'endpoint' | 'tokenEndpoint'>;
  honor?: Pick<HonorOptions, 'endpoint' | 'tokenEndpoint'>;
  xiaomi?: Pick<XiaomiOptions, 'endpoint' | 'feedEndpoint'>;
  oppo?: Pick<OppoOptions, 'endpoint' | 'feedEndpoint'>;
  vivo?: Pick<VivoOptions, 'endpoint'>;
}

export interface ProviderContext {
  now(): Date;
  outbound: Outbound;
  endpoints: PushEndpoints;
  sharedTokens: SharedTokens;
}

/** Some tell of dead tokens on a feed as well. */
export type AnyProvider = Provider & Partial<GoneFeed>;

interface Fault {
  pointer: string;
  detail: string;
}

export interface ProviderEntry {
  /** What an app says once, and nobody is ever shown again. */
  credentials: TSchema;
  /** What the schema can't say. */
  faultsOf(credentials: unknown, outbound: Outbound): Fault[];
  create(credentials: unknown, context: ProviderContext): AnyProvider;
}

const none = (): never[] => [];

const entry = <C>(
  credentials: TSchema,
  create: (credentials: C, context: ProviderContext) => AnyProvider,
  faultsOf: (credentials: C, outbound: Outbound) => Fault[] = none,
): ProviderEntry => ({
  credentials,
  create: (given, context) => create(given as C, context),
  faultsOf: (given, outbound) => faultsOf(given as C, outbound),
});

export const pushProviders = {
  apns: entry<ApnsCredentials>(
    ApnsCredentials,
    (credentials, { now, endpoints, sharedTokens }) =>
      createApns(credentials, { now, sharedTokens, origins: endpoints.apns }),
    faultsOfApns,
  ),
  fcm: entry<FcmCredentials>(
    FcmCredentials,
    (credentials, { now, outbound, endpoints }) =>
      createFcm(credentials, { now, outbound, ...endpoints.fcm }),
    faultsOfFcm,
  ),
  webpush: entry<WebPushCredentials>(
    WebPushCredentials,
    (credentials, { now, outbound }) => createWebPush(credentials, { now, outbound }),
    faultsOfWebPush,
  ),
  huawei: entry<HuaweiCredentials>(HuaweiCredentials, (credentials, { now, outbound, endpoints }) =>
    createHuawei(credentials, { now, outbound, ...endpoints.huawei }),
  ),
  honor: entry<HonorCredentials>(HonorCredentials, (credentials, { now, outbound, endpoints }) =>
    createHonor(credentials, { now, outbound, ...endpoints.honor }),
  ),
  xiaomi: entry<XiaomiCredentials>(XiaomiCredentials, (credentials, { now, outbound, endpoints }) =>
    createXiaomi(credentials, { now, outbound, ...endpoints.xiaomi }),
  ),
  oppo: entry<OppoCredentials>(OppoCredentials, (credentials, { now, outbound, endpoints }) =>
    createOppo(credentials, { now, outbound, ...endpoints.oppo }),
  ),
  vivo: entry<VivoCredentials>(VivoCredentials, (credentials, { now, outbound, endpoints }) =>
    createVivo(credentials, { now, outbound, ...endpoints.vivo }),
  ),
  webhook: entry<WebhookCredentials>(
    WebhookCredentials,
    (credentials, { now, outbound }) => createWebhook(credentials, { now, outbound }),
    ({ url }, outbound) => {
      const detail = outbound.faultOf(url);
      return detail ? [{ pointer: '/url', detail }] : [];
    },
  ),
};

export type PushProviderName = keyof typeof pushProviders;
export const pushProviderNames = Object.keys(pushProviders) as PushProviderName[];
/** Those that have a feed of dead tokens. */
export const feedProviderNames: readonly PushProviderName[] = ['xiaomi', 'oppo'];
/** A browser has to show something for whatever it is sent, and these take nothing that isn't shown. */
const ALWAYS_SHOWN = new Set(['webpush', 'oppo', 'vivo']);

export function takesSilent(provider: string): boolean {
  return !ALWAYS_SHOWN.has(provider);
}

/** However a client writes it, so that it is known to be that of another device. */
export function normalisePushToken(provider: PushProviderName, pushToken: string): string {
  if (provider === 'apns') return pushToken.toLowerCase();
  if (provider !== 'webpush') return pushToken;
  const subscription = parseSubscription(pushToken);
  return 'fault' in subscription ? pushToken : JSON.stringify(subscription); // the provider says what is wrong with it
}

/** A reason begins with a code, which never changes. */
export function codeOf(reason: string): string {
  return /^[a-z_]+/.exec(reason)?.[0] ?? 'other';
}
