// The webhooks of apps: where each backend is told what happens. Its secrets are shown once, when they were made here, and to
// nobody again. A change made on another process counts here within a second.

import { ImidError } from '../errors.ts';
import { makeUuid, type AppId } from '../ids.ts';
import { createSignedPost, type SignedPost } from '../push/signed_post.ts';
import { createWebhookSecret } from '../push/webhook.ts';
import { isDanglingReference } from '../store/constraints.ts';
import { coalesce } from '../store/coalesced.ts';
import type { Database } from '../store/database.ts';
import { createFresh } from '../store/fresh.ts';
import {
  deleteWebhook,
  disableWebhook,
  findTold,
  findWebhook,
  putWebhook,
  type StoredWebhook,
  type WebhookSettings,
} from '../store/webhooks.ts';
import type { Box } from '../tokens/box.ts';
import type { Outbound } from './push_providers.ts';
import { createRemade } from './remade.ts';

const MAX_AGE_MS = 1_000;
const MAX_POSTS = 1_000;
const ONE_AT_A_TIME = { maxActs: 1, maxAsks: 1_000 };
const PURPOSE = 'webhook';

export { webhookEventTypes } from '../store/webhook_events.ts';

export type Webhook = Omit<StoredWebhook, 'sealed'>;
/** One that is told; `changedAt` says which of those that the app had. */
export interface UsableWebhook {
  post: SignedPost['post'];
  changedAt: Date;
}
export type Webhooks = Awaited<ReturnType<typeof createWebhooks>>;

export interface WebhooksOptions {
  database: Database;
  box: Box;
  outbound: Outbound;
  log: (message: string, error: unknown) => void;
}

export async function createWebhooks({ database, box, outbound, log }: WebhooksOptions) {
  const { kysely, clock } = database;
  const now = (): Date => clock.now();
  const fresh = createFresh(MAX_AGE_MS, (appId: AppId) => findWebhook(kysely, appId));
  /** Apps whose backends are told of what comes for users who aren't there. */
  let told: ReadonlySet<AppId> = await findTold(kysely);
  // One look after the other, so that none brings back what an earlier one saw.
  const readTold = coalesce(async (asks: readonly undefined[]) => {
    told = await findTold(kysely);
    return asks;
  }, ONE_AT_A_TIME);
  const follow = (): Promise<void> =>
    readTold(undefined).catch((error: unknown) =>
      log('it could not be looked who is told of messages', error),
    );
  const following = setInterval(() => void follow(), MAX_AGE_MS).unref();
  const made = createRemade<AppId, SignedPost>(MAX_POSTS);
  const seal = (secrets: readonly string[]): Promise<string> =>
    box.seal(PURPOSE, Buffer.from(JSON.stringify(secrets)));

  async function create({ url, sealed }: StoredWebhook): Promise<SignedPost> {
    const secrets = JSON.parse((await box.open(PURPOSE, sealed)).toString()) as string[];
    return createSignedPost({ url, secrets }, { now, outbound, who: 'the webhook' });
  }

  const open = (appId: AppId, webhook: StoredWebhook): Promise<SignedPost> =>
    made.get(appId, webhook.changedAt, () => create(webhook));

  async function get(appId: AppId): Promise<StoredWebhook> {
    const webhook = await findWebhook(kysely, appId);
    if (!webhook) throw new ImidError('not_found', 'The app has no webhook.');
    return webhook;
  }

  return {
    /** Whether the backend of an app is told of what comes for users who aren't there. */
    isTold: (appId: AppId): boolean => told.has(appId),

    /**
     * Has it told from now on, also one that was disabled. Gives back the secret that was made for one that is new and was
     * given none. Throws `invalid_request`, naming the field, and `not_found`.
     */
    async put(appId: AppId, { secrets, ...settings }: WebhookSettings & { secrets: string[] | undefined }) {
      const detail = outbound.faultOf(settings.url);
      if (detail !== undefined)
        throw new ImidError('invalid_request', `url ${detail}.`, {
          errors: [{ in: 'body', pointer: '#/url', detail }],
        });
      const madeSecrets = [createWebhookSecret()];
      const put = await putWebhook(
        kysely,
        appId,
        settings,
        secrets ? { given: await seal(secrets) } : { otherwise: await seal(madeSecrets) },
      ).catch((error: unknown) => {
        if (isDanglingReference(error)) throw new ImidError('not_found', 'There is no such app.');
        throw error;
      });
      fresh.forget(appId);
      await follow();
      return { ...put, madeSecrets: put.isNew && !secrets ? madeSecrets : undefined };
    },

    /** Throws `not_found`. */
    async get(appId: AppId): Promise<Webhook> {
      const { sealed: _sealed, ...webhook } = await get(appId);
      return webhook;
    },

    /** Throws `not_found`. */
    async remove(appId: AppId): Promise<void> {
      const found = await deleteWebhook(kysely, appId);
      fresh.forget(appId);
      made.delete(appId);
      if (!found) throw new ImidError('not_found', 'The app has no webhook.');
    },

    /** Sends it an event of no meaning; what is wrong, in words, or undefined. Throws `not_found`. */
    async check(appId: AppId): Promise<string | undefined> {
      const webhook = await get(appId);
      const { post } = await open(appId, webhook);
      const outcome = await post(makeUuid(now()), (timestamp) =>
        JSON.stringify({ type: 'webhook.test', timestamp, data: {} }),
      );
      if (outcome.kind === 'gone') return 'gone: the webhook answers 410; for an event, that disables it';
      if (outcome.kind !== 'sent') return outcome.reason;
      return webhook.disabledAt && 'disabled: it answered 410 before; put it again to have it told again';
    },

    /** How it is told; undefined: the app has none, or it is disabled. */
    async find(appId: AppId): Promise<UsableWebhook | undefined> {
      const webhook = await fresh.get(appId);
      if (!webhook || webhook.disabledAt) return undefined;
      const { post } = await open(appId, webhook);
      return { post, changedAt: webhook.changedAt };
    },

    /** Has it told nothing any more, unless it was changed since; gives back the types of what it will not be told. */
    async disable(appId: AppId, changedAt: Date): Promise<string[]> {
      const types = await disableWebhook(kysely, appId, changedAt);
      fresh.forget(appId);
      return types;
    },

    /** Gives up what is under way. */
    close(): void {
      clearInterval(following);
      made.clear();
    },
  };
}
