// What every push provider is to the queue: one call per device, and an outcome that says what to do next.

/** What is to be shown, in no provider's own words. */
export interface Notification {
  /** Of the message it is about; also what repeats are told apart by where a provider can. */
  id: string;
  title?: string | undefined;
  body?: string | undefined;
  /** For the app; strings only, as most providers take nothing else. At most 2 KiB of JSON. */
  data: Readonly<Record<string, string>>;
  /** How much is unread. */
  badge?: number | undefined;
  /** A later one with the same id takes the place of an earlier one: at most 64 bytes, [A-Za-z0-9_-]. */
  collapseId?: string | undefined;
  ttlSeconds: number;
  priority: 'high' | 'normal';
  /** Shows nothing; tells the app that something has changed (such as what was read elsewhere). */
  isSilent: boolean;
}

/** A device as its provider knows it. */
export interface Target {
  /** The push token; of Web Push the subscription as JSON. */
  token: string;
  environment: 'production' | 'sandbox';
}

export type Outcome =
  | { kind: 'sent'; /** The provider's own id of it. */ providerId?: string | undefined }
  /** The token is dead beyond doubt; `since`: from when on, by the provider. */
  | { kind: 'gone'; since?: Date | undefined }
  /** Not now: throttled, out of order, out of reach, no answer. */
  | { kind: 'retry'; afterMs?: number | undefined; reason: string }
  /** Never: the credential, or what was sent, is refused. `isCredential`: everything else of this app will be, too. */
  | { kind: 'failed'; reason: string; isCredential: boolean };

/** What took longer is not gone on with at once, such as with another token: a `send` has to end in time. */
export const AGAIN_MAX_MS = 2_000;

export interface Provider {
  /** Never throws for what the provider answers. Ends within 12 seconds, or another worker may send it as well. */
  send(notification: Notification, target: Target): Promise<Outcome>;
  /** Tries the credential without a device, where the provider has a way; what is wrong with it, in words, or undefined. */
  check(): Promise<string | undefined>;
  close(): Promise<void>;
}
