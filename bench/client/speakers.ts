// Clients that a bench of the library puts beside each other: of the library, and bare ones that say the same frames and
// promise nothing. Each is written as an app would write it.

import { randomUUID } from 'node:crypto';
import { WebSocket as WsSocket } from 'ws';
import { createClient } from '../../src/client/index.ts';
import type { Member } from '../messaging/fleet.ts';

export interface Speaker {
  /** Resolves when it was answered with `sent`. */
  send(to: string, content: string): Promise<unknown>;
  close(): void;
}

/** Connects, until the welcome. `fail` hears of whatever ends a client but its own close. */
export type OpenSpeaker = (
  member: Member,
  onMessage: (content: string) => void,
  fail: (why: string) => void,
) => Promise<Speaker>;

export type Kind = keyof typeof kinds;

export const kinds = {
  async library(member, onMessage, fail) {
    const client = createClient({
      url: member.url,
      getToken: () => Promise.resolve(member.token),
    });
    let isOver = false;
    client.on('message', ({ content }) => onMessage(content as string));
    client.on('error', ({ message }) => fail(message));
    client.on('state', ({ state, error }) => {
      if (!isOver && error) fail(`${state}: ${error.message}`);
    });
    await client.connect();
    return {
      send: (to, content) => client.send({ uid: to }, content),
      close() {
        isOver = true;
        void client.close();
      },
    };
  },

  ws(member, onMessage, fail) {
    const socket = new WsSocket(toUrl(member), 'imid.v1', {
      headers: { authorization: `Bearer ${member.token}` },
      perMessageDeflate: false,
    });
    const bare = createBare((text) => socket.send(text), onMessage, fail);
    socket.on('message', (data: Buffer) => bare.receive(data.toString()));
    socket.on('error', ({ message }) => bare.end(message));
    socket.on('close', (code) => bare.end(`closed with ${code}`));
    return bare.opened(() => socket.terminate());
  },

  /** The socket that the library has too. */
  ownSocket(member, onMessage, fail) {
    const socket = new WebSocket(toUrl(member), ['imid.v1', `bearer.${member.token}`]);
    const bare = createBare((text) => socket.send(text), onMessage, fail);
    socket.addEventListener('message', ({ data }) => bare.receive(data as string));
    socket.addEventListener('error', () => bare.end('refused'));
    socket.addEventListener('close', ({ code }) => bare.end(`closed with ${code}`));
    return bare.opened(() => socket.close());
  },
} satisfies Record<string, OpenSpeaker>;

/** A device of its own each time, to which nothing comes of before. */
const toUrl = ({ url }: Member): string => `${url.replace('http', 'ws')}/v1/connect`;

/** As often as the library. */
const ACK_MS = 100;

interface Frame {
  type: string;
  id: string;
  seq: number;
  content: string;
}

function createBare(
  write: (text: string) => void,
  onMessage: (content: string) => void,
  fail: (why: string) => void,
) {
  const waiting = new Map<string, (answer: Frame) => void>();
  const welcome = Promise.withResolvers<void>();
  let isOver = false;
  const run = randomUUID();
  let count = 0;
  let seen = 0;
  let ack: ReturnType<typeof setTimeout> | undefined;

  function acknowledge(): void {
    ack = undefined;
    write(JSON.stringify({ type: 'ack', seq: seen }));
  }

  return {
    receive(text: string): void {
      const frame = JSON.parse(text) as Frame;
      if (frame.type === 'welcome') return welcome.resolve();
      if (frame.type !== 'sent' && frame.type !== 'message') return fail(text);
      seen = frame.seq;
      ack ??= setTimeout(acknowledge, ACK_MS);
      if (frame.type === 'message') return onMessage(frame.content);
      waiting.get(frame.id)?.(frame);
      waiting.delete(frame.id);
    },

    end(why: string): void {
      clearTimeout(ack);
      if (isOver) return;
      welcome.reject(new Error(why));
      fail(why);
    },

    async opened(close: () => void): Promise<Speaker> {
      await welcome.promise;
      return {
        send(to, content) {
          const id = `${run}-${(count += 1)}`;
          const { promise, resolve } = Promise.withResolvers<Frame>();
          waiting.set(id, resolve);
          write(JSON.stringify({ type: 'send', id, to: { uid: to }, content }));
          return promise;
        },
        close() {
          isOver = true;
          clearTimeout(ack);
          close();
        },
      };
    },
  };
}
