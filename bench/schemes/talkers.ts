// Clients on the socket that do nothing but send and receive, and count.

import { once } from 'node:events';
import { connect, type Socket, type TcpNetConnectOpts } from 'node:net';
import { WebSocket } from 'ws';
import { post } from '../service.ts';
import { nameOf } from '../users.ts';
import { addressOf, type Stand } from './stage.ts';

const FIRST = 3 * 2 ** 30;

export type Address = { uid: string } | { userId: string } | { imId: string };

export interface Talker extends Disposable {
  /** How others on the socket address it: as composed by its uid, in registered by its imId. */
  readonly address: Address;
  readonly name: string;
  readonly imId: string;
  send(to: Address, id: string, content: unknown): void;
  /** Called with the text of each frame. */
  onFrame: (text: string) => void;
  /** Bytes on the wire until now. */
  wire(): { sent: number; received: number };
}

/** The n-th client of the stand's app; its user is none of those that were brought in. */
export async function openTalker(stand: Stand, n: number): Promise<Talker> {
  const { app, service, kind } = stand;
  const name = nameOf(FIRST + n);
  const registered =
    kind === 'composed'
      ? undefined
      : await post<{ imId: string }>(`${app.url}/identities`, app.apiKey, { userId: name });
  const issued = await post<{ token: string; imId: string }>(
    `${app.url}/tokens`,
    app.apiKey,
    addressOf(stand, name),
  );
  const { imId } = registered ?? issued;
  let wire: Socket | undefined;
  const socket = new WebSocket(`${service.url.replace('http', 'ws')}/v1/connect`, 'imid.v1', {
    headers: { authorization: `Bearer ${issued.token}` },
    perMessageDeflate: false,
    createConnection: ((options: TcpNetConnectOpts) => (wire = connect(options))) as typeof connect,
  });
  const talker: Talker = {
    address: kind === 'registered' ? { imId } : { uid: name },
    name,
    imId,
    send: (to, id, content) => socket.send(JSON.stringify({ type: 'send', id, to, content })),
    onFrame: () => {},
    wire: () => ({ sent: wire!.bytesWritten, received: wire!.bytesRead }),
    [Symbol.dispose]: () => socket.terminate(),
  };
  await once(socket, 'message'); // the welcome
  socket.on('message', (frame: Buffer) => talker.onFrame(frame.toString()));
  socket.on('close', (code) => talker.onFrame(JSON.stringify({ type: 'error', code })));
  return talker;
}
