// What the tests need of APNs: an HTTP/2 server of one environment that takes only what Apple takes, allows one stream until
// it has seen a good request, and misbehaves as it is told to.

import { once } from 'node:events';
import {
  constants,
  createServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { findRefusal, type ApnsAccount, type ApnsRequest } from './apns_checks.ts';

export interface ApnsReplyTold {
  status: number;
  body?: string | object;
  headers?: Record<string, string>;
}

/** What is done with a request instead of what Apple would do. */
export type Act = (
  stream: ServerHttp2Stream,
  session: ServerHttp2Session,
  headers: IncomingHttpHeaders,
) => void;

export interface Taken extends ApnsRequest {
  /** Of the device. */
  token: string;
  payload: Record<string, any>;
  session: ServerHttp2Session;
}

const STREAMS = 100;
const TOKEN_UPDATE_MS = 20 * 60_000;

/** Answers as it is told to. */
export const reply =
  ({ status, body = '', headers = {} }: ApnsReplyTold): Act =>
  (stream) => {
    stream.respond({ ':status': status, ...headers });
    stream.end(typeof body === 'string' ? body : JSON.stringify(body));
  };

export const refuseWith = (status: number, reason: string, timestamp?: number): Act =>
  reply({ status, body: { reason, timestamp } });

export type ApnsStandIn = Awaited<ReturnType<typeof startApns>>;

export async function startApns(
  account: ApnsAccount,
  { now, streamsAtFirst }: { now(): Date; streamsAtFirst: number },
) {
  const server = createServer({ settings: { maxConcurrentStreams: streamsAtFirst } });
  const sessions = new Set<ServerHttp2Session>();
  const proven = new WeakSet<ServerHttp2Session>();
  const taken: Taken[] = [];
  const tokens = new Map<string, number>();
  let most = 0;
  let asked = 0;
  let opened = 0;
  let pings = 0;
  const underWay = new WeakMap<ServerHttp2Session, number>();
  /** One for each request to come, the last for all after it. */
  let acts: (Act | undefined)[] = [];
  let newest: ServerHttp2Session | undefined;
  const sockets = new WeakMap<ServerHttp2Session, Socket>();

  server.on('session', (session) => {
    opened += 1;
    newest = session;
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
    session.on('ping', () => (pings += 1));
    session.on('error', () => undefined);
  });

  // Told after the session that is on it.
  server.on('connection', (socket: Socket) => {
    if (newest) sockets.set(newest, socket);
  });

  server.on('stream', (stream: ServerHttp2Stream, headers, _flags, rawHeaders) => {
    const session = stream.session as ServerHttp2Session;
    const count = (by: number): number => {
      const total = (underWay.get(session) ?? 0) + by;
      underWay.set(session, total);
      return total;
    };
    const streams = count(1);
    most = Math.max(most, streams);
    stream.on('close', () => count(-1));
    stream.on('error', () => undefined);
    void answer(stream, { session, isAlone: streams === 1 }, headers, rawHeaders);
  });

  async function answer(
    stream: ServerHttp2Stream,
    { session, isAlone }: { session: ServerHttp2Session; isAlone: boolean },
    headers: IncomingHttpHeaders,
    rawHeaders: string[],
  ): Promise<void> {
    const body = Buffer.concat(await stream.toArray());
    asked += 1;
    const act = acts.length > 1 ? acts.shift() : acts[0];
    if (act) return act(stream, session, headers);
    const request = { headers, rawHeaders, body };
    const id = String(headers['apns-id']);
    const refusal =
      (proven.has(session) || isAlone ? undefined : { status: 400, reason: 'OneStreamUntilProven' }) ??
      (await findRefusal(request, account, now())) ??
      refusalOfUpdate(String(headers['authorization']));
    if (refusal)
      return reply({ status: refusal.status, body: { reason: refusal.reason }, headers: { 'apns-id': id } })(
        stream,
        session,
        headers,
      );
    if (!proven.has(session)) {
      proven.add(session);
      session.settings({ maxConcurrentStreams: STREAMS });
    }
    const token = String(headers[':path']).split('/').at(-1)!;
    taken.push({ ...request, token, session, payload: JSON.parse(body.toString()) as Taken['payload'] });
    reply({ status: 200, headers: { 'apns-id': id } })(stream, session, headers);
  }

  /** A key may show another token only every 20 minutes, over all its connections. */
  function refusalOfUpdate(token: string): { status: number; reason: string } | undefined {
    const last = Math.max(-Infinity, ...tokens.values());
    if (!tokens.has(token) && now().getTime() - last < TOKEN_UPDATE_MS)
      return { status: 429, reason: 'TooManyProviderTokenUpdates' };
    if (!tokens.has(token)) tokens.set(token, now().getTime());
    return undefined;
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    taken,
    sessions,
    /** Of the provider tokens that it saw. */
    tokens: (): number => tokens.size,
    /** How many requests were under way at once on one connection. */
    most: (): number => most,
    asked: (): number => asked,
    opened: (): number => opened,
    pings: (): number => pings,
    /** What to do with the requests to come; the last one stays; undefined is what Apple does. */
    act(...next: (Act | undefined)[]): void {
      acts = next;
    },
    /** As Apple says good-bye. */
    goaway(
      session: ServerHttp2Session,
      lastStreamId: number,
      reason: string,
      code = constants.NGHTTP2_NO_ERROR,
    ): void {
      session.goaway(code, lastStreamId, Buffer.from(JSON.stringify({ reason })));
    },
    /** Without a word of HTTP/2: by a FIN, and by a RST. */
    hangUp(session: ServerHttp2Session): void {
      sockets.get(session)?.destroy();
    },
    cut(session: ServerHttp2Session): void {
      sockets.get(session)?.resetAndDestroy();
    },
    async close(): Promise<void> {
      for (const session of sessions) session.destroy();
      server.close();
    },
  };
}
