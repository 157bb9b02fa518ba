// Puts requests on the wire as they are, also those that no decent client would send.

import { once } from 'node:events';
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { gunzipSync } from 'node:zlib';

export interface Sent {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: Buffer | undefined;
}

export interface Reply {
  method: string;
  status: number;
  headers: IncomingMessage['headers'];
  /** Without parameters. */
  type: string;
  text: string;
}

const WAIT_MS = 10_000;
/** Of a longer body some may still be on its way when the answer is there and the connection ends. */
const SURE_BYTES = 64 * 1024;

export function createWire(url: string) {
  const { hostname, port } = new URL(url);
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });

  return {
    /** Undefined: the connection ended before all of a long body was taken. */
    async send({ method, path, headers, body }: Sent): Promise<Reply | undefined> {
      const length =
        body && headers['transfer-encoding'] === undefined ? { 'content-length': body.length } : {};
      const request = httpRequest({
        agent,
        hostname,
        port,
        method,
        path,
        headers: { ...headers, ...length },
        signal: AbortSignal.timeout(WAIT_MS),
      });
      try {
        request.end(body);
        const [response] = (await once(request, 'response')) as [IncomingMessage];
        request.on('error', () => {});
        const bytes = Buffer.concat(await response.toArray());
        const isZipped = response.headers['content-encoding'] === 'gzip' && bytes.length > 0;
        const text = (isZipped ? gunzipSync(bytes) : bytes).toString();
        const type = (response.headers['content-type'] ?? '').split(';', 1)[0]!.trim();
        return { method, status: response.statusCode!, headers: response.headers, type, text };
      } catch (error) {
        if ((body?.length ?? 0) > SURE_BYTES && (error as Error).name !== 'AbortError') return undefined;
        throw error;
      }
    },

    /** Bytes, and all that comes until the other side closes. */
    async exchange(bytes: Buffer): Promise<string> {
      const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
      const chunks: Buffer[] = [];
      socket.on('data', (chunk: Buffer) => chunks.push(chunk));
      socket.on('error', () => {});
      const ended = once(socket, 'close', { signal: AbortSignal.timeout(WAIT_MS) });
      socket.on('end', () => socket.destroy());
      socket.end(bytes);
      await ended;
      return Buffer.concat(chunks).toString('latin1');
    },

    close: () => agent.destroy(),
  };
}
