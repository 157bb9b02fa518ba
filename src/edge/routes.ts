// The routes, by who may call them: each scope asks for its credential, and holds to its quotas, before anything else.

import cors from '@fastify/cors';
import type { FastifyInstance } from 'fastify';
import type { Registry as Metrics } from 'prom-client';
import type { Apps } from '../identity/apps.ts';
import type { Audit } from '../identity/audit.ts';
import type { ContactBook } from '../identity/contacts.ts';
import type { Devices } from '../identity/devices.ts';
import type { NotificationSettings } from '../identity/notification_settings.ts';
import type { Directory } from '../identity/directory.ts';
import type { Mergers } from '../identity/mergers.ts';
import type { Registry } from '../identity/registry.ts';
import type { BeginRehearsal } from '../identity/rehearsal.ts';
import type { Renaming } from '../identity/renaming.ts';
import type { History } from '../routing/history.ts';
import type { Limits } from '../routing/limits.ts';
import type { PushAccounts } from '../routing/push_accounts.ts';
import type { Router } from '../routing/router.ts';
import type { ApiKeys } from '../tokens/api_keys.ts';
import type { Exchange } from '../tokens/exchange.ts';
import type { Issuers } from '../tokens/issuers.ts';
import type { KeptAnswers } from '../tokens/kept_answers.ts';
import type { Keys } from '../tokens/keys.ts';
import type { Revocations } from '../tokens/revocations.ts';
import type { Tokens } from '../tokens/tokens.ts';
import type { createAccess } from './access.ts';
import { adminApps, tenantApp } from './apps.ts';
import { audit as auditTrail } from './audit.ts';
import { connect } from './connect.ts';
import { contacts } from './contacts.ts';
import { forPages, refuseOtherPages } from './cors.ts';
import { devices as deviceList } from './devices.ts';
import { userExport } from './exports.ts';
import type { Headers } from './headers.ts';
import { historyExport } from './history_exports.ts';
import { historyImport } from './history_imports.ts';
import { answerOnce } from './idempotency.ts';
import { identities } from './identities.ts';
import { userImport } from './imports.ts';
import { issuers as issuerRoutes } from './issuers.ts';
import { keys as keyRoutes } from './keys.ts';
import { me } from './me.ts';
import { merges } from './merges.ts';
import { messages } from './messages.ts';
import { myBlocked } from './my_blocked.ts';
import { myConversations } from './my_conversations.ts';
import { myDevices } from './my_devices.ts';
import { myNotifications } from './my_notifications.ts';
import { oauth } from './oauth.ts';
import { playground } from './playground.ts';
import { presence } from './presence.ts';
import { push as pushRoutes } from './push.ts';
import type { holdQuotas } from './quotas.ts';
import { renameLists } from './rename_lists.ts';
import { renames } from './renames.ts';
import { tokenRevocation } from './revocations.ts';
import { schemeUse } from './schemes.ts';
import { signingKeys } from './signing_keys.ts';
import type { Timeouts } from './timeouts.ts';
import { tokenIssue } from './tokens.ts';
import { closeQuery } from './validation.ts';
import { wellKnown, type WellKnownOptions } from './wellknown.ts';

/** The stages that routes hand on to. */
export interface Stages {
  access: ReturnType<typeof createAccess>;
  apiKeys: ApiKeys;
  apps: Apps;
  audit: Audit;
  beginRehearsal: BeginRehearsal;
  contactBook: ContactBook;
  devices: Devices;
  notificationSettings: NotificationSettings;
  directory: Directory;
  drainTimeoutMs: number | undefined;
  exchange: Exchange;
  findFaults: WellKnownOptions['findFaults'];
  history: History;
  isDraining: () => boolean;
  issuers: Issuers;
  keptAnswers: KeptAnswers;
  keys: Keys;
  limits: Limits;
  mergers: Mergers;
  metrics: Metrics;
  pingMs: number | undefined;
  pushAccounts: PushAccounts;
  /** Undefined: there is no playground. */
  playgroundHeaders: Headers | undefined;
  quotas: Awaited<ReturnType<typeof holdQuotas>>;
  registry: Registry;
  renaming: Renaming;
  revocations: Revocations;
  router: Router;
  timeouts: Timeouts;
  tokens: Tokens;
}

export async function registerRoutes(app: FastifyInstance, stages: Stages): Promise<void> {
  const {
    access,
    apps,
    apiKeys,
    audit,
    beginRehearsal,
    contactBook,
    devices,
    notificationSettings,
    directory,
    exchange,
    history,
    issuers,
  } = stages;
  const { keptAnswers, keys, limits, mergers, metrics, quotas, registry, renaming, revocations, router } =
    stages;
  const {
    timeouts,
    tokens,
    playgroundHeaders,
    pushAccounts,
    findFaults,
    isDraining,
    pingMs,
    drainTimeoutMs,
  } = stages;

  if (playgroundHeaders) await app.register(playground, { headers: playgroundHeaders });
  await app.register(wellKnown, { keys, revocations, metrics, findFaults });
  await app.register(
    async (open) => {
      await open.register(cors, forPages);
      open.addHook('onRoute', closeQuery);
      open.addHook('onRequest', quotas.takeAddress);
      await open.register(oauth, { apps, directory, registry, tokens, exchange });
    },
    { prefix: '/oauth' },
  );
  await app.register(async (admin) => {
    admin.addHook('onRequest', quotas.refuseAddress);
    admin.addHook('onError', quotas.countRefused);
    admin.addHook('onRequest', access.requireAdmin);
    admin.addHook('onRoute', closeQuery);
    admin.addHook('onRoute', answerOnce(keptAnswers));
    await admin.register(adminApps, { prefix: '/v1/apps', apps, apiKeys });
    await admin.register(signingKeys, { prefix: '/v1', keys });
    await admin.register(auditTrail, { prefix: '/v1', audit });
  });
  await app.register(
    async (backend) => {
      backend.addHook('onRequest', quotas.refuseAddress);
      backend.addHook('onError', quotas.countRefused);
      backend.addHook('onRequest', access.requireBackend);
      backend.addHook('onRoute', closeQuery);
      backend.addHook('onRoute', answerOnce(keptAnswers));
      backend.addHook('onRequest', quotas.takeBackend);
      await backend.register(tenantApp, { apps, router });
      await backend.register(keyRoutes, { apiKeys });
      await backend.register(identities, { directory, registry, router });
      await backend.register(renames, { directory, registry });
      await backend.register(renameLists, { directory, registry, renaming, idleMs: timeouts.idleMs });
      await backend.register(merges, { mergers, router });
      await backend.register(userImport, { registry, beginRehearsal, idleMs: timeouts.idleMs });
      await backend.register(userExport, { directory });
      await backend.register(schemeUse, { directory, router });
      await backend.register(tokenIssue, { tokens, directory });
      await backend.register(tokenRevocation, { revocations, directory, apps });
      await backend.register(issuerRoutes, { issuers });
      await backend.register(messages, { directory, router });
      await backend.register(historyImport, { history, idleMs: timeouts.idleMs });
      await backend.register(historyExport, { history, directory });
      await backend.register(presence, { directory, router });
      await backend.register(deviceList, { directory, devices });
      await backend.register(pushRoutes, { directory, pushAccounts });
      await backend.register(contacts, { directory, contactBook });
    },
    { prefix: '/v1/apps/:appId' },
  );
  await app.register(
    async (client) => {
      await client.register(cors, forPages);
      client.addHook('onRoute', closeQuery);
      client.addHook('onRequest', quotas.refuseAddress);
      client.addHook('onError', quotas.countRefused);
      client.addHook('onRequest', access.requireClient);
      client.addHook('onRequest', quotas.takeUser);
      client.addHook('onRequest', refuseOtherPages);
      await client.register(me, { contactBook, router });
      await client.register(myConversations, { router });
      await client.register(myBlocked, { directory, router });
      await client.register(myDevices, { devices });
      await client.register(myNotifications, { directory, notificationSettings });
    },
    { prefix: '/v1/me' },
  );
  await app.register(
    async (socket) => {
      socket.addHook('onRequest', quotas.refuseAddress);
      socket.addHook('onError', quotas.countRefused);
      socket.addHook('onRequest', access.requireClient);
      socket.addHook('onRequest', quotas.takeUser);
      await socket.register(connect, { router, isDraining, limits, pingMs, drainTimeoutMs });
    },
    { prefix: '/v1' },
  );
}
