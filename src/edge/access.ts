// Who may come in: the admin key, an app's API key, or a user's token. Each scope of routes has one of these as its
// onRequest hook, so that nothing else of a request is looked at before its credential.

import { timingSafeEqual } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { errorCodes, ImidError } from '../errors.ts';
import { isName, parseAppId } from '../ids.ts';
import type { App, Apps } from '../identity/apps.ts';
import type { Directory } from '../identity/directory.ts';
import { requireScheme } from '../identity/schemes.ts';
import type { Admitted } from '../routing/session.ts';
import { hashSecret, scopes, type ApiKeys, type Scope } from '../tokens/api_keys.ts';
import type { Tokens } from '../tokens/tokens.ts';
import { invalid } from './validation.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** In routes of backends: the app of the path. */
    tenant: App;
    /** In routes of backends: what the key may do; an admin may do everything. */
    granted: readonly Scope[];
    /** In routes of backends: when the key expires, if it does. */
    grantedUntil: Date | undefined;
    /** In routes of backends and admins: who calls, an API key's id or `admin`. */
    actor: string;
    /** In routes of clients: the user of the token. */
    admitted: Admitted;
  }
  interface FastifyContextConfig {
    /** What an API key must be allowed to use the route; `admin`: no API key will do. Without: every scope is needed. */
    scope?: Scope | 'admin';
    /** What a use of the route is called in the audit trail, each time before it is answered: `<thing>.<verb>`. */
    audit?: string;
  }
}

export interface AccessOptions {
  adminKey: string;
  apps: Apps;
  apiKeys: ApiKeys;
  tokens: Tokens;
  directory: Directory;
}

export function createAccess({ adminKey, apps, apiKeys, tokens, directory }: AccessOptions) {
  const adminHash = hashSecret(adminKey);
  const isAdmin = (credential: string): boolean => timingSafeEqual(hashSecret(credential), adminHash);

  /** Checks a token, used on a device, and finds whom it acts for. Throws what the client is to be told. */
  async function admit(token: string, onDevice?: string): Promise<Admitted> {
    const claims = await tokens.verify(token);
    const app = await apps.find(claims.appId);
    if (!app) throw new ImidError('token_revoked', 'The app of this token is gone.');
    if (app.tokensFrom !== undefined && claims.issuedAt < app.tokensFrom)
      throw new ImidError('token_revoked', 'The token was revoked.');
    requireScheme(app, claims.scheme);
    const { sub, issuedAt, deviceId = onDevice } = claims;
    return { app, claims, user: await directory.resolveHolder(claims.appId, { sub, issuedAt, deviceId }) };
  }

  /** A user's token where none will do: forbidden in its own app, and nothing at all in another's; renewed, it still wouldn't do. */
  async function refuseToken(credential: string, appId: string | undefined): Promise<never> {
    if (!credential.startsWith('ey')) throw new ImidError('unauthorized', 'This key is not known.');
    const claims = await tokens.verify(credential).catch((error: unknown) => {
      throw error instanceof ImidError && errorCodes[error.code].status === 401
        ? new ImidError('unauthorized', 'This needs a key of the app, and is not even a valid token.')
        : error;
    });
    if (appId !== undefined && String(claims.appId) !== appId) throw noSuchApp();
    throw new ImidError('forbidden', 'This needs a key of the app, not a user’s token.');
  }

  return {
    admit,

    async requireAdmin(request: FastifyRequest): Promise<void> {
      const credential = bearerOf(request);
      if (isAdmin(credential)) {
        request.actor = 'admin';
        return;
      }
      const key = await apiKeys.verify(credential);
      if (!key) return refuseToken(credential, undefined);
      request.actor = key.id;
      throw new ImidError('forbidden', 'This needs the admin key.');
    },

    async requireBackend(request: FastifyRequest): Promise<void> {
      const credential = bearerOf(request);
      const { appId: pathAppId } = request.params as { appId: string };
      const key = await apiKeys.verify(credential);
      if (!key && isAdmin(credential)) {
        const appId = parseAppId(pathAppId);
        if (appId === undefined)
          throw invalid([
            { in: 'path', pointer: '#/appId', detail: 'must be a positive integer in decimal digits' },
          ]);
        request.tenant = await apps.resolve(appId);
        request.granted = scopes;
        request.actor = 'admin';
        return;
      }
      if (!key) return refuseToken(credential, pathAppId);
      if (String(key.appId) !== pathAppId) throw noSuchApp();
      request.tenant = await apps.resolve(key.appId);
      request.actor = key.id;
      const { scope } = request.routeOptions.config;
      if (scope === 'admin') throw new ImidError('forbidden', 'This needs the admin key.');
      for (const needed of scope ? [scope] : scopes)
        if (!key.scopes.includes(needed))
          throw new ImidError('forbidden', `This key lacks the scope ${needed}.`);
      request.granted = key.scopes as Scope[];
      request.grantedUntil = key.expiresAt;
    },

    async requireClient(request: FastifyRequest): Promise<void> {
      const { device } = request.query as Record<string, unknown>; // not checked yet
      const deviceId = typeof device === 'string' && isName(device) ? device : undefined;
      request.admitted = await admit(tokenOf(request), deviceId);
    },
  };
}

function bearerOf(request: FastifyRequest): string {
  const [, credential] = /^Bearer +([\x21-\x7e]+) *$/i.exec(request.headers.authorization ?? '') ?? [];
  if (credential === undefined)
    throw new ImidError('unauthorized', 'Send a credential as "Authorization: Bearer ...".', {
      cause: 'none',
    });
  return credential;
}

/** From browsers, which can't set a header on a WebSocket, the token comes as a second subprotocol. */
function tokenOf(request: FastifyRequest): string {
  if (request.headers.authorization === undefined && request.headers.upgrade) {
    for (const protocol of (request.headers['sec-websocket-protocol'] ?? '').split(','))
      if (protocol.trim().startsWith('bearer.')) return protocol.trim().slice('bearer.'.length);
  }
  return bearerOf(request);
}

function noSuchApp(): ImidError {
  return new ImidError('not_found', 'There is no such app.');
}
