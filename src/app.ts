// The composition root and table of contents: which stages there are, and what each is given. Which routes stand behind which
// credential is in edge/routes.ts.

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import websocket from '@fastify/websocket';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import Fastify, { LogController } from 'fastify';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { createAccess } from './edge/access.ts';
import { auditRoutes } from './edge/auditing.ts';
import { isSocketRequest, SOCKET_MAX_PAYLOAD_BYTES, SUBPROTOCOL } from './edge/connect.ts';
import { answerHeaders, pageHeaders } from './edge/headers.ts';
import { createRequestIds, describeError, describeRequest, ORIGIN } from './edge/logging.ts';
import { createEdgeMeters } from './edge/meters.ts';
import { openapi } from './edge/openapi.ts';
import { problems, refuseMalformed, sendProblem, toImidError } from './edge/problems.ts';
import { holdQuotas } from './edge/quotas.ts';
import { registerRoutes } from './edge/routes.ts';
import { compileAnswer } from './edge/serialization.ts';
import { completeTimeouts, createBodyTimeouts, type Timeouts } from './edge/timeouts.ts';
import { compileSchema } from './edge/validation.ts';
import { parseJson, parseQuery, refuseBadQuery, refuseWithoutHost } from './edge/parsing.ts';
import { createGauges } from './gauges.ts';
import { createApps } from './identity/apps.ts';
import { createAudit } from './identity/audit.ts';
import { createContactBook } from './identity/contacts.ts';
import { createDevices } from './identity/devices.ts';
import { createNotificationSettings } from './identity/notification_settings.ts';
import { createDirectory } from './identity/directory.ts';
import { finishActs } from './identity/finishing.ts';
import { createHashes } from './identity/hashes.ts';
import { createLookups } from './identity/lookups.ts';
import { createMergers } from './identity/mergers.ts';
import { createRegistry } from './identity/registry.ts';
import { createRehearsals } from './identity/rehearsal.ts';
import { createRenaming } from './identity/renaming.ts';
import { createRetention } from './identity/retention.ts';
import { createOutbound } from './outbound.ts';
import { createReadiness } from './readiness.ts';
import { completeLimits } from './routing/limits.ts';
import { createBell } from './routing/bell.ts';
import { pollGoneFeeds } from './routing/gone_feeds.ts';
import { createPushAccounts } from './routing/push_accounts.ts';
import type { PushTiming } from './routing/push_decision.ts';
import type { PushEndpoints } from './routing/push_providers.ts';
import { createPushing } from './routing/pushing.ts';
import { createHistory } from './routing/history.ts';
import { createMeters } from './routing/meters.ts';
import { completeQuotas } from './routing/quotas.ts';
import { createRings } from './routing/rings.ts';
import { createRouter } from './routing/router.ts';
import { shareQuotas } from './routing/shared_quotas.ts';
import { createLogTracing, type Tracing } from './routing/tracing.ts';
import { tellEvents } from './routing/webhook_events.ts';
import { createWebhooks } from './routing/webhooks.ts';
import type { Database } from './store/database.ts';
import { createApiKeys } from './tokens/api_keys.ts';
import { createBox } from './tokens/box.ts';
import { createKeptAnswers } from './tokens/kept_answers.ts';
import { createExchange } from './tokens/exchange.ts';
import { createIssuers } from './tokens/issuers.ts';
import { createKeys } from './tokens/keys.ts';
import { createRevocations, type News } from './tokens/revocations.ts';
import { keepSecret } from './tokens/secrets.ts';
import type { SigningAlg } from './tokens/signing.ts';
import { createTokens } from './tokens/tokens.ts';

/** For connections to providers of push that nothing is sent on. */
const PUSH_KEEP_ALIVE_MS = 30_000;

export interface AppOptions {
  database: Database;
  adminKey: string;
  /** Seals secrets at rest. */
  secret: string;
  /** What some may still be sealed under. */
  otherSecret?: string | undefined;
  /** What tokens are signed with. */
  signingAlg?: SigningAlg | undefined;
  /** In milliseconds: how old a signing key gets before the next one signs. */
  signingKeyMaxAgeMs?: number | undefined;
  /** In milliseconds: how long a process without news of revocations goes on. */
  maxBlindMs?: number | undefined;
  /** The issuer of tokens. */
  publicUrl: string;
  logLevel: string;
  /** Where lines of the log go. Undefined: to stdout. */
  logTo?: { write(line: string): void } | undefined;
  /** Follows sends for traces. */
  traces?: Tracing | undefined;
  /** Rings between processes go through it. Undefined: through Postgres. */
  natsUrl?: string | undefined;
  /** In milliseconds: how often it is looked whether a client still answers. */
  pingMs?: number | undefined;
  /** In milliseconds: how long a client may take to read what was written to it. */
  drainTimeoutMs?: number | undefined;
  limits?: Parameters<typeof completeLimits>[0];
  /** How many messages may wait to be stored. */
  maxQueuedMessages?: number | undefined;
  quotas?: Parameters<typeof completeQuotas>[0];
  /** In milliseconds: how often processes tell each other what they let be used of them. */
  quotaExchangeMs?: number | undefined;
  timeouts?: { [Name in keyof Timeouts]?: Timeouts[Name] | undefined } | undefined;
  /** Whose X-Forwarded-For is believed: addresses and networks. Undefined: nobody's. */
  trustedProxies?: readonly string[] | undefined;
  /** In milliseconds: how often it is made good what rings between processes have missed. */
  heartbeatMs?: number | undefined;
  /** In milliseconds: how long an answer is kept for who asks again with its Idempotency-Key. */
  idempotencyMs?: number | undefined;
  /** In milliseconds: how long such a key is held for a process that may have ended. */
  idempotencyLeaseMs?: number | undefined;
  /** URLs of customers may be http, and at private addresses. */
  allowPrivateUrls?: boolean | undefined;
  /** Until a device that is said to be there gets a push after all, and between two of a conversation. */
  pushTiming?: Partial<PushTiming> | undefined;
  /** In milliseconds: how often it is looked what is to be pushed. */
  pushIntervalMs?: number | undefined;
  /** In milliseconds: how often it is looked which providers are to be asked for dead tokens. */
  pushPollMs?: number | undefined;
  /** In milliseconds: how often it is looked what webhooks are to be told. */
  webhookIntervalMs?: number | undefined;
  /** In milliseconds: the longest that an event waits for the second try to tell a webhook of it. */
  webhookRetryMs?: number | undefined;
  /** Where providers of push are, instead of where they really are. */
  pushEndpoints?: PushEndpoints | undefined;
  /** The playground is served. */
  playground?: boolean | undefined;
  /** In milliseconds: how often an issuer is asked for a key that it hasn't published. */
  jwksCooldownMs?: number | undefined;
}

const BODY_MAX_BYTES = 2 * 1024 * 1024;
const HEADERS_MAX_BYTES = 16 * 1024;
const TIMEOUT_CHECKS_MS = 1_000;
/** How long a process waits until it can be rung; without that, what others tell is seen a second later. */
const BELL_PATIENCE_MS = 1_000;
const PARAM_MAX_LENGTH = 600; // 128 bytes of UTF-8, each as %XX, behind an appId

export async function createApp(options: AppOptions) {
  const { database, adminKey, secret, publicUrl, logLevel, pingMs, drainTimeoutMs, maxQueuedMessages } =
    options;
  const metrics = new Registry();
  const newRequestId = createRequestIds();
  const edgeMeters = createEdgeMeters(metrics);
  const timeouts = completeTimeouts(options.timeouts);
  const headers = answerHeaders(publicUrl);
  const app = Fastify({
    logger: {
      level: logLevel,
      serializers: { err: describeError, req: describeRequest },
      ...(options.logTo ? { stream: options.logTo } : {}),
    },
    genReqId: newRequestId,
    logController: new LogController({ requestIdLogLabel: ORIGIN }),
    // A logger per request tells its lines apart; where there are only errors, the error's own line does.
    childLoggerFactory: (logger, bindings, child) =>
      logger.level === 'info' || logger.level === 'debug' || logger.level === 'trace'
        ? logger.child(bindings, child)
        : logger,
    bodyLimit: BODY_MAX_BYTES,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    onProtoPoisoning: 'ignore',
    onConstructorPoisoning: 'ignore',
    // Only this is an upgrade; whoever offers another protocol, or elsewhere, is answered in HTTP.
    http: {
      shouldUpgradeCallback: isSocketRequest,
      maxHeaderSize: HEADERS_MAX_BYTES,
      headersTimeout: timeouts.headersMs,
      connectionsCheckingInterval: Math.min(timeouts.headersMs, TIMEOUT_CHECKS_MS),
      requireHostHeader: false, // it is required, with an answer of ours
    },
    keepAliveTimeout: timeouts.keepAliveMs,
    trustProxy: options.trustedProxies ? [...options.trustedProxies] : false,
    clientErrorHandler(error, socket) {
      const origin = newRequestId();
      app.log.debug({ origin, err: error }, 'what came was not a request');
      edgeMeters.answered(refuseMalformed(error, socket, origin, headers));
    },
    frameworkErrors(error, request, reply) {
      const problem = toImidError(error);
      void sendProblem(problem, request, reply.headers(headers));
      edgeMeters.answered(problem.code); // no hook is run for it
    },
    routerOptions: { maxParamLength: PARAM_MAX_LENGTH, querystringParser: parseQuery },
  }).withTypeProvider<TypeBoxTypeProvider>();
  // Not 417 in words of Node's own: RFC 9110 section 10.1.1 lets a server pass over an expectation it doesn't know.
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response));
  const log = (message: string, error?: unknown, more?: object): void =>
    app.log.error({ ...more, err: error }, message);
  const tracing =
    logLevel === 'debug' || logLevel === 'trace'
      ? createLogTracing((fields, message) => app.log.debug(fields, message), options.traces)
      : options.traces;
  const processId = randomUUID();
  const limits = completeLimits(options.limits);
  let isDraining = false;

  // The stages, each given what stands above it.
  const box = createBox(secret, options.otherSecret);
  const hashes = createHashes(await keepSecret(database, box, 'former-names'));
  const meters = createMeters(metrics);
  const rings = createRings({ database, processId, meters, log });
  const apps = createApps({ database, onChange: (appId) => rings.tellAll('app', [appId]) });
  const lookups = createLookups({ database, onChange: () => rings.tellAll('names', []) });
  const directory = createDirectory({ database, lookups, hashes });
  const registry = createRegistry({ database, directory, lookups, hashes });
  const mergers = createMergers({ database, apps, directory, lookups, hashes });
  const audit = createAudit({ database, hashes, log });
  const renaming = createRenaming({ database, lookups, hashes });
  const beginRehearsal = createRehearsals({ database, hashes });
  const finishing = finishActs({ registry, mergers, expire: createRetention(database), log });
  const contactBook = createContactBook(database);
  const devices = createDevices(database);
  const tellTrust = (): void => rings.tellAll('trust', []);
  let closeRevoked = (_news: News): void => {}; // there are no connections yet
  const keys = await createKeys({
    database,
    box,
    alg: options.signingAlg,
    maxAgeMs: options.signingKeyMaxAgeMs,
    maxBlindMs: options.maxBlindMs,
    log,
    onChange() {
      tellTrust();
      closeRevoked({ revoked: [], hasOtherKeys: true });
    },
  });
  const revocations = await createRevocations({
    database,
    keys,
    maxBlindMs: options.maxBlindMs,
    onRevoke: tellTrust,
    onNews: (news) => closeRevoked(news),
  });
  const tokens = createTokens({ keys, revocations, issuer: publicUrl, clock: database.clock });
  const apiKeys = createApiKeys({
    database,
    maxPerApp: limits.apiKeysPerApp,
    onRevoke: (keyId) => rings.tellAll('key', [keyId]),
    log,
  });
  const keptAnswers = createKeptAnswers({
    database,
    box,
    lifeMs: options.idempotencyMs,
    leaseMs: options.idempotencyLeaseMs,
    log,
  });
  const outbound = createOutbound({ allowPrivate: options.allowPrivateUrls ?? false });
  const issuers = createIssuers({
    database,
    outbound,
    maxPerApp: limits.issuersPerApp,
    cooldownMs: options.jwksCooldownMs,
  });
  const exchange = createExchange({ issuers, clock: database.clock });
  const access = createAccess({ adminKey, apps, apiKeys, tokens, directory });
  const pushOutbound = createOutbound({
    allowPrivate: options.allowPrivateUrls ?? false,
    keepAliveMs: PUSH_KEEP_ALIVE_MS,
  });
  const pushAccounts = createPushAccounts({
    database,
    box,
    outbound: pushOutbound,
    endpoints: options.pushEndpoints,
  });
  let isRoutingBusy = (): boolean => false;
  const pushing = createPushing({
    database,
    apps,
    accounts: pushAccounts,
    meters,
    isBusy: () => isRoutingBusy(),
    log,
    timing: options.pushTiming,
    intervalMs: options.pushIntervalMs,
  });
  const webhooks = await createWebhooks({ database, box, outbound: pushOutbound, log });
  const events = tellEvents({
    database,
    apps,
    webhooks,
    meters,
    maxPerApp: limits.webhookEventsPerApp,
    log,
    intervalMs: options.webhookIntervalMs,
    retryMs: options.webhookRetryMs,
  });
  const goneFeeds = pollGoneFeeds({
    database,
    accounts: pushAccounts,
    log,
    intervalMs: options.pushPollMs,
  });
  const router = await createRouter({
    database,
    processId,
    apps,
    directory,
    rings,
    meters,
    limits,
    onPushDue: pushing.lookSoon,
    isTold: webhooks.isTold,
    admit: access.admit,
    trust: revocations,
    tracing,
    log,
    maxQueuedMessages,
    heartbeatMs: options.heartbeatMs,
  });
  closeRevoked = router.closeRevoked;
  isRoutingBusy = () => router.state.queue.messages > 0;
  const history = createHistory({ database, directory });

  const listening = Promise.withResolvers<void>();
  const bell = createBell({
    processId,
    database,
    natsUrl: options.natsUrl,
    log,
    onRing: rings.hear,
    onListening() {
      listening.resolve();
      rings.greet();
      router.check().catch((error: unknown) => log('positions could not be checked', error));
    },
  });
  rings.begin(bell, {
    ...router.listeners,
    app(ids) {
      ids.forEach(apps.hear);
      router.listeners.app(ids);
    },
    key: (ids) => ids.forEach(apiKeys.hear),
    names: lookups.hear,
  });
  await Promise.race([listening.promise, sleep(BELL_PATIENCE_MS)]);

  createGauges(metrics, { database, meters, router, pushing, registry, apps, apiKeys, lookups });
  collectDefaultMetrics({ register: metrics });

  // What holds for all routes.
  app.setValidatorCompiler(({ schema, httpPart }) => compileSchema(schema, httpPart as 'body'));
  app.setSerializerCompiler(({ schema }) => compileAnswer(schema));
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, parseJson);
  app.addHook('onRequest', (request, reply, done) => {
    reply.headers(headers).header('x-request-id', request.id);
    done();
  });
  app.addHook('onRequest', refuseWithoutHost);
  app.addHook('onRequest', refuseBadQuery);
  const bodyTimeouts = createBodyTimeouts(timeouts);
  app.addHook('preParsing', bodyTimeouts.limitWhole);
  app.addHook('onSend', bodyTimeouts.closeUnreading);
  app.addHook('onResponse', bodyTimeouts.closeUnread);
  app.addHook('onResponse', edgeMeters.count);
  app.decorateRequest('tenant');
  app.decorateRequest('granted');
  app.decorateRequest('grantedUntil');
  app.decorateRequest('actor');
  app.decorateRequest('admitted');
  app.decorateRequest('rawBody');
  app.decorateRequest('claim');
  auditRoutes(app, audit);
  app.addHook('onClose', () => Promise.all([audit.stop(), apiKeys.stop()]));
  await app.register(problems);
  await app.register(openapi, { headers: pageHeaders(publicUrl) });
  const quotas = await holdQuotas(app, completeQuotas(options.quotas), () => database.clock.now().getTime());
  const sharing = shareQuotas({
    database,
    processId,
    uses: quotas.shared,
    intervalMs: options.quotaExchangeMs,
    log,
  });
  await app.register(websocket, {
    options: {
      maxPayload: SOCKET_MAX_PAYLOAD_BYTES,
      perMessageDeflate: false,
      skipUTF8Validation: true, // ours closes with our own code
      handleProtocols: (offered: Set<string>) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
    },
    errorHandler: (_error, socket) => socket.terminate(),
    preClose: (done) => void close().then(() => done(), done),
  });

  await registerRoutes(app, {
    access,
    apiKeys,
    apps,
    audit,
    beginRehearsal,
    contactBook,
    devices,
    notificationSettings: createNotificationSettings(database),
    directory,
    drainTimeoutMs,
    exchange,
    history,
    issuers,
    keptAnswers,
    keys,
    limits,
    mergers,
    metrics,
    pingMs,
    quotas,
    registry,
    renaming,
    revocations,
    router,
    timeouts,
    tokens,
    pushAccounts,
    webhooks,
    playgroundHeaders: options.playground ? pageHeaders(publicUrl) : undefined,
    isDraining: () => isDraining,
    findFaults: createReadiness({ database, router, trust: revocations, isDraining: () => isDraining }),
  });

  /** Refuses new connections, finishes what is under way, and closes the sockets for a restart. */
  async function close(): Promise<void> {
    isDraining = true;
    finishing.stop();
    await Promise.all([pushing.stop(), goneFeeds.stop(), events.stop()]);
    pushOutbound.close();
    keptAnswers.stop();
    await sharing.stop();
    await router.drain();
    await bell.close();
    for (const socket of app.websocketServer.clients)
      if (socket.readyState === socket.OPEN) socket.close(1001);
    app.websocketServer.close();
  }

  return app;
}
