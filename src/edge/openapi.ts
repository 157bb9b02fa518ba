// The OpenAPI document, made from the route schemas, and the Swagger UI on it.

import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifySchema, RouteOptions } from 'fastify';
import fp from 'fastify-plugin';
import { describeTags } from './etags.ts';
import { describeIdempotency } from './idempotency.ts';
import type { Headers } from './headers.ts';
import { sharedShapes } from './shapes.ts';

const DESCRIPTION = `An identity for messaging, in two schemes side by side, and the routing of messages by it.

Press **Authorize** and paste a key. Then open an operation, press **Try it out** and **Execute**. The examples work as
they are: create an app, register \`bob\`, issue a token for \`alice\`, send a message from her to him.

The document behind this page: [openapi.yaml](/openapi.yaml)`;

const CREDENTIALS = `The admin key (printed at first start, kept in the data directory) for all but *Me* and *Socket*; an API key
of an app for what is under \`/v1/apps/{appId}\`; a user’s token for *Me* and *Socket*.`;

const tags = [
  { name: 'Apps', description: 'Customers’ applications: the tenants.' },
  { name: 'Keys', description: 'API keys of an app’s backend.' },
  { name: 'Identities', description: 'Users: registered, looked up, renamed, erased.' },
  { name: 'Schemes', description: 'Both schemes side by side.' },
  { name: 'Tokens', description: 'What clients connect with.' },
  { name: 'Signing keys', description: 'What tokens are signed with.' },
  { name: 'Messages', description: 'Sending as a user, reading inboxes.' },
  { name: 'Presence', description: 'Who is online.' },
  { name: 'Devices', description: 'How a user’s devices are reached by push.' },
  {
    name: 'Push',
    description: 'What an app proves itself to providers of push with, and which pushes failed.',
  },
  { name: 'Webhook', description: 'Where the backend of an app is told what happens.' },
  { name: 'Contacts', description: 'Contact lists.' },
  { name: 'Me', description: 'What a client asks with its token.' },
  { name: 'Socket', description: 'Where clients talk.' },
  { name: 'Service', description: 'Public keys and health.' },
];

const logo = `<svg xmlns="http://www.w3.org/2000/svg" width="120" height="40">
<text x="0" y="29" font-family="sans-serif" font-size="28" font-weight="bold" fill="#fff">imid</text>
</svg>`;

const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="6" fill="#1b1b1b"/>
<text x="16" y="23" font-family="sans-serif" font-size="18" font-weight="bold" fill="#fff" text-anchor="middle">im</text></svg>`;

// Not shown: a box to load other documents with, the address of this one, a column that is always empty, and the button
// that would ask for a socket as if it were a document.
const css = `.swagger-ui .topbar .download-url-wrapper, .swagger-ui .info hgroup.main > a, .swagger-ui .response-col_links,
#operations-Socket-connect .try-out { display: none }
.swagger-ui .topbar .topbar-wrapper { flex-direction: row }
.swagger-ui .topbar .dark-mode-toggle { margin-left: auto }
.swagger-ui .info { margin: 24px 0 }
.swagger-ui .markdown table { display: block; overflow-x: auto; width: auto }`;

const OWN_FORMATS = new Set(['name', 'im-id', 'app-id', 'origin', 'text']);

export const openapi = fp<{ headers: Headers }>(
  async (app, { headers }) => {
    for (const shape of sharedShapes) app.addSchema(shape);
    await app.register(swagger, {
      openapi: {
        openapi: '3.1.0',
        info: { title: 'imid', version: '1', description: DESCRIPTION, license: { name: 'Apache-2.0' } },
        tags,
        components: {
          securitySchemes: { bearer: { type: 'http', scheme: 'bearer', description: CREDENTIALS } },
        },
        security: [{ bearer: [] }],
      },
      refResolver: {
        buildLocalReference: (json, _base, _fragment, i) => (json['$id'] as string | undefined) ?? `def-${i}`,
      },
      transform: ({ schema, url, route }) => ({
        schema: describeConfig(schema, route),
        url: url.replace(/(?<=.)\/$/, ''),
      }),
      transformObject: (documented) =>
        polish('openapiObject' in documented ? documented.openapiObject : documented),
    });
    await app.register(swaggerUi, {
      routePrefix: '/docs',
      uiConfig: { docExpansion: 'list', deepLinking: true, defaultModelsExpandDepth: 0 },
      theme: {
        title: 'imid',
        css: [{ filename: 'imid.css', content: css }],
        favicon: [{ filename: 'imid.svg', rel: 'icon', type: 'image/svg+xml', sizes: 'any', content: icon }],
      },
      logo: { type: 'image/svg+xml', content: logo, href: '/docs' },
      uiHooks: {
        onRequest(_request, reply, done) {
          reply.headers(headers);
          done();
        },
      },
      staticCSP: {
        'default-src': "'none'",
        'script-src': "'self'",
        'connect-src': "'self'",
        'img-src': "'self' data:",
        // The one style that Swagger UI writes into its page.
        'style-src': "'self' 'sha256-RL3ie0nH+Lzz2YNqQN83mnU0J1ot4QL7b99vMdIX99w='",

        'base-uri': "'none'",
        'form-action': "'none'",
        'frame-ancestors': "'none'",
      },
    });
    app.get('/', { schema: { hide: true } }, async (_request, reply) => reply.redirect('/docs'));
    app.get('/openapi.yaml', { schema: { hide: true } }, async (_request, reply) =>
      reply.type('application/yaml; charset=utf-8').send(app.swagger({ yaml: true })),
    );
  },
  { name: 'openapi' },
);

/** What a route's config makes it take and answer. */
function describeConfig(schema: FastifySchema, { config, method }: RouteOptions): FastifySchema {
  if (config?.idempotent) return describeIdempotency(schema);
  if (config?.tagged) return describeTags(schema, String(method));
  return schema;
}

/** Drops our own formats, which tell readers nothing, puts the path before the query, and writes out what is shared. */
function polish(document: object) {
  return JSON.parse(JSON.stringify(document), (key, value) => {
    if (key === 'format' && OWN_FORMATS.has(value)) return undefined;
    if (key === 'parameters') return value.toSorted(pathFirst);
    return value;
  });
}

const pathFirst = (a: { in: string }, b: { in: string }): number =>
  Number(a.in !== 'path') - Number(b.in !== 'path');
