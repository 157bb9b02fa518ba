// Apple's table of the reasons that APNs gives, and what each comes to. A token is dropped only for those that say of the
// token itself that it is dead.

import type { Outcome } from './contract.ts';

export interface ApnsAnswer {
  status: number;
  /** In Apple's words; undefined where there is none that could be one of theirs. */
  reason: string | undefined;
  since: Date | undefined;
  retryAfterMs: number | undefined;
  apnsId: string | undefined;
}

/** What is to be done before the outcome counts: once, with another token or on another connection. */
export type Remedy = 'token' | 'connection';

export interface Reaction {
  status: number;
  remedy?: Remedy;
  outcome(answer: ApnsAnswer): Outcome;
}

const QUARTER_HOUR_MS = 15 * 60_000;
const TOKEN_UPDATE_MS = 20 * 60_000;
const CLOCK = 'or the clock of this server is wrong';

const gone: Reaction['outcome'] = ({ since }) => ({ kind: 'gone', since });

export const later =
  (reason: string, afterMs?: number): Reaction['outcome'] =>
  ({ retryAfterMs = afterMs }) => ({ kind: 'retry', reason, afterMs: retryAfterMs });

export const never =
  (reason: string, isCredential = false): Reaction['outcome'] =>
  () => ({ kind: 'failed', reason, isCredential });

export const badCredential = (words: string) => never(`credential: ${words}`, true);
const defect = (words: string) => never(`refused: Apple finds fault with the request, ${words}`);

export const reactions: Readonly<Record<string, Reaction>> = {
  Unregistered: { status: 410, outcome: gone },
  ExpiredToken: { status: 410, outcome: gone },
  BadDeviceToken: { status: 400, outcome: gone },
  DeviceTokenNotForTopic: {
    status: 400,
    outcome: never(
      "wrong_app: the device's token is of another app than bundleId; if all are, bundleId is wrong",
    ),
  },

  ExpiredProviderToken: {
    status: 403,
    remedy: 'token',
    outcome: later(
      'clock: Apple takes a provider token that was just made for too old, so the clock of this server is wrong',
      TOKEN_UPDATE_MS,
    ),
  },
  TooManyProviderTokenUpdates: {
    status: 429,
    outcome: later(
      'throttled: Apple sees too many provider tokens of this key: others use it too, or processes share none',
      TOKEN_UPDATE_MS,
    ),
  },
  TooManyRequests: { status: 429, outcome: later('throttled: too many notifications to this device') },

  InvalidProviderToken: {
    status: 403,
    outcome: badCredential(`Apple knows no such key: check keyId, teamId and privateKey; ${CLOCK}`),
  },
  MissingProviderToken: { status: 403, outcome: badCredential('Apple sees no provider token') },
  Forbidden: { status: 403, outcome: badCredential('Apple forbids this key to send') },
  BadCertificate: { status: 403, outcome: badCredential('Apple calls the certificate bad') },
  BadCertificateEnvironment: {
    status: 403,
    outcome: badCredential('the certificate is of the other environment (sandbox or production)'),
  },
  BadEnvironmentKeyIdInToken: {
    status: 403,
    outcome: badCredential(
      'the key is of the other environment only (sandbox or production): make one of both',
    ),
  },
  UnrelatedKeyIdInToken: {
    status: 403,
    remedy: 'connection',
    outcome: badCredential(
      'Apple finds keyId unrelated to the key that it saw first: check keyId and teamId',
    ),
  },
  BadTopic: { status: 400, outcome: badCredential('Apple calls bundleId invalid') },
  MissingTopic: { status: 400, outcome: badCredential('Apple sees no topic: check bundleId') },
  TopicDisallowed: { status: 400, outcome: badCredential('the key may not send to this bundleId') },

  InternalServerError: {
    status: 500,
    outcome: later('unavailable: Apple has an internal error', QUARTER_HOUR_MS),
  },
  ServiceUnavailable: { status: 503, outcome: later('unavailable: APNs is not available', QUARTER_HOUR_MS) },
  Shutdown: {
    status: 503,
    remedy: 'connection',
    outcome: later('unavailable: the server of APNs is shutting down'),
  },
  IdleTimeout: { status: 400, remedy: 'connection', outcome: later('unavailable: Apple gave up waiting') },

  BadCollapseId: { status: 400, outcome: defect('its collapse id') },
  BadExpirationDate: { status: 400, outcome: defect('its time of expiry') },
  BadMessageId: { status: 400, outcome: defect('its id') },
  BadPriority: { status: 400, outcome: defect('its priority') },
  DuplicateHeaders: { status: 400, outcome: defect('its headers') },
  InvalidPushType: { status: 400, outcome: defect('its type') },
  MissingDeviceToken: { status: 400, outcome: defect('it names no device') },
  PayloadEmpty: { status: 400, outcome: defect('it is empty') },
  BadPath: { status: 404, outcome: defect('its path') },
  MethodNotAllowed: { status: 405, outcome: defect('its method') },
  PayloadTooLarge: { status: 413, outcome: never('too_large: Apple takes nothing of this size') },
};
