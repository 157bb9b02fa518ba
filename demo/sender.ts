// The customer's own sender of pushes, which imid asks by the webhook of docs/push-webhook.md; it reaches the demo's phones.
// What isn't signed by imid gets to nobody.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { Webhook } from 'standardwebhooks';
import type { Notification, Phone } from './phone.ts';

type Event =
  { type: 'check' } | { type: 'push'; data: { notification: Notification; device: { token: string } } };

export async function openSender() {
  const secret = `whsec_${randomBytes(32).toString('base64')}`;
  const webhook = new Webhook(secret);
  const phones = new Map<string, Phone>();

  /** The status to answer with. */
  async function take(request: IncomingMessage): Promise<number> {
    const body = await text(request);
    let event: Event;
    try {
      event = webhook.verify(body, request.headers as Record<string, string>) as Event;
    } catch {
      return 401;
    }
    if (event.type === 'check') return 204;
    const phone = phones.get(event.data.device.token);
    phone?.take(event.data.notification);
    return phone ? 204 : 410;
  }

  const server = createServer((request, response) => {
    void take(request).then((status) => response.writeHead(status).end());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    secret,
    reach: (phone: Phone): void => void phones.set(phone.pushToken, phone),

    [Symbol.dispose](): void {
      server.close();
      server.closeAllConnections();
    },
  };
}
