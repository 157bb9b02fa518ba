// Clients in pairs, each of which sends to its other one and keeps so many of its sends unanswered.
// Invariant: the sends of a client are numbered, and each number has to be answered once, and to arrive once, in order; a
// run that sees anything else throws.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Latency } from '../results.ts';
import { MASK, openWire, toFrame, type Door, type Reader, type Wire } from './wire.ts';

/** One client: where it connects, and what the others call it. */
export interface Member extends Door {
  name: string;
}

export interface Talk {
  /** How many each client sends. */
  messages: number;
  /** How many of its sends a client keeps unanswered. */
  window: number;
  /** Only so many of the clients, from the first on. */
  clients?: number;
}

/** How long it took: from a sender's write until its recipient has it. */
export interface Talked extends Latency {
  delivered: number;
}

export interface Fleet {
  /** Resolves when every send was answered and has arrived. */
  talk(talk: Talk): Promise<Talked>;
  /** Throws when anything has come since that nobody waited for. */
  close(): Promise<void>;
}

const BODY_BYTES = 64;
const DIGITS = 8;
/** Stands before a number, and nowhere else in a frame. */
const NUMBER_SIGN = 0x23;
const ZERO = 0x30;
const [SENT, MESSAGE] = [0x73, 0x6d];
/** The first letter of a frame's type. */
const TYPE_AT = '{"type":"'.length;
const MESSAGES_PER_ACK = 32;
const STALL_MS = 60_000;
/** Whatever came twice would have come by then. */
const LATE_MS = 300;

interface Client {
  /** Its sends, and those of its other one, from the beginning. */
  sent: number;
  answered: number;
  received: number;
  /** Its sends in runs before this one. */
  base: number;
  /** When each send of this run was written. */
  sentAt: Float64Array;
  /** Sends that may be written now. */
  due: number;
  write(): void;
  close(): void;
}

interface Run extends Talk {
  latencies: Float64Array;
  arrived: number;
  /** Answers and arrivals that are still to come. */
  left: number;
  finished: PromiseWithResolvers<void>;
}

export async function openFleet(members: readonly Member[]): Promise<Fleet> {
  let run: Run | undefined;
  let now = 0;
  let failure: Error | undefined;
  const fail = (why: string): void => {
    failure ??= new Error(why);
    run?.finished.reject(failure);
  };

  const clients: Client[] = [];
  for (const [n, member] of members.entries()) clients.push(await openClient(member, n));

  async function openClient(member: Member, n: number): Promise<Client> {
    const other = members[n ^ 1]!;
    const { frame, numbersAt } = toTemplate(other.name);
    const client: Client = {
      sent: 0,
      answered: 0,
      received: 0,
      base: 0,
      sentAt: new Float64Array(),
      due: 0,
      write() {
        if (!run) return;
        const count = Math.min(client.due, client.base + run.messages - client.sent);
        client.due = 0;
        if (count === 0) return;
        const frames = Buffer.allocUnsafe(count * frame.length);
        const at = performance.now();
        for (let i = 0; i < count; i++) {
          frame.copy(frames, i * frame.length);
          for (const numberAt of numbersAt) writeNumber(frames, i * frame.length, numberAt, client.sent);
          client.sentAt[client.sent - client.base] = at;
          client.sent += 1;
        }
        wire.write(frames);
      },
      close: () => wire.close(),
    };
    const reader: Reader = {
      onText(bytes, start, end) {
        const type = bytes[start + TYPE_AT];
        const number = readNumber(bytes, start, end);
        if (!run) return fail(`Too much: ${bytes.toString('utf8', start, end)}`);
        if (type === SENT && number === client.answered) {
          client.answered += 1;
          client.due += 1;
        } else if (type === MESSAGE && number === client.received) {
          now ||= performance.now();
          const sender = clients[n ^ 1]!;
          run.latencies[run.arrived++] = now - sender.sentAt[number - sender.base]!;
          client.received += 1;
          if (client.received % MESSAGES_PER_ACK === 0) {
            const { seq } = JSON.parse(bytes.toString('utf8', start, end)) as { seq: number };
            wire.write(toFrame(JSON.stringify({ type: 'ack', seq })));
          }
        } else {
          const awaited = `answer ${client.answered} or message ${client.received}`;
          return fail(`Not ${awaited}: ${bytes.toString('utf8', start, end)}`);
        }
        run.left -= 1;
      },
      onRead() {
        now = 0;
        client.write();
        if (run?.left === 0) run.finished.resolve();
      },
      onEnd: fail,
    };
    const { wire }: { wire: Wire } = await openWire(member, reader);
    return client;
  }

  return {
    async talk(talk) {
      if (failure) throw failure;
      const talking = clients.slice(0, talk.clients);
      const messages = talking.length * talk.messages;
      run = {
        ...talk,
        latencies: new Float64Array(messages),
        arrived: 0,
        left: 2 * messages,
        finished: Promise.withResolvers<void>(),
      };
      const stalled = setTimeout(() => fail(`${run?.left} of ${2 * messages} frames never came`), STALL_MS);
      for (const client of talking) {
        client.base = client.sent;
        client.sentAt = new Float64Array(talk.messages);
        client.due = talk.window;
      }
      for (const client of talking) client.write();
      await run.finished.promise.finally(() => clearTimeout(stalled));
      const latencies = run.latencies.toSorted();
      run = undefined;
      const quantile = (part: number): number => latencies[Math.floor(part * (messages - 1))]!;
      return { delivered: messages, medianMs: quantile(0.5), p99Ms: quantile(0.99) };
    },
    async close() {
      await sleep(LATE_MS);
      for (const client of clients) client.close();
      if (failure) throw failure;
    },
  };
}

/** A send, whose number is to be written at some places. */
function toTemplate(to: string): { frame: Buffer; numbersAt: readonly number[] } {
  const number = `#${'0'.repeat(DIGITS)}`;
  const content = number + 'x'.repeat(BODY_BYTES - number.length);
  const text = JSON.stringify({ type: 'send', id: number, to: { uid: to }, content });
  const frame = toFrame(text);
  const head = frame.length - text.length;
  const numbersAt = [text.indexOf('#'), text.lastIndexOf('#')].map((at) => head + at + 1);
  if (head % MASK.length !== 0) throw new Error('writeNumber would mask with the wrong bytes');
  return { frame, numbersAt };
}

/** At an offset of the frame that begins at `start`. */
function writeNumber(frames: Buffer, start: number, offset: number, number: number): void {
  let left = number;
  for (let i = offset + DIGITS - 1; i >= offset; i--) {
    const next = Math.floor(left / 10);
    frames[start + i] = (ZERO + left - 10 * next) ^ MASK[i & 3]!;
    left = next;
  }
}

/** -1: there is none. */
function readNumber(bytes: Buffer, start: number, end: number): number {
  const at = bytes.indexOf(NUMBER_SIGN, start);
  if (at < 0 || at + DIGITS >= end) return -1;
  let number = 0;
  for (let i = at + 1; i <= at + DIGITS; i++) number = 10 * number + bytes[i]! - ZERO;
  return number;
}
