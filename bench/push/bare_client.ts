// What pushing is measured beside: a bare client of HTTP/2 that makes the very requests that the service makes, to so many
// devices, over one connection. It knows beforehand what to say, and to whom.

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { connect, sensitiveHeaders, type ClientHttp2Session } from 'node:http2';
import { perform } from '../tasks.ts';
import type { Sample } from './apns.ts';

interface Order {
  origin: string;
  sample: Sample;
  count: number;
  /** Requests under way at once. */
  atATime: number;
}

let session: ClientHttp2Session | undefined;

const tasks = {
  /** Gives back how many were taken. */
  async push({ origin, sample, count, atATime }: Order): Promise<number> {
    session ??= connect(origin);
    if (session.connecting) await once(session, 'connect');
    const body = Buffer.from(sample.body);
    let next = 0;
    let taken = 0;
    async function pushOn(): Promise<void> {
      while (next < count) {
        const device = (next += 1).toString(16).padStart(64, '0');
        const stream = session!.request({
          ...sample.headers,
          ':path': `/3/device/${device}`,
          'apns-id': randomUUID(),
          [sensitiveHeaders]: sample.unindexed as string[],
        });
        stream.on('response', (headers) => {
          if (headers[':status'] === 200) taken += 1;
        });
        stream.resume();
        stream.end(body);
        await once(stream, 'close');
      }
    }
    await Promise.all(Array.from({ length: atATime }, pushOn));
    if (taken < count) throw new Error(`Only ${taken} of ${count} were taken`);
    return taken;
  },
};

export type Tasks = typeof tasks;

perform(tasks);
