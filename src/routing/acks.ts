// Writes down what devices have acked. Acks of a device that arrive while one is being written become one; a lost
// one only costs a repeat, since delivery is at least once.

import type { AppId } from '../ids.ts';
import type { Database } from '../store/database.ts';
import { markAcked } from '../store/devices.ts';

export interface Acks {
  mark(appId: AppId, identityId: number, deviceId: string, seq: number): void;
  /** Resolves when all that the device has acked until now is written. */
  settle(identityId: number, deviceId: string): Promise<void>;
  settleAll(): Promise<void>;
}

export function createAcks({ kysely }: Database, log: (message: string, error: unknown) => void): Acks {
  const pending = new Map<string, { seq: number; written: Promise<void> }>();
  const keyOf = (identityId: number, deviceId: string): string => `${identityId}:${deviceId}`;

  return {
    mark(appId, identityId, deviceId, seq) {
      const key = keyOf(identityId, deviceId);
      const waiting = pending.get(key);
      if (waiting) {
        waiting.seq = Math.max(waiting.seq, seq);
        return;
      }
      const entry = { seq, written: Promise.resolve() };
      const write = async (): Promise<void> => {
        try {
          for (let written = 0; written < entry.seq;) {
            written = entry.seq;
            await markAcked(kysely, appId, identityId, deviceId, written);
          }
        } catch (error) {
          log('an ack could not be written', error);
        } finally {
          pending.delete(key);
        }
      };
      pending.set(key, entry);
      entry.written = write();
    },
    settle: async (identityId, deviceId) => pending.get(keyOf(identityId, deviceId))?.written,
    async settleAll() {
      await Promise.all([...pending.values()].map((entry) => entry.written));
    },
  };
}
