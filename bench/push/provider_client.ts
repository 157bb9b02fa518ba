// APNs as the service sends to it, without the rest of the service: no Postgres, and nothing to decide.

import { randomUUID } from 'node:crypto';
import { createApns } from '../../src/push/apns.ts';
import type { Provider } from '../../src/push/contract.ts';
import { perform } from '../tasks.ts';
import { makeAccount } from './credentials.ts';

interface Order {
  origin: string;
  count: number;
  /** Pushes under way at once. */
  atATime: number;
}

let provider: Provider | undefined;

const tasks = {
  /** Gives back how many were taken. */
  async push({ origin, count, atATime }: Order): Promise<number> {
    provider ??= createApns((await makeAccount()).credentials, {
      now: () => new Date(),
      origins: { production: origin, sandbox: origin },
    });
    let next = 0;
    let taken = 0;
    async function pushOn(): Promise<void> {
      while (next < count) {
        const token = (next += 1).toString(16).padStart(64, '0');
        const messageId = randomUUID();
        const outcome = await provider!.send(
          {
            id: messageId,
            body: 'New message',
            data: { messageId, seq: '1', count: '1', sender: '1:sender-1' },
            badge: 1,
            collapseId: 'n5SwKKQ1Q0GmCdIGYCLkPA',
            ttlSeconds: 2_419_200,
            priority: 'high',
            isSilent: false,
          },
          { token, environment: 'production' },
        );
        if (outcome.kind === 'sent') taken += 1;
      }
    }
    await Promise.all(Array.from({ length: atATime }, pushOn));
    if (taken < count) throw new Error(`Only ${taken} of ${count} were taken`);
    return taken;
  },
};

export type Tasks = typeof tasks;

perform(tasks);
