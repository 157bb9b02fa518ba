// Speakers in pairs, who each say so much to their other one. A run counts only when each message was answered, and arrived
// once, in order.

import type { Member } from '../messaging/fleet.ts';
import { kinds, type Kind, type OpenSpeaker, type Speaker } from './speakers.ts';

export interface Say {
  /** Sends of one client that are unanswered at a time. */
  window: number;
  /** Of each client. */
  messages: number;
}

export interface Circle {
  /** So many at a time. */
  connect(atATime: number): Promise<void>;
  /** Gives back how many messages have arrived. */
  talk(say: Say): Promise<number>;
  /** Throws when anything went wrong since. */
  close(): void;
}

const BODY_BYTES = 64;
const STALL_MS = 60_000;

export function createCircle(kind: Kind, members: readonly Member[]): Circle {
  const open: OpenSpeaker = kinds[kind];
  const speakers: Speaker[] = [];
  /** By client: how many it has sent, and has got of its other one. */
  const sent = members.map(() => 0);
  const received = members.map(() => 0);
  let failure: Error | undefined;
  /** Answers and arrivals that are still to come. */
  let left = 0;
  let finished = Promise.withResolvers<void>();
  finished.promise.catch(() => {}); // nobody waits for it between two runs
  const fail = (why: string): void => finished.reject((failure ??= new Error(why)));

  function count(): void {
    left -= 1;
    if (left === 0) finished.resolve();
  }

  function receive(n: number, content: string): void {
    const number = Number.parseInt(content, 10);
    if (number !== received[n]) fail(`Not message ${received[n]}: ${content}`);
    received[n] = number + 1;
    count();
  }

  /** One after the other, as one of several. */
  async function speak(n: number, end: number): Promise<void> {
    while (sent[n]! < end) {
      await speakers[n]!.send(members[n ^ 1]!.name, `${sent[n]!++} `.padEnd(BODY_BYTES, 'x'));
      count();
    }
  }

  return {
    async connect(atATime) {
      const waiting = members.entries();
      const come = async (): Promise<void> => {
        for (const [n, member] of waiting)
          speakers[n] = await open(member, (content) => receive(n, content), fail);
      };
      await Promise.all(Array.from({ length: atATime }, come));
    },

    async talk({ window, messages }) {
      if (failure) throw failure;
      finished = Promise.withResolvers<void>();
      left = 2 * members.length * messages;
      const stalled = setTimeout(() => fail(`${left} answers and messages never came`), STALL_MS);
      for (const n of members.keys()) {
        const end = sent[n]! + messages;
        for (let lane = 0; lane < window; lane++) speak(n, end).catch(({ message }: Error) => fail(message));
      }
      await finished.promise.finally(() => clearTimeout(stalled));
      return members.length * messages;
    },

    close() {
      for (const speaker of speakers) speaker.close();
      if (failure) throw failure;
    },
  };
}
