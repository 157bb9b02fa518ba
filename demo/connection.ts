// One connection of a client to imid: frames out, frames in.
// Invariant: what comes in has each seq of the inbox once and in order; a gap, an error or an unasked-for close is a fault,
// thrown at whoever waits next.

import { EventEmitter, once } from 'node:events';
import { WebSocket } from 'ws';
import type { Address } from './imid.ts';

export interface Welcome {
  type: 'welcome';
  epoch: string;
  acked: number;
  resumed: boolean;
}

export interface Sent {
  type: 'sent';
  id: string;
  messageId: string;
  seq: number;
  at: string;
}

export interface Message {
  type: 'message';
  messageId: string;
  seq: number;
  from: Address;
  to: Address;
  content: { text: string };
}

type Frame = Welcome | Sent | Message | { type: 'error'; id?: string; code: string; detail: string };

/** How far a client has its inbox: all up to `seq`, in the count of `epoch`. Moved on by its connection. */
export interface Place {
  seq: number;
  epoch?: string;
}

interface ConnectionOptions {
  imidUrl: string;
  token: string;
  device: string;
  place: Place;
  /** Where to resume; undefined: where imid knows the device to be. */
  after: number | undefined;
}

const PATIENCE_MS = 10_000;

export class Connection {
  readonly #socket: WebSocket;
  readonly #options: ConnectionOptions;
  readonly #frames: Frame[] = [];
  readonly #bell = new EventEmitter();
  #fault: Error | undefined;
  #isClosing = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    const { imidUrl, token, device, place, after } = options;
    const query = new URLSearchParams({
      device,
      ...(after !== undefined && { after: String(after) }),
      ...(place.epoch !== undefined && { epoch: place.epoch }),
    });
    this.#socket = new WebSocket(
      `${imidUrl.replace('http', 'ws')}/v1/connect?${query.toString()}`,
      'imid.v1',
      {
        headers: { authorization: `Bearer ${token}` },
      },
    );
    this.#socket.on('message', (text: Buffer) => this.#take(JSON.parse(text.toString()) as Frame));
    this.#socket.on('error', (error) => this.#fail(error.message));
    this.#socket.on('close', (code) => this.#isClosing || this.#fail(`the socket was closed with ${code}`));
  }

  write(frame: object): void {
    this.#socket.send(JSON.stringify(frame));
  }

  /** The first frame of the type that nobody has taken yet. */
  async next<T extends Frame['type']>(type: T, what: string): Promise<Extract<Frame, { type: T }>> {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    for (;;) {
      if (this.#fault) throw this.#fault;
      const at = this.#frames.findIndex((frame) => frame.type === type);
      if (at >= 0) return this.#frames.splice(at, 1)[0] as Extract<Frame, { type: T }>;
      await once(this.#bell, 'ring', { signal }).catch(() => this.#fail(`${what} did not come in time`));
    }
  }

  /** Resolves when it is closed. Throws when something came that nobody took. */
  async close(): Promise<void> {
    this.#isClosing = true;
    if (this.#socket.readyState !== WebSocket.CLOSED) {
      const closed = once(this.#socket, 'close', { signal: AbortSignal.timeout(PATIENCE_MS) });
      this.#socket.close();
      await closed;
    }
    if (this.#fault) throw this.#fault;
    if (this.#frames.length > 0) throw new Error(`Too much came: ${JSON.stringify(this.#frames)}`);
  }

  /** Hangs up, whatever came. */
  drop(): void {
    this.#isClosing = true;
    this.#socket.terminate();
  }

  #take(frame: Frame): void {
    const { place, after } = this.#options;
    if (frame.type === 'error') return this.#fail(`told ${frame.code}: ${frame.detail}`);
    if (frame.type === 'welcome') {
      place.epoch = frame.epoch;
      place.seq = after === undefined ? frame.acked : frame.resumed ? after : 0;
    } else if (frame.seq === place.seq + 1) place.seq = frame.seq;
    // The answer to a message that was sent before has the seq of then.
    else if (frame.type === 'message' || frame.seq > place.seq)
      this.#fail(`seq ${frame.seq} came behind ${place.seq}`);
    this.#frames.push(frame);
    this.#bell.emit('ring');
  }

  #fail(why: string): void {
    this.#fault ??= new Error(`${this.#options.device}: ${why}`);
    this.#bell.emit('ring');
  }
}
