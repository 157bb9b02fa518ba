// The OpenAPI document, made from the route schemas, and the Swagger UI on it.

import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import fp from 'fastify-plugin';
import { sharedShapes } from './shapes.ts';
import { addSharedSchema } from './validation.ts';

const DESCRIPTION = `An identity for messaging, in two schemes side by side, and the routing of messages by it.

Press **Authorize** and paste the admin key (printed at first start, kept in the data directory), an app's API key, or,
for the operations under *Me*, a user's token.`;

const tags = [
  { name: 'Apps', description: 'Customers’ applications: the tenants.' },
  { name: 'Keys', description: 'API keys of an app’s backend.' },
  { name: 'Identities', description: 'Users: registered, looked up, renamed, erased.' },
  { name: 'Schemes', description: 'Both schemes side by side.' },
  { name: 'Tokens', description: 'What clients connect with.' },
  { name: 'Messages', description: 'Sending as a user, reading inboxes.' },
  { name: 'Presence', description: 'Who is online.' },
  { name: 'Contacts', description: 'Contact lists.' },
  { name: 'Me', description: 'What a client asks with its token.' },
  { name: 'Socket', description: 'Where clients talk.' },
  { name: 'Service', description: 'Keys and health.' },
];

export const openapi = fp(
  async (app) => {
    for (const shape of sharedShapes) {
      app.addSchema(shape);
      addSharedSchema(shape as typeof shape & { $id: string });
    }
    await app.register(swagger, {
      openapi: {
        openapi: '3.1.0',
        info: { title: 'imid', version: '1', description: DESCRIPTION, license: { name: 'Apache-2.0' } },
        servers: [{ url: '/' }],
        tags,
        components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
        security: [{ bearer: [] }],
      },
      refResolver: { buildLocalReference: (json, _base, _fragment, i) => String(json['$id'] ?? `def-${i}`) },
    });
    await app.register(swaggerUi, {
      routePrefix: '/docs',
      uiConfig: {
        docExpansion: 'list',
        deepLinking: true,
        persistAuthorization: true,
        displayOperationId: false,
        defaultModelsExpandDepth: 0,
        tryItOutEnabled: false,
      },
      theme: { title: 'imid' },
    });
    app.get('/openapi.yaml', { schema: { hide: true } }, async (_request, reply) =>
      reply.type('application/yaml; charset=utf-8').send(app.swagger({ yaml: true })),
    );
  },
  { name: 'openapi' },
);
