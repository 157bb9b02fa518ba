// Issuers of an app's customer, whose tokens are exchanged for ours.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { JWKS_MAX_KEYS, type Issuer, type Issuers } from '../tokens/issuers.ts';
import { algorithms } from '../tokens/jwk_faults.ts';
import { readCursor, toPage } from './paging.ts';
import { AppIdText, AppPath, backendProblems, Cursor, EXAMPLE_AT, Limit, list, Timestamp } from './shapes.ts';

const ALGORITHMS_DEFAULT = ['ES256', 'RS256', 'EdDSA'];
const SKEW_MAX_SECONDS = 300;
const SKEW_DEFAULT_SECONDS = 30;
const AUDIENCES_MAX = 20;

const text = (maxLength: number, description: string) =>
  Type.String({ format: 'text', minLength: 1, maxLength, description });

/** Of RFC 7517 appendix A.1. */
const exampleKey = {
  kty: 'EC',
  crv: 'P-256',
  x: 'MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4',
  y: '4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM',
};
const Audience = Type.String({ format: 'text', minLength: 1, maxLength: 500 });
const Jwks = Type.Object(
  {
    keys: Type.Array(Type.Record(Type.String(), Type.Unknown(), { examples: [exampleKey] }), {
      minItems: 1,
      maxItems: JWKS_MAX_KEYS,
    }),
  },
  { description: 'A set of public keys, RFC 7517: RSA of 2048 bits or more, P-256, P-384, P-521, Ed25519.' },
);
const Algorithms = Type.Array(Type.String({ enum: algorithms }), { minItems: 1, uniqueItems: true });

const exampleSettings = {
  issuer: 'https://login.customer.example',
  audience: ['chat-client'],
  jwksUrl: 'https://login.customer.example/jwks.json',
};
const IssuerShape = Type.Object(
  {
    name: Type.String(),
    issuer: Type.String(),
    audience: Type.Array(Type.String()),
    jwksUrl: Type.Optional(Type.String()),
    jwks: Type.Optional(Type.Object({ keys: Type.Array(Type.Record(Type.String(), Type.Unknown())) })),
    algorithms: Type.Array(Type.String()),
    subjectClaim: Type.String(),
    clockSkewSeconds: Type.Integer(),
    register: Type.Boolean(),
    createdAt: Timestamp,
  },
  {
    examples: [
      {
        name: 'customer-1',
        ...exampleSettings,
        algorithms: ALGORITHMS_DEFAULT,
        subjectClaim: 'sub',
        clockSkewSeconds: SKEW_DEFAULT_SECONDS,
        register: false,
        createdAt: EXAMPLE_AT,
      },
    ],
  },
);
const IssuerPath = Type.Object({
  appId: AppIdText,
  name: Type.String({
    pattern: '^[a-z0-9][a-z0-9-]{0,63}$',
    description: 'What the app calls the issuer.',
    examples: ['customer-1'],
  }),
});

const toAnswer = ({ name, issuer, audiences, jwksUrl, jwks, ...rest }: Issuer) => ({
  name,
  issuer,
  audience: audiences,
  ...(jwksUrl === undefined ? { jwks: jwks! } : { jwksUrl }),
  algorithms: rest.algorithms,
  subjectClaim: rest.subjectClaim,
  clockSkewSeconds: rest.clockSkewSeconds,
  register: rest.register,
  createdAt: rest.createdAt.toISOString(),
});

const tags = ['Tokens'];

export const issuers: FastifyPluginAsyncTypebox<{ issuers: Issuers }> = async (app, { issuers: known }) => {
  app.put(
    '/issuers/:name',
    {
      config: { audit: 'issuer.put' },
      schema: {
        operationId: 'putIssuer',
        summary: 'Trust an issuer',
        description:
          'Whoever has a token of it gets a token of this service at `POST /oauth/token`. A change counts within a second ' +
          'on every process; tokens that were exchanged before live on.',
        tags,
        params: IssuerPath,
        body: Type.Object(
          {
            issuer: text(500, 'The `iss` of its tokens, exactly.'),
            audience: Type.Union([Audience, Type.Array(Audience, { minItems: 1, maxItems: AUDIENCES_MAX })], {
              description: 'The `aud` of its tokens must be, or hold, one of these.',
            }),
            jwksUrl: Type.Optional(text(2_000, 'Where it publishes its keys. Or give them as `jwks`.')),
            jwks: Type.Optional(Jwks),
            algorithms: Type.Optional({ ...Algorithms, default: ALGORITHMS_DEFAULT }),
            subjectClaim: Type.Optional({
              ...text(200, 'The claim that is the uid or userId.'),
              default: 'sub',
            }),
            clockSkewSeconds: Type.Optional(
              Type.Integer({ minimum: 0, maximum: SKEW_MAX_SECONDS, default: SKEW_DEFAULT_SECONDS }),
            ),
            register: Type.Optional(
              Type.Boolean({
                default: false,
                description:
                  'A userId that nobody has is registered on the way; it adopts whoever has it as a uid.',
              }),
            ),
          },
          {
            additionalProperties: false,
            oneOf: [{ required: ['jwksUrl'] }, { required: ['jwks'] }],
            examples: [exampleSettings],
          },
        ),
        response: {
          200: { ...IssuerShape, description: 'Replaced.' },
          201: { ...IssuerShape, description: 'Trusted.' },
          ...backendProblems('conflict', 'payload_too_large'),
        },
      },
    },
    async (request, reply) => {
      const { tenant, params, body } = request;
      request.audited = { target: params.name };
      const { issuer, isNew } = await known.put(tenant.id, params.name, {
        issuer: body.issuer,
        audiences: [body.audience].flat(),
        jwksUrl: body.jwksUrl,
        jwks: body.jwks as { keys: Record<string, string>[] } | undefined,
        algorithms: body.algorithms ?? ALGORITHMS_DEFAULT,
        subjectClaim: body.subjectClaim ?? 'sub',
        clockSkewSeconds: body.clockSkewSeconds ?? SKEW_DEFAULT_SECONDS,
        register: body.register ?? false,
      });
      return reply.code(isNew ? 201 : 200).send(toAnswer(issuer));
    },
  );

  app.get(
    '/issuers',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'listIssuers',
        summary: 'List the issuers that the app trusts',
        tags,
        params: AppPath,
        querystring: Type.Object(
          { limit: Type.Optional(Limit), cursor: Type.Optional(Cursor) },
          { additionalProperties: false },
        ),
        response: { 200: { ...list(IssuerShape), description: 'A page.' }, ...backendProblems() },
      },
    },
    async ({ tenant, query: { limit = 100, cursor } }) =>
      toPage(
        await known.list(tenant.id, readCursor(cursor) ?? '', limit + 1),
        limit,
        (issuer) => issuer.name,
        toAnswer,
      ),
  );

  app.get(
    '/issuers/:name',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'getIssuer',
        summary: 'Read an issuer',
        tags,
        params: IssuerPath,
        response: { 200: { ...IssuerShape, description: 'The issuer.' }, ...backendProblems() },
      },
    },
    async ({ tenant, params }) => toAnswer(await known.get(tenant.id, params.name)),
  );

  app.delete(
    '/issuers/:name',
    {
      config: { audit: 'issuer.delete' },
      schema: {
        operationId: 'deleteIssuer',
        summary: 'Trust an issuer no more',
        tags,
        params: IssuerPath,
        response: {
          204: Type.Null({ description: 'Its tokens are refused within a second.' }),
          ...backendProblems('payload_too_large'),
        },
      },
    },
    async (request, reply) => {
      const { tenant, params } = request;
      request.audited = { target: params.name };
      await known.remove(tenant.id, params.name);
      return reply.code(204).send(null);
    },
  );
};
