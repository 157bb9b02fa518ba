// HTTP load over connections that are kept alive. By hand, on bare sockets: a client library costs more per request than
// the bare route that it would measure, so that its own speed would be the figure.

import { connect, type Socket } from 'node:net';
import { once } from 'node:events';

export interface Answer {
  status: number;
  body: Buffer;
}

export interface Load extends Disposable {
  /** Sends one request on one connection. */
  ask(request: string): Promise<Answer>;
  /**
   * Each connection sends a request once the one before is answered, until `next` gives none. Gives back how many there
   * were. Throws at any answer but a success without an error in it.
   */
  run(next: () => string | undefined, onAnswer?: (body: Buffer) => void): Promise<number>;
}

const HEAD_END = Buffer.from('\r\n\r\n');
const ERROR = Buffer.from('"error"');

export async function openLoad(url: string, connections: number): Promise<Load> {
  const { hostname, port } = new URL(url);
  const sockets = await Promise.all(
    Array.from({ length: connections }, async () => {
      const socket = connect({ host: hostname, port: Number(port), noDelay: true });
      await once(socket, 'connect');
      return socket;
    }),
  );
  const channels = sockets.map(createChannel);
  return {
    ask: (request) => channels[0]!(request),
    async run(next, onAnswer) {
      let count = 0;
      await Promise.all(
        channels.map(async (ask) => {
          for (let request = next(); request !== undefined; request = next()) {
            const { status, body } = await ask(request);
            if (status >= 300 || body.includes(ERROR)) throw new Error(`Got ${status} ${body.toString()}`);
            onAnswer?.(body);
            count += 1;
          }
        }),
      );
      return count;
    },
    [Symbol.dispose]() {
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** A request that `ask` and `run` send: with a body a POST, else a GET. */
export function toRequest(url: string, key: string, body?: unknown): string {
  const { host, pathname, search } = new URL(url);
  const text = body === undefined ? '' : JSON.stringify(body);
  return (
    `${body === undefined ? 'GET' : 'POST'} ${pathname}${search} HTTP/1.1\r\nHost: ${host}\r\n` +
    `Authorization: Bearer ${key}\r\n` +
    (body === undefined
      ? '\r\n'
      : `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`)
  );
}

/** One request at a time on a socket. */
function createChannel(socket: Socket): (request: string) => Promise<Answer> {
  let waiting: PromiseWithResolvers<Answer> | undefined;
  let chunks: Buffer[] = [];
  let received = 0;
  let head: Head | undefined;

  const fail = (error: Error): void => waiting?.reject(error);
  socket.on('error', fail);
  socket.on('close', () => fail(new Error('The connection was closed')));
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    received += chunk.length;
    head ??= readHead(chunks.length === 1 ? chunk : Buffer.concat(chunks));
    if (!head || received < head.end + head.length) return;
    const whole = chunks.length === 1 ? chunk : Buffer.concat(chunks);
    const answer = { status: head.status, body: whole.subarray(head.end) };
    head = undefined;
    chunks = [];
    received = 0;
    waiting?.resolve(answer);
  });

  return (request) => {
    waiting = Promise.withResolvers<Answer>();
    if (socket.destroyed) fail(new Error('The connection is closed'));
    else socket.write(request);
    return waiting.promise;
  };
}

interface Head {
  status: number;
  /** Where the body begins. */
  end: number;
  /** Of the body. */
  length: number;
}

/** Undefined: it isn't whole yet. Only answers with a Content-Length are measured; any other would never end. */
function readHead(chunk: Buffer): Head | undefined {
  const end = chunk.indexOf(HEAD_END);
  if (end < 0) return undefined;
  const text = chunk.toString('latin1', 0, end);
  const length = /^content-length: *(\d+)/im.exec(text)?.[1];
  return {
    status: Number(text.slice(9, 12)),
    end: end + HEAD_END.length,
    length: Number(length ?? 'Infinity'),
  };
}
