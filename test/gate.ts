// A gate between the service and Postgres, or NATS, that a test can shut: what one that is gone looks like.

import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import type pg from 'pg';

export interface Gate {
  connection: pg.PoolConfig;
  /** Cuts every connection and refuses new ones. */
  shut(): void;
  /** Lets everything through and nothing back, until it is opened again or shut. */
  mute(): void;
  open(): void;
  close(): Promise<void>;
}

export async function startGate(to: pg.PoolConfig): Promise<Gate> {
  const sockets = new Set<Socket>();
  let state: 'open' | 'shut' | 'mute' = 'open';
  const server = createServer((near) => {
    if (state === 'shut') {
      near.destroy();
      return;
    }
    const far = to.host!.startsWith('/')
      ? connect(`${to.host}/.s.PGSQL.${to.port}`)
      : connect(to.port!, to.host);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    near.pipe(far);
    far.on('data', (data) => {
      if (state !== 'mute') near.write(data);
    });
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const shut = (): void => {
    state = 'shut';
    for (const socket of sockets) socket.destroy();
  };
  return {
    connection: { ...to, host: '127.0.0.1', port: (server.address() as AddressInfo).port },
    shut,
    mute: () => void (state = 'mute'),
    open: () => void (state = 'open'),
    async close() {
      shut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
