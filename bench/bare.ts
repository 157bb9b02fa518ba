// What one resolve is measured beside: a bare Fastify, in a process of its own, with a route that answers the same bytes
// as the service, and one that does a look-up by `pg`, prepared, before it does so. Nobody is asked for a key.

import Fastify from 'fastify';
import pg from 'pg';

const FIND = 'select id, name, im_id, created_at from identity where app_id = $1 and name = $2';
const text = { type: 'string' } as const;
const RESPONSE = {
  type: 'object',
  properties: {
    results: {
      type: 'array',
      items: { type: 'object', properties: { imId: text, scheme: text, uid: text, userId: text } },
    },
  },
};

interface Resolve {
  Params: { appId: string };
  Body: { addresses: { uid?: string; userId?: string }[] };
}

const answer = JSON.parse(process.env['ANSWER'] ?? '{}') as object;
const pool = new pg.Pool({ connectionString: process.env['DATABASE_URL'], max: 10 });
const app = Fastify({ forceCloseConnections: true });

app.post<Resolve>('/v1/apps/:appId/resolve', { schema: { response: { 200: RESPONSE } } }, async () => answer);

app.post<Resolve>(
  '/v1/apps/:appId/look-up-and-resolve',
  { schema: { response: { 200: RESPONSE } } },
  async ({ params, body }) => {
    const { rowCount } = await pool.query({
      name: 'find',
      text: FIND,
      values: [params.appId, body.addresses[0]?.userId],
    });
    if (rowCount !== 1) throw new Error('nobody has this name');
    return answer;
  },
);

process.on('SIGTERM', () => void app.close().then(() => process.exit(0)));
console.log(`listening at ${await app.listen({ port: 0, host: '127.0.0.1' })}`);
