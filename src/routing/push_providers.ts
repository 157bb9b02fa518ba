// The providers of push, as a table: what an app needs for each, and how it is sent by.

import type { TSchema } from 'typebox';
import type { Outbound } from '../outbound.ts';
import { createApns, type ApnsOptions } from '../push/apns.ts';
import { ApnsCredentials, faultsOfApns } from '../push/apns_credentials.ts';
import { createSharedTokens } from '../push/apns_tokens.ts';
import type { Provider } from '../push/contract.ts';
import { createFcm, FcmCredentials, type FcmOptions } from '../push/fcm.ts';
import { createWebhook, WebhookCredentials } from '../push/webhook.ts';
import { createWebPush } from '../push/webpush.ts';
import { WebPushCredentials } from '../push/vapid.ts';

export type { Outcome, Provider } from '../push/contract.ts';

/** Other addresses than the real ones, in tests. */
export interface PushEndpoints {
  apns?: ApnsOptions['origins'];
  fcm?: Pick<FcmOptions, 'endpoint' | 'tokenEndpoint'> | undefined;
}

export interface ProviderContext {
  now(): Date;
  outbound: Outbound;
  endpoints: PushEndpoints;
}

export interface ProviderEntry {
  /** What an app says once, and nobody is ever shown again. */
  credentials: TSchema;
  /** What the schema can't say. */
  faultsOf(credentials: unknown): { pointer: string; detail: string }[];
  create(credentials: unknown, context: ProviderContext): Provider;
}

const sharedTokens = createSharedTokens();
const none = (): never[] => [];

const entry = <C>(
  credentials: TSchema,
  create: (credentials: C, context: ProviderContext) => Provider,
  faultsOf: (credentials: C) => { pointer: string; detail: string }[] = none,
): ProviderEntry => ({
  credentials,
  create: (given, context) => create(given as C, context),
  faultsOf: (given) => faultsOf(given as C),
});

export const pushProviders = {
  apns: entry<ApnsCredentials>(
    ApnsCredentials,
    (credentials, { now, endpoints }) =>
      createApns(credentials, { now, sharedTokens, origins: endpoints.apns }),
    faultsOfApns,
  ),
  fcm: entry<FcmCredentials>(FcmCredentials, (credentials, { now, outbound, endpoints }) =>
    createFcm(credentials, { now, outbound, ...endpoints.fcm }),
  ),
  webpush: entry<WebPushCredentials>(WebPushCredentials, (credentials, { now, outbound }) =>
    createWebPush(credentials, { now, outbound }),
  ),
  webhook: entry<WebhookCredentials>(WebhookCredentials, (credentials, { now, outbound }) =>
    createWebhook(credentials, { now, outbound }),
  ),
};

export type PushProviderName = keyof typeof pushProviders;
