// The backend of a customer that is told of events: takes nothing but what docs/webhooks.md says, as its code there verifies it.

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { Ajv } from 'ajv';
import { Type, type TProperties } from 'typebox';
import { eventually, type Json } from './harness.ts';
import { sign } from './push/webhook_stand_in.ts';

const TOLERANCE_SECONDS = 300;

const strict = (properties: TProperties) => Type.Object(properties, { additionalProperties: false });
const text = Type.String({ minLength: 1 });
const time = Type.String({ pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$' });
const count = Type.Integer({ minimum: 0 });
const user = Type.Union([
  strict({ imId: text, uid: text }),
  strict({ imId: text, userId: text }),
  strict({ erased: Type.Literal(true) }),
  strict({ system: Type.Literal(true) }),
]);
const DATA = {
  'message.offline': {
    messageId: text,
    seq: count,
    from: user,
    to: user,
    at: time,
    unread: count,
    devices: count,
  },
  'device.gone': { user, deviceId: text, provider: text },
  'push.failed': { user, deviceId: text, provider: text, messageId: text, reason: text },
  'webhook.test': {},
};
const isEvent = new Ajv({ strict: false }).compile<Json>(
  Type.Union(
    Object.entries(DATA).map(([type, data]) =>
      strict({ type: Type.Literal(type), timestamp: time, data: strict(data) }),
    ),
  ),
);

type Conduct = { status: number; headers?: Record<string, string> } | 'never' | undefined;

export type Receiver = Awaited<ReturnType<typeof startReceiver>>;

export async function startReceiver(t: { after(end: () => void): void }) {
  const secrets: string[] = [];
  const taken: Json[] = [];
  const ids = new Set<string>();
  let requests = 0;
  let conduct: Conduct;

  const server = createServer((request, response) => {
    void buffer(request).then((body) => {
      const [id = '', timestamp = '', signatures = ''] = ['id', 'timestamp', 'signature'].map((each) =>
        request.headers[`webhook-${each}`]?.toString(),
      );
      const isSigned = signatures.split(' ').includes(sign(secrets[0]!, id, timestamp, body));
      const isFresh = Math.abs(Date.now() / 1_000 - Number(timestamp)) < TOLERANCE_SECONDS;
      const event = JSON.parse(body.toString());
      requests += 1;
      if (!isSigned || !isFresh) return response.writeHead(401).end();
      if (
        request.method !== 'POST' ||
        request.headers['content-type'] !== 'application/json' ||
        !isEvent(event)
      )
        return response.writeHead(400).end(JSON.stringify(isEvent.errors));
      ids.add(id);
      if (conduct === 'never') return undefined;
      if (conduct) return response.writeHead(conduct.status, conduct.headers).end();
      taken.push(event);
      return response.writeHead(204).end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/imid`,
    /** The first verifies. */
    secrets,
    /** Of all that were well-formed, taken or not. */
    ids,
    requests: () => requests,
    /** Undefined: takes what comes. */
    answer: (next: Conduct) => void (conduct = next),
    /** All that were taken, once there are at least so many. */
    events: (atLeast: number): Promise<Json[]> =>
      eventually(() => taken.length >= atLeast && taken, `${atLeast} events`),
  };
}
