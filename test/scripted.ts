// A stand-in for the service that says what a test wants it to: for what the real one says rarely, or not on demand.

import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after } from 'node:test';
import { WebSocketServer, type WebSocket } from 'ws';
import { eventually, type Json } from './harness.ts';

/** One connection, with what the client asked for and has sent. */
export interface Scene {
  query: Record<string, string>;
  frames: Json[];
  say(frame: object): void;
  welcome(more?: object): void;
  close(code: number, reason?: string): void;
  /** The first of that type, from place `from` on. */
  heard(type: string, from?: number): Promise<Json>;
}

export interface Scripted {
  url: string;
  scenes: Scene[];
  requests: { method: string; url: string; body: Json }[];
  scene(place: number): Promise<Scene>;
  /** Whether upgrades are taken. */
  isOpen: boolean;
  answer: (request: IncomingMessage, response: ServerResponse) => void;
}

export const WELCOME = {
  connectionId: 'c',
  me: { scheme: 'composed', uid: 'alice' },
  device: 'd',
  epoch: 'e-1',
};

const closing: (() => void)[] = [];
after(() => closing.forEach((close) => close()));

export async function startScripted(): Promise<Scripted> {
  const sockets = new WebSocketServer({ noServer: true });
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const text = Buffer.concat(chunks).toString();
      scripted.requests.push({
        method: request.method!,
        url: request.url!,
        body: text === '' ? undefined : JSON.parse(text),
      });
      scripted.answer(request, response);
    });
  });
  server.on('upgrade', (request, socket, head) => {
    if (!scripted.isOpen) socket.end('HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n');
    else sockets.handleUpgrade(request, socket, head, (each) => scripted.scenes.push(toScene(each, request)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(() => {
    for (const each of sockets.clients) each.terminate();
    server.close();
    server.closeAllConnections();
  });
  const scripted: Scripted = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    scenes: [],
    requests: [],
    scene: (place) => eventually(() => scripted.scenes[place], `connection ${place}`),
    isOpen: true,
    answer: (_request, response) => response.end('{}'),
  };
  return scripted;
}

function toScene(socket: WebSocket, request: IncomingMessage): Scene {
  const frames: Json[] = [];
  socket.on('message', (data: Buffer) => frames.push(JSON.parse(data.toString())));
  const say = (frame: object): void => socket.send(JSON.stringify(frame));
  return {
    query: Object.fromEntries(new URL(request.url!, 'http://x').searchParams),
    frames,
    say,
    welcome: (more) => say({ type: 'welcome', ...WELCOME, seq: 0, acked: 0, resumed: false, ...more }),
    close: (code, reason) => socket.close(code, reason),
    heard: (type, from = 0) =>
      eventually(
        () => frames.slice(from).find((frame) => frame.type === type),
        `${type} of ${JSON.stringify(frames)}`,
      ),
  };
}
