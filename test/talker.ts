// An honest client, as the README asks for: keeps its device connected, resumes, sends at a pace with a window, and sends
// again what has no answer, with the same id and in order, before anything newer. Keeps every frame, and judges nothing.

import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import type { Connection, Witness } from './evidence.ts';
import type { Json } from './harness.ts';

export interface TalkerOptions {
  uid: string;
  device: string;
  token: string;
  /** Where a service runs; asked at each try to connect. */
  url: () => string;
  /** What the next message is, and to whom. */
  compose: () => { to: string; content: object };
  random: () => number;
  /** How many messages may be without an answer. */
  window: number;
  paceMs: number;
}

type Recording = { -readonly [K in keyof Connection]: Connection[K] } & {
  frames: ({ out: Json } | { in: Json })[];
};

const BACK_OFF_MS = 100;
const BACK_OFF_MAX_MS = 1_500;
const HANDSHAKE_MS = 10_000;
const ACK_EVERY = 20;
const CUT_MAX_MS = 20;

export class Talker implements Witness {
  readonly uid: string;
  readonly device: string;
  readonly connections: Recording[] = [];
  /** Behind this it is shown what is new. */
  cursor = 0;
  /** How many messages were made, how many of them were answered `sent`, and how often one was answered by an error. */
  made = 0;
  answered = 0;
  errors = 0;

  readonly #options: TalkerOptions;
  /** By id, in the order in which they were made. */
  readonly #unanswered = new Map<string, Json>();
  /** Answered by an error, to be sent again once everything else is answered. */
  readonly #failed = new Set<string>();
  #isRepeating = false;
  #epoch: string | undefined;
  #socket: WebSocket | undefined;
  #network: Socket | undefined;
  #isWelcome = false;
  #tries = 0;
  #isTalking = true;
  #isOver = false;
  readonly #pace: NodeJS.Timeout;
  #waiting: NodeJS.Timeout | undefined;

  constructor(options: TalkerOptions) {
    this.#options = options;
    this.uid = options.uid;
    this.device = options.device;
    this.#pace = setInterval(() => this.#makeNext(), options.paceMs);
    this.#connect();
  }

  get unanswered(): string[] {
    return [...this.#unanswered.keys()];
  }

  /** Sends the next message, with something special in it if wanted; gives back its id. */
  make(special: object = {}): string {
    const { device, uid, compose } = this.#options;
    const id = `${uid}/${device}/${this.made}`;
    const { to, content } = compose();
    this.made += 1;
    const message = { type: 'send', id, to: { uid: to }, content: { id, ...content, ...special } };
    this.#unanswered.set(id, message);
    if (this.#isWelcome) this.#send(message);
    return id;
  }

  /** Makes nothing new any more; goes on until everything is answered. */
  hush(): void {
    this.#isTalking = false;
  }

  close(): void {
    this.#isOver = true;
    clearInterval(this.#pace);
    clearTimeout(this.#waiting);
    this.#socket?.close(1000);
  }

  /** Sends as much as it may, writes the beginning of a frame, and resets the connection. False where there is none. */
  cut(): boolean {
    const network = this.#network;
    if (!this.#isWelcome || !network) return false;
    const { compose, random, window } = this.#options;
    while (this.#unanswered.size < window) this.make();
    // What is sent from here on would be the rest of the frame, also an answer to a ping.
    this.#isWelcome = false;
    this.#socket!.pause();
    const half = { type: 'send', id: 'half', to: { uid: compose().to }, content: { id: 'half' } };
    const frame = toMaskedFrame(JSON.stringify(half), random);
    network.write(frame.subarray(0, 1 + Math.floor(random() * (frame.length - 1))));
    setTimeout(() => network.resetAndDestroy(), random() * CUT_MAX_MS);
    return true;
  }

  #connect(): void {
    const { uid: _, device, token, url } = this.#options;
    const query = new URLSearchParams({ device, after: String(this.cursor) });
    if (this.#epoch !== undefined) query.set('epoch', this.#epoch);
    const recording: Recording = { after: this.cursor, frames: [] };
    this.connections.push(recording);
    const socket = new WebSocket(`${url().replace('http', 'ws')}/v1/connect?${query.toString()}`, 'imid.v1', {
      headers: { authorization: `Bearer ${token}` },
      handshakeTimeout: HANDSHAKE_MS,
    });
    this.#socket = socket;
    socket.on('upgrade', (response) => (this.#network = response.socket));
    socket.on('unexpected-response', (_request, { statusCode }) => {
      recording.refused = statusCode!;
      socket.terminate();
    });
    socket.on('message', (data: Buffer) => {
      const frame = JSON.parse(data.toString());
      recording.frames.push({ in: frame });
      this.#receive(frame);
    });
    socket.on('error', () => {});
    socket.on('close', (code) => {
      recording.closed = code;
      this.#isWelcome = false;
      this.#network = undefined;
      if (this.#isOver) return;
      // Full jitter.
      const most = Math.min(BACK_OFF_MAX_MS, BACK_OFF_MS * 2 ** this.#tries++);
      this.#waiting = setTimeout(() => this.#connect(), this.#options.random() * most);
    });
  }

  #receive(frame: Json): void {
    if (frame.type === 'welcome') {
      this.#tries = 0;
      this.#isWelcome = true;
      this.#epoch = frame.epoch;
      if (!frame.resumed) this.cursor = 0;
      this.#failed.clear();
      this.#isRepeating = false;
      for (const message of this.#unanswered.values()) this.#send(message);
    }
    if (frame.type === 'message' || (frame.type === 'sent' && frame.seq > this.cursor)) {
      this.cursor = Math.max(this.cursor, frame.seq);
      if (this.#isWelcome && frame.seq % ACK_EVERY === 0) this.#send({ type: 'ack', seq: frame.seq });
    }
    if (frame.type === 'sent' && this.#unanswered.delete(frame.id)) this.answered += 1;
    if (frame.type === 'error' && this.#unanswered.has(frame.id)) {
      this.errors += 1;
      this.#failed.add(frame.id);
    }
    if (this.#failed.size > 0 && this.#failed.size === this.#unanswered.size) this.#repeat();
  }

  /** Waits a little, and sends again what has failed. */
  #repeat(): void {
    if (this.#isRepeating) return;
    this.#isRepeating = true;
    const { connections } = this;
    const connection = connections.length;
    this.#waiting = setTimeout(
      () => {
        if (!this.#isWelcome || connection !== connections.length) return;
        this.#failed.clear();
        this.#isRepeating = false;
        for (const message of this.#unanswered.values()) this.#send(message);
      },
      BACK_OFF_MS + this.#options.random() * BACK_OFF_MS,
    );
  }

  #makeNext(): void {
    const isHeld = this.#failed.size > 0 || this.#unanswered.size >= this.#options.window;
    if (this.#isTalking && this.#isWelcome && !isHeld) this.make();
  }

  #send(frame: Json): void {
    this.connections.at(-1)!.frames.push({ out: frame });
    this.#socket!.send(JSON.stringify(frame));
  }
}

/** A text frame of a client (RFC 6455 section 5.2). */
function toMaskedFrame(text: string, random: () => number): Buffer {
  const payload = Buffer.from(text);
  const mask = Buffer.from([1, 2, 3, 4].map(() => Math.floor(random() * 256)));
  const head =
    payload.length < 126
      ? [0x81, 0x80 | payload.length]
      : [0x81, 0xfe, payload.length >> 8, payload.length & 255];
  return Buffer.concat([Buffer.from(head), mask, payload.map((byte, i) => byte ^ mask[i % 4]!)]);
}
