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
  let left = 0;
  let finished = Promise.withResolvers<void>();
  const fail = (why: string): void => finished.reject((failure ??= new Error(why)));
  finished.promise.catch(() => {});

  function receive(n: number, content: string): void {
    const number = Number.parseInt(content, 10);
    if (number !== received[n]) fail(`Not message ${received[n]}: ${content}`);
    received[n] = number + 1;
    left -= 1;
    if (left === 0) finished.resolve();
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
      left = members.length * messages;
      const stalled = setTimeout(() => fail(`${left} messages never came`), STALL_MS);
      const lanes = speakers.flatMap((speaker, n) => {
        const end = sent[n]! + messages;
        const to = members[n ^ 1]!.name;
        const speak = async (): Promise<void> => {
          while (sent[n]! < end) await speaker.send(to, `${sent[n]!++} `.padEnd(BODY_BYTES, 'x'));
        };
        return Array.from({ length: window }, speak);
      });
      await Promise.all([finished.promise, Promise.race([Promise.all(lanes), finished.promise])]).finally(
        () => clearTimeout(stalled),
      );
      await Promise.all(lanes);
      return members.length * messages;
    },

    close() {
      for (const speaker of speakers) speaker.close();
      if (failure) throw failure;
    },
  };
}
