// APNs as the benches have it: takes what comes, and counts it. It either looks at nothing, so that it costs next to none of the
// machine that it shares with who is measured, or at everything, as that of the tests does. Both sides of a comparison push
// to the same one.

import { once } from 'node:events';
import { createServer, sensitiveHeaders, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { importJWK, type CryptoKey } from 'jose';
import { findRefusal, type ApnsAccount } from '../../test/push/apns_checks.ts';
import { perform } from '../tasks.ts';
import type { Account } from './credentials.ts';

/** A request that came, to be made again. */
export interface Sample {
  headers: Record<string, string>;
  /** Those that stay out of the table of header compression. */
  unindexed: readonly string[];
  body: string;
}

/** As many as Apple's allow. */
const STREAMS_MAX = 1_000;
const STALL_MS = 300_000;

let taken = 0;
let open = 0;
let most = 0;
let sample: Sample | undefined;
let awaited = { count: Infinity, resolve: (): void => {} };

/** Whose requests are looked at; undefined: nobody's. */
let account: ApnsAccount | undefined;

// A request that is lost, or refused, ends it.
const server = createServer({ settings: { maxConcurrentStreams: STREAMS_MAX } });
server.on('stream', (stream: ServerHttp2Stream, headers, _flags, rawHeaders) => {
  open += 1;
  most = Math.max(most, open);
  const take = (): void => {
    stream.respond([':status', '200', 'apns-id', String(headers['apns-id'])], { endStream: true });
    open -= 1;
    taken += 1;
    if (taken === awaited.count) awaited.resolve();
  };
  if (sample && !account) {
    stream.resume();
    stream.on('end', take);
  } else {
    void stream.toArray().then(async (chunks: Buffer[]) => {
      const body = Buffer.concat(chunks);
      sample ??= toSample(headers, body);
      const refusal = account && (await findRefusal({ headers, rawHeaders, body }, account, new Date()));
      if (refusal) throw new Error(`Refused: ${refusal.reason}`);
      take();
    });
  }
});

function toSample(headers: IncomingHttpHeaders, chunk: Buffer): Sample {
  const unindexed = (headers as { [sensitiveHeaders]?: string[] })[sensitiveHeaders] ?? [];
  return { headers: { ...(headers as Record<string, string>) }, unindexed, body: chunk.toString() };
}

const tasks = {
  /** Looks at what comes where it knows the account that it comes from. Gives back its origin. */
  async listen(of: Account | undefined): Promise<string> {
    account = of && { ...of, publicKey: (await importJWK(of.publicKey, 'ES256')) as CryptoKey };
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  },

  /** How many have come until now, and how many were under way at once at most. */
  count: () => ({ taken, most }),

  /** Resolves once so many have come. */
  async untilTaken(count: number): Promise<void> {
    if (taken >= count) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    awaited = { count, resolve };
    const stalled = sleep(STALL_MS, undefined, { ref: false }).then(() => {
      if (taken < count) throw new Error(`Only ${taken} of ${count} pushes have come`);
    });
    await Promise.race([promise, stalled]);
  },

  /** One that has come. */
  sample: (): Sample => sample!,
};

export type Tasks = typeof tasks;

perform(tasks);
