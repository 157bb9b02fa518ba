// Token exchange (RFC 8693) for public clients: a token of their own issuer for one of ours. Refuses in the form of
// RFC 6749 section 5.2, whatever is wrong.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { errorCodes, ImidError, OauthError, oauthErrorCodes, type OauthErrorCode } from '../errors.ts';
import type { AppId, Scheme } from '../ids.ts';
import type { App, Apps } from '../identity/apps.ts';
import type { Directory } from '../identity/directory.ts';
import type { Registry } from '../identity/registry.ts';
import { parseAudience } from '../tokens/audience.ts';
import type { Exchange, Subject } from '../tokens/exchange.ts';
import { TTL_DEFAULT_SECONDS } from '../tokens/ttl.ts';
import type { Tokens } from '../tokens/tokens.ts';
import { requirePageOf } from './cors.ts';
import { ORIGIN } from './logging.ts';
import { parseForm } from './parsing.ts';
import { toImidError } from './problems.ts';
import { DeviceId } from './shapes.ts';
import { subjectOf } from './tokens.ts';

export interface OauthOptions {
  apps: Apps;
  directory: Directory;
  registry: Registry;
  tokens: Tokens;
  exchange: Exchange;
}

const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const TYPE = 'urn:ietf:params:oauth:token-type:';
const JWT_TYPE = `${TYPE}jwt`;
const ACCESS_TYPE = `${TYPE}access_token`;
const SUBJECT_TYPES = [JWT_TYPE, `${TYPE}id_token`, ACCESS_TYPE];
const RETRY_AFTER = { 'Retry-After': { type: 'integer', description: 'In seconds.' } };
const FORM_MAX_BYTES = 16 * 1024;

const Form = Type.Object(
  {
    grant_type: Type.Optional(Type.String({ description: `\`${GRANT_TYPE}\`` })),
    subject_token: Type.String({
      description: 'A JWT of an issuer that the app trusts, of at most 8192 characters.',
    }),
    subject_token_type: Type.String({ enum: SUBJECT_TYPES }),
    audience: Type.Optional(
      Type.String({
        description:
          '`imid:<appId>`: for which app. May be left out where the `aud` of the token itself says so.',
      }),
    ),
    scope: Type.Optional(
      Type.String({
        description:
          'In which scheme: `composed` or `registered`. By default the one that the app uses; composed where it uses both.',
      }),
    ),
    requested_token_type: Type.Optional(Type.String({ enum: [JWT_TYPE, ACCESS_TYPE] })),
    device_id: Type.Optional({ ...DeviceId, description: 'The only device that the token connects.' }),
  },
  {
    additionalProperties: true,
    examples: [
      { grant_type: GRANT_TYPE, subject_token: 'eyJ…', subject_token_type: JWT_TYPE, audience: 'imid:1' },
    ],
  },
);

const Granted = Type.Object(
  {
    access_token: Type.String(),
    issued_token_type: Type.String({ enum: [JWT_TYPE, ACCESS_TYPE] }),
    token_type: Type.Literal('Bearer'),
    expires_in: Type.Integer(),
    scope: Type.String({ enum: ['composed', 'registered'] }),
  },
  {
    description: 'Issued.',
    examples: [
      {
        access_token: 'eyJ…',
        issued_token_type: JWT_TYPE,
        token_type: 'Bearer',
        expires_in: TTL_DEFAULT_SECONDS,
        scope: 'composed',
      },
    ],
  },
);

const refusal = (description: string, ...codes: OauthErrorCode[]) =>
  Type.Object(
    { error: Type.String({ enum: codes }), error_description: Type.String() },
    {
      description,
      examples: [{ error: codes[0], error_description: 'The subject_token is refused: it has expired.' }],
    },
  );

export const oauth: FastifyPluginAsyncTypebox<OauthOptions> = async (app, options) => {
  const { apps, tokens, exchange } = options;
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'buffer' }, parseForm);
  app.setErrorHandler((error: FastifyError, request, reply) =>
    sendRefusal(toImidError(error), request, reply),
  );

  app.post(
    '/token',
    {
      bodyLimit: FORM_MAX_BYTES,
      onRequest: async (_request, reply) => {
        reply.header('cache-control', 'no-store');
      },
      // Before the other parameters, which belong to the grant.
      preValidation: async ({ body }) => checkGrant((body ?? {}) as Record<string, unknown>),
      schema: {
        operationId: 'exchangeToken',
        summary: 'Exchange a token of the customer’s issuer',
        description:
          'RFC 8693, without client authentication. The token acts as the user whom the issuer’s subject claim names, for ' +
          'an hour, and no longer than the one it was exchanged for is good: until its `exp`, and the clock skew of its issuer.',
        tags: ['Tokens'],
        security: [],
        consumes: ['application/x-www-form-urlencoded'],
        body: Form,
        response: {
          200: Granted,
          400: refusal(
            'RFC 6749 section 5.2.',
            'invalid_request',
            'invalid_scope',
            'invalid_target',
            'unsupported_grant_type',
          ),
          429: {
            ...refusal('The address asks too often.', 'temporarily_unavailable'),
            headers: RETRY_AFTER,
          },
          503: {
            ...refusal('The service, or the issuer’s jwksUrl, is out of reach.', 'temporarily_unavailable'),
            headers: RETRY_AFTER,
          },
        },
      },
    },
    async (request, reply) => {
      const { body } = request;
      const appId = body.audience === undefined ? undefined : readAudience(body.audience);
      const subject = await exchange.verify(body.subject_token, appId);
      const tenant = await apps.find(subject.appId);
      if (!tenant) throw new OauthError('invalid_target', 'No such audience takes tokens of this issuer.');
      requirePageOf(tenant, request);
      const scheme = chooseScheme(tenant, body.scope);
      const imId = await findSubject(options, tenant, scheme, subject);
      const ttlSeconds = Math.min(TTL_DEFAULT_SECONDS, subject.secondsLeft);
      const issued = await tokens.issue({ appId: tenant.id, imId, ttlSeconds, deviceId: body.device_id });
      return reply.send({
        access_token: issued.token,
        issued_token_type: body.requested_token_type ?? JWT_TYPE,
        token_type: 'Bearer' as const,
        expires_in: ttlSeconds,
        scope: issued.scheme,
      });
    },
  );
};

function checkGrant(form: Record<string, unknown>): void {
  if (form['grant_type'] === undefined) throw new OauthError('invalid_request', 'grant_type is missing.');
  if (form['grant_type'] !== GRANT_TYPE)
    throw new OauthError('unsupported_grant_type', `grant_type must be ${GRANT_TYPE}.`);
  for (const name of ['actor_token', 'actor_token_type', 'resource'])
    if (form[name] !== undefined) throw new OauthError('invalid_request', `${name} is not supported.`);
}

function readAudience(audience: string): AppId {
  const appId = parseAudience(audience);
  if (appId === undefined) throw new OauthError('invalid_target', 'audience must be imid:<appId>.');
  return appId;
}

function chooseScheme(app: App, scope: string | undefined): Scheme {
  const [first] = app.schemes; // composed, where there are both
  const scheme = scope ?? first;
  if (scheme !== 'composed' && scheme !== 'registered')
    throw new OauthError('invalid_scope', 'scope must be composed or registered.');
  if (!app.schemes.includes(scheme))
    throw new OauthError('invalid_scope', `This app does not use the ${scheme} scheme.`);
  return scheme;
}

async function findSubject(
  { directory, registry }: OauthOptions,
  app: App,
  scheme: Scheme,
  { name, issuer }: Subject,
) {
  if (scheme === 'composed') return subjectOf(directory, app, { uid: name });
  return subjectOf(directory, app, { userId: name }).catch(async (error: unknown) => {
    if (!(error instanceof ImidError && error.code === 'not_found')) throw error;
    if (!issuer.register)
      throw new OauthError(
        'invalid_request',
        `Nobody is registered under the userId in the claim ${issuer.subjectClaim}.`,
      );
    const { user } = await registry.register(app, { userId: name, adopt: true }, 'client');
    return user.imId;
  });
}

function sendRefusal(error: ImidError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const code: OauthErrorCode =
    error instanceof OauthError
      ? error.oauthCode
      : errorCodes[error.code].status >= 500 || error.code === 'rate_limited'
        ? 'temporarily_unavailable'
        : 'invalid_request';
  const { status } = error.code === 'rate_limited' ? errorCodes.rate_limited : oauthErrorCodes[code];
  reply.problem = error.code;
  // Without a cause it is what was logged when it came about.
  if (status >= 500 && error.cause !== undefined)
    request.server.log.error({ [ORIGIN]: request.id, err: error.cause }, error.message);
  if (error.retryAfterSeconds !== undefined) reply.header('retry-after', error.retryAfterSeconds);
  return reply
    .code(status)
    .header('cache-control', 'no-store')
    .type('application/json; charset=utf-8')
    .serializer(JSON.stringify)
    .send({ error: code, error_description: toDescription(error.message) });
}

/** In the characters that RFC 6749 section 5.2 allows. */
function toDescription(text: string): string {
  return text.replaceAll(/[“”"’\\]/g, "'").replaceAll(/[^ -~]/g, '?');
}
