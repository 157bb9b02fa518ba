// Senders, each of which sends to one user after another and waits for the answer before the next; and users who are there
// and ack what comes. Each kind is a process of its own, so that hearing costs senders nothing.
// Invariant: a send that isn't answered as sent fails the run.

import type { Member } from '../messaging/fleet.ts';
import { openWire, toFrame, type Wire } from '../messaging/wire.ts';
import type { Latency } from '../results.ts';
import { perform } from '../tasks.ts';

interface Sender {
  send(frame: Buffer): Promise<void>;
}

const SENT = Buffer.from('{"type":"sent"');
const CONTENT = 'x'.repeat(64);
const AT_A_TIME = 32;

const senders: Sender[] = [];
const listeners: Wire[] = [];
let heard = 0;

async function openSender(member: Member): Promise<Sender> {
  let answered = Promise.withResolvers<void>();
  const { wire } = await openWire(member, {
    onText(bytes, start, end) {
      if (bytes.indexOf(SENT, start) === start) answered.resolve();
      else answered.reject(new Error(bytes.toString('utf8', start, end)));
    },
    onEnd: (why) => answered.reject(new Error(why)),
  });
  return {
    send(frame) {
      answered = Promise.withResolvers<void>();
      wire.write(frame);
      return answered.promise;
    },
  };
}

async function openListener(member: Member): Promise<void> {
  let last = 0;
  const { wire } = await openWire(member, {
    onText(bytes, start, end) {
      last = (JSON.parse(bytes.toString('utf8', start, end)) as { seq: number }).seq;
      heard += 1;
    },
    onRead: () => last > 0 && wire.write(toFrame(JSON.stringify({ type: 'ack', seq: last }))),
    onEnd(why) {
      throw new Error(`A listener was sent away: ${why}`);
    },
  });
  listeners.push(wire);
}

const tasks = {
  async openSenders(members: readonly Member[]): Promise<void> {
    for (const member of members) senders.push(await openSender(member));
  },

  async listen(members: readonly Member[]): Promise<void> {
    const coming = members.values();
    const come = async (): Promise<void> => {
      for (const member of coming) await openListener(member);
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, come));
  },

  heard: (): number => heard,

  /** Each sender has its part of the names, and sends so many messages to each. Until the answers. */
  async send({ names, messages }: { names: readonly string[]; messages: number }): Promise<Latency> {
    const latencies: number[] = [];
    await Promise.all(
      senders.map(async ({ send }, n) => {
        const own = names.filter((_, i) => i % senders.length === n);
        for (let k = 0; k < messages; k += 1)
          for (const uid of own) {
            const id = `${performance.now()} ${n}`;
            const frame = toFrame(JSON.stringify({ type: 'send', id, to: { uid }, content: CONTENT }));
            const sentAt = performance.now();
            await send(frame);
            latencies.push(performance.now() - sentAt);
          }
      }),
    );
    latencies.sort((a, b) => a - b);
    const quantile = (part: number): number => latencies[Math.floor(part * (latencies.length - 1))]!;
    return { medianMs: quantile(0.5), p99Ms: quantile(0.99) };
  },
};

export type Tasks = typeof tasks;

perform(tasks);
