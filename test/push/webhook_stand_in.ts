// A customer's own sender: verifies by the text of Standard Webhooks 1.0, without the library that signed, and takes no body
// but those of docs/push-webhook.md.

import { createHmac } from 'node:crypto';
import { Ajv } from 'ajv';
import { Type, type TProperties } from 'typebox';
import { Refused, startHttpStandIn, type Running } from './http_stand_in.ts';

const TOLERANCE_SECONDS = 300;

const strict = (properties: TProperties) => Type.Object(properties, { additionalProperties: false });
const Event = Type.Union([
  strict({
    type: Type.Literal('push'),
    timestamp: Type.String({ pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$' }),
    data: strict({
      notification: strict({
        id: Type.String(),
        title: Type.Optional(Type.String()),
        body: Type.Optional(Type.String()),
        data: Type.Record(Type.String(), Type.String()),
        badge: Type.Optional(Type.Integer({ minimum: 0 })),
        collapseId: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}$' })),
        ttlSeconds: Type.Integer({ minimum: 0 }),
        priority: Type.Enum(['high', 'normal']),
        isSilent: Type.Boolean(),
      }),
      device: strict({ token: Type.String(), environment: Type.Enum(['production', 'sandbox']) }),
    }),
  }),
  strict({ type: Type.Literal('check'), timestamp: Type.String(), data: strict({}) }),
]);
const isEvent = new Ajv({ strict: false }).compile<any>(Event);

/** `whsec_` secret, by the document: the key is what comes after it, in base64. */
export function sign(secret: string, id: string, timestamp: string, body: Buffer): string {
  const key = Buffer.from(secret.slice('whsec_'.length), 'base64');
  return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest('base64')}`;
}

export async function startWebhook(t: Running, secret: () => string, now: () => Date = () => new Date()) {
  const events: any[] = [];
  const standIn = await startHttpStandIn(
    t,
    ({ method, path, headers, body }, conduct) => {
      const [id = '', timestamp = '', signatures = ''] = ['id', 'timestamp', 'signature'].map((each) =>
        headers[`webhook-${each}`]?.toString(),
      );
      const unsigned = (why: string): Refused => new Refused(why, { status: 401 });
      if (!/^[\w-]{1,64}$/.test(id)) throw unsigned('webhook-id');
      if (!(Math.abs(now().getTime() / 1_000 - Number(timestamp)) <= TOLERANCE_SECONDS))
        throw unsigned('age');
      if (!signatures.split(' ').includes(sign(secret(), id, timestamp, body))) throw unsigned('signature');
      if (method !== 'POST' || path !== '/hooks/imid?a=b') throw new Refused(path, { status: 404 });
      const event = JSON.parse(body.toString());
      if (headers['content-type'] !== 'application/json' || body.length > 20_000 || !isEvent(event))
        throw new Refused(JSON.stringify(isEvent.errors), { status: 400 });
      if (conduct === 'accept' && event.type === 'push') events.push(event);
      return { status: 204 };
    },
    {
      gone: { status: 410 },
      throttled: { status: 429 },
      'throttled for 7 s': { status: 429, headers: { 'retry-after': '7' } },
      'credential refused': { status: 401 },
    },
  );
  return { ...standIn, hook: `${standIn.url}/hooks/imid?a=b`, events };
}
