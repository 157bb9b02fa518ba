// The composition root and table of contents: which stages there are, what each is given, and which routes stand
// behind which credential.

import websocket from '@fastify/websocket';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import Fastify from 'fastify';
import { adminApps, tenantApp } from './edge/apps.ts';
import { createAccess } from './edge/access.ts';
import { connect, isSocketRequest, SOCKET_MAX_PAYLOAD_BYTES, SUBPROTOCOL } from './edge/connect.ts';
import { contacts } from './edge/contacts.ts';
import { userExport } from './edge/exports.ts';
import { identities } from './edge/identities.ts';
import { userImport } from './edge/imports.ts';
import { keys as keyRoutes } from './edge/keys.ts';
import { me } from './edge/me.ts';
import { messages } from './edge/messages.ts';
import { openapi } from './edge/openapi.ts';
import { presence } from './edge/presence.ts';
import { problems, refuseMalformed, sendProblem, toImidError } from './edge/problems.ts';
import { renames } from './edge/renames.ts';
import { schemeUse } from './edge/schemes.ts';
import { tokenIssue } from './edge/tokens.ts';
import { compileSchema } from './edge/validation.ts';
import { parseJson, parseQuery, refuseBadQuery } from './edge/parsing.ts';
import { wellKnown } from './edge/wellknown.ts';
import { createApps } from './identity/apps.ts';
import { createContactBook } from './identity/contacts.ts';
import { createDirectory } from './identity/directory.ts';
import { createHashes } from './identity/hashes.ts';
import { createRegistry } from './identity/registry.ts';
import { createRehearsals } from './identity/rehearsal.ts';
import { createRouter } from './routing/router.ts';
import type { Database } from './store/database.ts';
import { createApiKeys } from './tokens/api_keys.ts';
import { createBox } from './tokens/box.ts';
import { createKeys } from './tokens/keys.ts';
import { keepSecret } from './tokens/secrets.ts';
import { createTokens } from './tokens/tokens.ts';

export interface AppOptions {
  database: Database;
  adminKey: string;
  /** Seals secrets at rest. */
  secret: string;
  /** The issuer of tokens. */
  publicUrl: string;
  logLevel: string;
}

const BODY_MAX_BYTES = 2 * 1024 * 1024;
const PARAM_MAX_LENGTH = 600; // 128 bytes of UTF-8, each as %XX, behind an appId

export async function createApp({ database, adminKey, secret, publicUrl, logLevel }: AppOptions) {
  const app = Fastify({
    logger: { level: logLevel },
    bodyLimit: BODY_MAX_BYTES,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    onProtoPoisoning: 'ignore',
    onConstructorPoisoning: 'ignore',
    // Only this is an upgrade; whoever offers another protocol, or elsewhere, is answered in HTTP.
    http: { shouldUpgradeCallback: isSocketRequest },
    clientErrorHandler: refuseMalformed,
    frameworkErrors: (error, request, reply) => void sendProblem(toImidError(error), request, reply),
    routerOptions: { maxParamLength: PARAM_MAX_LENGTH, querystringParser: parseQuery },
  }).withTypeProvider<TypeBoxTypeProvider>();
  const log = (message: string, error?: unknown): void => app.log.error({ err: error }, message);
  let isDraining = false;

  // The stages, each given what stands above it.
  const box = createBox(secret);
  const hashes = createHashes(await keepSecret(database, box, 'former-names'));
  const apps = createApps(database);
  const directory = createDirectory({ database, hashes });
  const registry = createRegistry({ database, directory, hashes });
  const beginRehearsal = createRehearsals({ database, hashes });
  void registry.clearAll().catch((error: unknown) => log('erased users could not be cleared away', error));
  const contactBook = createContactBook(database);
  const keys = await createKeys(database, box);
  const tokens = createTokens({ keys, issuer: publicUrl, clock: database.clock });
  const apiKeys = createApiKeys(database);
  const access = createAccess({ adminKey, apps, apiKeys, tokens, directory });
  const router = await createRouter({ database, apps, directory, admit: access.admit, log });

  // What holds for all routes.
  app.setValidatorCompiler(({ schema, httpPart }) => compileSchema(schema, httpPart as 'body'));
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, parseJson);
  app.addHook('onRequest', refuseBadQuery);
  app.decorateRequest('tenant');
  app.decorateRequest('granted');
  app.decorateRequest('admitted');
  await app.register(problems);
  await app.register(openapi);
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

  // The routes, by who may call them.
  await app.register(wellKnown, {
    keys,
    ping: async () => void (await database.pool.query('select 1')),
    isDraining: () => isDraining,
  });
  await app.register(async (admin) => {
    admin.addHook('onRequest', access.requireAdmin);
    await admin.register(adminApps, { prefix: '/v1/apps', apps, apiKeys });
  });
  await app.register(
    async (backend) => {
      backend.addHook('onRequest', access.requireBackend);
      await backend.register(tenantApp, { apps, router });
      await backend.register(keyRoutes, { apiKeys });
      await backend.register(identities, { directory, registry, router });
      await backend.register(renames, { directory, registry });
      await backend.register(userImport, { registry, beginRehearsal });
      await backend.register(userExport, { directory });
      await backend.register(schemeUse, { directory, router });
      await backend.register(tokenIssue, { tokens, directory });
      await backend.register(messages, { directory, router });
      await backend.register(presence, { directory, router });
      await backend.register(contacts, { directory, contactBook });
    },
    { prefix: '/v1/apps/:appId' },
  );
  await app.register(
    async (client) => {
      client.addHook('onRequest', access.requireClient);
      await client.register(me, { contactBook, router });
      await client.register(connect, { router, isDraining: () => isDraining });
    },
    { prefix: '/v1' },
  );

  /** Refuses new connections, finishes what is under way, and closes the sockets for a restart. */
  async function close(): Promise<void> {
    isDraining = true;
    await router.drain();
    for (const socket of app.websocketServer.clients)
      if (socket.readyState === socket.OPEN) socket.close(1001);
    app.websocketServer.close();
  }

  return app;
}
