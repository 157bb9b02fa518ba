// What messaging is measured beside: a bare `ws` relay, in a process of its own, that says the same frames as the service
// and passes each message on to the connection that its recipient has. It stores nothing, and asks nobody for a token
// unless it is given the keys to check them by, which is all that it does with them.

import { createPublicKey, randomUUID, verify, type KeyObject, type webcrypto } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocketServer, type WebSocket } from 'ws';

interface Connection {
  socket: WebSocket;
  seq: number;
}

interface Frame {
  type: string;
  id: string;
  to: { uid: string };
  content: unknown;
}

const keys = readKeys(process.env['JWKS']);
const epoch = randomUUID();
const connections = new Map<string, Connection>();
const http = createServer();
// The service's own options.
const server = new WebSocketServer({ noServer: true, perMessageDeflate: false, skipUTF8Validation: true });

http.on('upgrade', (request, tcp, head) => {
  const { searchParams } = new URL(request.url ?? '/', 'http://relay');
  if (keys && !isSigned(keys, request.headers.authorization ?? '')) {
    tcp.end('HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n');
    return;
  }
  server.handleUpgrade(request, tcp, head, (socket) =>
    open(socket, searchParams.get('uid') ?? '', searchParams.get('device') ?? ''),
  );
});

function open(socket: WebSocket, uid: string, device: string): void {
  const own: Connection = { socket, seq: 0 };
  connections.set(uid, own);
  socket.on('close', () => {
    if (connections.get(uid) === own) connections.delete(uid);
  });
  socket.on('message', (data: Buffer) => {
    const frame = JSON.parse(data.toString()) as Frame;
    if (frame.type !== 'send') return;
    const messageId = randomUUID();
    const at = new Date().toISOString();
    own.seq += 1;
    socket.send(JSON.stringify({ type: 'sent', id: frame.id, messageId, seq: own.seq, at }));
    const other = connections.get(frame.to.uid);
    if (!other) return;
    other.seq += 1;
    const message = { messageId, from: { uid }, to: frame.to, content: frame.content, at };
    other.socket.send(JSON.stringify({ type: 'message', seq: other.seq, ...message }));
  });
  const standing = { device, epoch, seq: 0, acked: 0, resumed: true };
  socket.send(JSON.stringify({ type: 'welcome', connectionId: randomUUID(), me: { uid }, ...standing }));
}

function readKeys(jwks: string | undefined): Map<string, KeyObject> | undefined {
  if (jwks === undefined) return undefined;
  const { keys: all } = JSON.parse(jwks) as { keys: (webcrypto.JsonWebKey & { kid: string })[] };
  return new Map(all.map((jwk) => [jwk.kid, createPublicKey({ key: jwk, format: 'jwk' })]));
}

/** ES256 (RFC 7518 section 3.4), and not another claim. */
function isSigned(by: Map<string, KeyObject>, authorization: string): boolean {
  const [header = '', payload = '', signature = ''] = authorization.slice('Bearer '.length).split('.');
  const { kid } = JSON.parse(Buffer.from(header, 'base64url').toString()) as { kid: string };
  const key = by.get(kid);
  const signed = Buffer.from(`${header}.${payload}`);
  return (
    key !== undefined &&
    verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, Buffer.from(signature, 'base64url'))
  );
}

process.on('SIGTERM', () => process.exit(0));
http.listen(0, '127.0.0.1', () => {
  console.log(`listening at http://127.0.0.1:${(http.address() as AddressInfo).port}`);
});
