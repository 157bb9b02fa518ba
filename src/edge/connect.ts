// The socket: GET /v1/connect, subprotocol imid.v1. Turns a WebSocket into a peer of a session, and knows nothing of
// what is said on it. No socket exists without a checked token: a bad one is refused while it is still HTTP.

import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { WebSocket } from 'ws';
import { ImidError } from '../errors.ts';
import { Rate, type Limits } from '../routing/limits.ts';
import type { Router } from '../routing/router.ts';
import { createFrameReader } from './frames.ts';
import { requirePageOf } from './cors.ts';
import { createPeer } from './peer.ts';
import { DeviceId, problems, Seq } from './shapes.ts';
import { invalid } from './validation.ts';

export const SUBPROTOCOL = 'imid.v1';
/** A frame beyond this is a protocol error: the content it may carry, escaped as badly as JSON allows, is smaller. */
const FRAME_MAX_BYTES = 128 * 1024;
/** What is read of a frame at all, so that one that is too long can still be told so. */
export const SOCKET_MAX_PAYLOAD_BYTES = 2 * 1024 * 1024;

const DESCRIPTION = `A WebSocket, which no button on this page can open: \`new WebSocket(url, ['imid.v1', 'bearer.' + token])\` can, in
any browser. It has the subprotocol \`imid.v1\`; the token comes as \`Authorization: Bearer\` or, from browsers, as a second
subprotocol \`bearer.<token>\`. A bad token is refused while it is still HTTP, with the answers below; so is a browser whose page
has an origin that isn't among the app's \`allowedOrigins\`, where there are any.

One JSON object per text frame:

| the client sends | the service sends |
|---|---|
| | \`{"type": "welcome", "connectionId", "me", "device", "epoch", "seq", "acked", "resumed"}\` first |
| \`{"type": "send", "id", "to": {"uid": "bob"}, "content", "push"?}\` | \`{"type": "sent", "id", "messageId", "seq", "at"}\` when it is on disk; the same \`id\` again stores nothing |
| \`{"type": "ack", "seq"}\`: all up to \`seq\` is handled on this device | \`{"type": "message", "seq", "messageId", "from", "to", "content", "at"}\` in the order of \`seq\`, without gaps |
| \`{"type": "state", "state": "background"}\` | |
| \`{"type": "token", "token"}\`: a fresh one, before the old one expires | |
| \`{"type": "ping"}\` | \`{"type": "pong"}\` |
| | \`{"type": "error", "id"?, "code", "detail"}\` |

The range of a close code says whether to come back. Below 4500, reconnect with back-off and jitter: 1001 restarting, 4001
token expired, 4008 reads too slowly, 4010 sends too fast, 4011
unavailable. From 4500 on, don't until the app says so: 4502 token revoked, 4503
replaced by the same device, 4509 protocol error.`;

const Query = Type.Object(
  {
    device: Type.Optional({ ...DeviceId, description: 'Without one the connection is a device of its own.' }),
    state: Type.Optional(
      Type.Unsafe<'foreground' | 'background'>(
        Type.String({
          enum: ['foreground', 'background'],
          default: 'foreground',
          description: 'A device in the background gets pushes as well.',
        }),
      ),
    ),
    after: Type.Optional({ ...Seq, description: 'The last seq that the client has: resume behind it.' }),
    epoch: Type.Optional(
      Type.String({ format: 'text', maxLength: 64, description: 'The epoch of `after`.' }),
    ),
  },
  { additionalProperties: false },
);

export interface ConnectOptions {
  router: Router;
  isDraining: () => boolean;
  limits: Limits;
  pingMs?: number | undefined;
  drainTimeoutMs?: number | undefined;
}

export const connect: FastifyPluginAsyncTypebox<ConnectOptions> = async (
  app,
  { router, isDraining, limits, pingMs = 12_000, drainTimeoutMs = 10_000 },
) => {
  const readFrame = createFrameReader();

  app.route({
    method: 'GET',
    url: '/connect',
    schema: {
      operationId: 'connect',
      summary: 'Open a socket',
      description: DESCRIPTION,
      tags: ['Socket'],
      querystring: Query,
      response: {
        101: Type.Null({ description: 'The socket is open, and the welcome is on its way.' }),
        ...problems(
          'invalid_request',
          'unauthorized',
          'token_expired',
          'token_revoked',
          'forbidden',
          'scheme_disabled',
          'rate_limited',
          'unavailable',
        ),
      },
    },
    // Not async, so that nobody else comes in between the check for room and the opening.
    preHandler: (request, _reply, done) => {
      if (isDraining()) throw new ImidError('unavailable', 'The service is shutting down.');
      if (request.ws) refuseBadHandshake(request);
      refuseOtherProtocols(request);
      requirePageOf(request.admitted.app, request);
      refuseOtherDevice(request, request.query.device);
      router.requireRoom(request.admitted, request.query.device ?? request.admitted.claims.deviceId);
      done();
    },
    handler: async () => {
      throw new ImidError('invalid_request', 'This is a WebSocket: connect with "Upgrade: websocket".');
    },
    wsHandler: (socket, request) => {
      const { query } = request;
      const peer = createPeer(socket, request.raw.socket, drainTimeoutMs, () => silent.delete(socket));
      const rate = new Rate(limits.framesPerSecond, limits.frameBurst, performance.now());
      const { session, asking, started } = router.open(peer, request.admitted, {
        deviceId: query.device ?? request.admitted.claims.deviceId,
        state: query.state ?? 'foreground',
        after: query.after,
        epoch: query.epoch,
      });
      request.log.debug({ connectionId: session.connectionId }, 'a connection was opened');
      const receive = (data: Buffer, isBinary: boolean): void => {
        if (!rate.take(performance.now())) return session.close('tooFast');
        if (isBinary || data.length > FRAME_MAX_BYTES || !isUtf8(data)) return session.close('protocolError');
        const read = readFrame(data);
        if ('frame' in read) asking.receive(read.frame);
        else session.fail(read.error, read.id);
      };
      let isReady = false;
      // Attached before anything is awaited, or frames would be lost; what comes early waits for the welcome.
      socket.on('message', (data, isBinary) => {
        if (isReady) receive(data as Buffer, isBinary);
        else void started.then(() => receive(data as Buffer, isBinary));
      });
      socket.on('pong', () => silent.delete(socket));
      let refused: number | undefined;
      socket.on('close', (code) => session.onClosed(refused ?? code, refused ? 'websocket' : 'client'));
      socket.on('error', (error: Error & { code?: string }) => {
        refused = LAYER_CODES[error.code ?? ''] ?? 1002;
        socket.terminate();
      });
      peer.pause();
      void started.then(() => {
        isReady = true;
        peer.resume();
      });
    },
  });

  const pinging = setInterval(() => {
    // Behind what has come meanwhile: where this process stood still for long, answers wait to be read.
    setImmediate(() => {
      for (const socket of app.websocketServer.clients) checkAlive(socket);
    });
  }, pingMs);
  pinging.unref();
  app.addHook('onClose', async () => clearInterval(pinging));
};

/** Whether a request asks for the socket: nothing else is ever upgraded. */
export function isSocketRequest(request: IncomingMessage): boolean {
  return (
    request.headers.upgrade?.toLowerCase() === 'websocket' && /^\/v1\/connect(\?|$)/.test(request.url ?? '')
  );
}

/** What ws would refuse in its own words (RFC 6455 section 4.2.1). */
function refuseBadHandshake({ headers }: FastifyRequest): void {
  if (headers['sec-websocket-version'] !== '13')
    throw invalid([{ in: 'header', pointer: '#/sec-websocket-version', detail: 'must be 13' }]);
  if (!/^[+/0-9A-Za-z]{22}==$/.test(headers['sec-websocket-key'] ?? ''))
    throw invalid([{ in: 'header', pointer: '#/sec-websocket-key', detail: 'must be 16 bytes in base64' }]);
}

function refuseOtherProtocols({ headers }: FastifyRequest): void {
  const offered = headers['sec-websocket-protocol']?.split(',').map((protocol) => protocol.trim());
  if (!offered) return;
  const isWellFormed = offered.every((name) => /^[!#$%&'*+.^_`|~\w-]+$/.test(name));
  if (!isWellFormed || new Set(offered).size < offered.length || !offered.includes(SUBPROTOCOL))
    throw invalid([
      {
        in: 'header',
        pointer: '#/sec-websocket-protocol',
        detail: `must offer ${SUBPROTOCOL}, and each protocol once`,
      },
    ]);
}

function refuseOtherDevice(request: FastifyRequest, device: string | undefined): void {
  const bound = request.admitted.claims.deviceId;
  if (bound !== undefined && device !== undefined && device !== bound)
    throw new ImidError('forbidden', 'The token is bound to another device.');
}

/** What ws closes with by itself, where it isn't the protocol error 1002. */
const LAYER_CODES: Record<string, number> = {
  WS_ERR_INVALID_UTF8: 1007,
  WS_ERR_UNSUPPORTED_MESSAGE_LENGTH: 1009,
  WS_ERR_TOO_MANY_BUFFERED_PARTS: 1008,
};

const silent = new WeakSet<WebSocket>();

/** Pings; one that has not answered the ping before is dead, unless it is us who don't read what it answers. */
function checkAlive(socket: WebSocket): void {
  if (socket.isPaused) return;
  if (silent.has(socket)) return socket.terminate();
  silent.add(socket);
  socket.ping();
}
