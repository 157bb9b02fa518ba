// What apps prove themselves to providers with, and the providers that are made of it. A change made on another process counts
// here within a second.

import { ImidError } from '../errors.ts';
import type { AppId } from '../ids.ts';
import { findBoundDevices } from '../store/bindings.ts';
import { isDanglingReference } from '../store/constraints.ts';
import type { Database } from '../store/database.ts';
import { createFresh } from '../store/fresh.ts';
import {
  deletePushCredential,
  findPushCredential,
  findPushProviders,
  putPushCredential,
} from '../store/push_credentials.ts';
import { findPushFailures, type PushFailure } from '../store/push_results.ts';
import { agreeOnToken, findSharedToken } from '../store/shared_tokens.ts';
import type { Box } from '../tokens/box.ts';
import { composeTest } from './push_text.ts';
import { createRemade } from './remade.ts';
import {
  createSharedTokens,
  pushProviders,
  type AnyProvider,
  type Outcome,
  type Outbound,
  type PushEndpoints,
  type PushProviderName,
} from './push_providers.ts';

const MAX_AGE_MS = 1_000;
const MAX_PROVIDERS = 1_000;
const PURPOSE = 'push-credential';
const SHARED_PURPOSE = 'shared-token';

export interface PushAccountsOptions {
  database: Database;
  box: Box;
  outbound: Outbound;
  endpoints?: PushEndpoints | undefined;
}

/** What an app uses a provider by; `changedAt` says which of the credentials that it had. */
export interface PushAccount {
  provider: AnyProvider;
  changedAt: Date;
}

export type PushAccounts = ReturnType<typeof createPushAccounts>;

export function createPushAccounts({ database, box, outbound, endpoints = {} }: PushAccountsOptions) {
  const { kysely, clock } = database;
  const keyOf = (appId: AppId, name: string): string => `${appId} ${name}`;
  const fresh = createFresh(MAX_AGE_MS, (key: string) => {
    const [appId, name] = key.split(' ') as [string, string];
    return findPushCredential(kysely, Number(appId) as AppId, name);
  });
  const made = createRemade<string, AnyProvider>(MAX_PROVIDERS);

  // Each process asks once for each.
  const sharedTokens = createSharedTokens(async (name, sign) => {
    let sealed = await findSharedToken(kysely, name);
    sealed ??= await agreeOnToken(kysely, name, await box.seal(SHARED_PURPOSE, Buffer.from(await sign())));
    return (await box.open(SHARED_PURPOSE, sealed)).toString();
  });

  /** Undefined: the app has given no credentials. */
  async function find(appId: AppId, name: string): Promise<PushAccount | undefined> {
    if (!Object.hasOwn(pushProviders, name)) return undefined;
    const key = keyOf(appId, name);
    const credential = await fresh.get(key);
    if (!credential) {
      made.delete(key);
      return undefined;
    }
    const { changedAt, sealed } = credential;
    return {
      provider: await made.get(key, changedAt, () => create(name as PushProviderName, sealed)),
      changedAt,
    };
  }

  async function create(name: PushProviderName, sealed: string): Promise<AnyProvider> {
    const credentials: unknown = JSON.parse((await box.open(PURPOSE, sealed)).toString());
    return pushProviders[name].create(credentials, {
      now: () => clock.now(),
      outbound,
      endpoints,
      sharedTokens,
    });
  }

  async function findGiven(appId: AppId, name: PushProviderName): Promise<AnyProvider> {
    const account = await find(appId, name);
    if (!account) throw new ImidError('not_found', 'The app has no credentials for this provider.');
    return account.provider;
  }

  return {
    /** Throws `invalid_request`, naming the field, and `not_found`. */
    async put(appId: AppId, name: PushProviderName, credentials: unknown) {
      const [fault] = pushProviders[name].faultsOf(credentials, outbound);
      if (fault)
        throw new ImidError('invalid_request', `${fault.pointer.slice(1)} ${fault.detail}.`, {
          errors: [{ in: 'body', pointer: `#${fault.pointer}`, detail: fault.detail }],
        });
      const sealed = await box.seal(PURPOSE, Buffer.from(JSON.stringify(credentials)));
      const put = await putPushCredential(kysely, appId, name, sealed).catch((error: unknown) => {
        if (isDanglingReference(error)) throw new ImidError('not_found', 'There is no such app.');
        throw error;
      });
      fresh.forget(keyOf(appId, name));
      return put;
    },

    list: (appId: AppId) => findPushProviders(kysely, appId),

    /** Throws `not_found`. */
    async remove(appId: AppId, name: PushProviderName): Promise<void> {
      const found = await deletePushCredential(kysely, appId, name);
      fresh.forget(keyOf(appId, name));
      if (!found) throw new ImidError('not_found', 'The app has no credentials for this provider.');
    },

    find,

    /** As `find`, where that is known without asking. */
    peek(appId: AppId, name: string): PushAccount | undefined {
      const key = keyOf(appId, name);
      const { changedAt } = fresh.peek(key) ?? {};
      const provider = changedAt && made.peek(key, changedAt);
      return provider && { provider, changedAt };
    },

    /** What is wrong with the credentials, in words; undefined: nothing, as far as the provider tells. Throws `not_found`. */
    check: async (appId: AppId, name: PushProviderName) => (await findGiven(appId, name)).check(),

    /** Sends a test to devices of a user, and says of each what is wrong, if anything is. Throws `not_found`. */
    async test(appId: AppId, name: PushProviderName, userId: number | undefined, deviceId?: string) {
      const provider = await findGiven(appId, name);
      const devices = userId === undefined ? [] : await findBoundDevices(kysely, appId, userId);
      const meant = devices.filter(
        ({ id, binding }) => binding?.provider === name && (deviceId === undefined || id === deviceId),
      );
      return Promise.all(
        meant.map(async ({ id, binding }) => ({
          deviceId: id,
          fault: faultOf(
            await provider.send(composeTest(), {
              token: binding!.pushToken,
              environment: binding!.environment,
            }),
          ),
        })),
      );
    },

    failures: (appId: AppId, beforeId: number, limit: number): Promise<PushFailure[]> =>
      findPushFailures(kysely, appId, beforeId, limit),

    close(): void {
      made.clear();
    },
  };
}

function faultOf(outcome: Outcome): string | undefined {
  if (outcome.kind === 'sent') return undefined;
  return outcome.kind === 'gone' ? 'gone: the provider knows the push token no more' : outcome.reason;
}
