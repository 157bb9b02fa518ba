// Writes down what devices have acked, many at a time. An ack that gets lost only costs a repeat, since delivery is at
// least once; so they may wait a moment for others.

import type { AppId } from '../ids.ts';
import type { Database } from '../store/database.ts';
import { markConnectionsAcked } from '../store/connections.ts';
import { markAcked, type Ack } from '../store/devices.ts';
import { rerun } from '../store/transact.ts';

/** Whose ack it is: a device's, or that of a connection without one, which is forgotten at its end. */
export interface Acking {
  readonly appId: AppId;
  readonly identityId: number;
  readonly deviceId: string;
  readonly isAnonymous: boolean;
}

export interface Acks {
  mark(acking: Acking, seq: number): void;
  /** Resolves when all that the device has acked until now is written. */
  settle(identityId: number, deviceId: string): Promise<void>;
  settleAll(): Promise<void>;
}

/** How long acks wait for others. */
const LINGER_MS = 20;
const MAX_ACKS = 1_000;

export function createAcks({ pool }: Database, log: (message: string, error: unknown) => void): Acks {
  /** By device: the highest of those that wait, and of those that are being written. */
  let waiting = new Map<string, Ack & Acking>();
  let flying = new Map<string, Ack & Acking>();
  let writing: Promise<void> | undefined;
  let hurry: (() => void) | undefined;

  async function writeAll(): Promise<void> {
    while (waiting.size > 0) {
      await linger();
      flying = waiting;
      waiting = new Map();
      const acks = [...flying.values()];
      try {
        await write(
          acks.filter(({ isAnonymous }) => !isAnonymous),
          markAcked,
        );
        await write(
          acks.filter(({ isAnonymous }) => isAnonymous),
          markConnectionsAcked,
        );
      } catch (error) {
        log('acks could not be written', error);
      }
      flying = new Map();
    }
    writing = undefined;
  }

  async function write(acks: readonly Ack[], mark: typeof markAcked): Promise<void> {
    for (let i = 0; i < acks.length; i += MAX_ACKS)
      await rerun(() => mark(pool, acks.slice(i, i + MAX_ACKS)));
  }

  async function linger(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    hurry = resolve;
    const timer = setTimeout(resolve, LINGER_MS);
    await promise;
    clearTimeout(timer);
    hurry = undefined;
  }

  async function settleWhile(isOpen: () => boolean): Promise<void> {
    while (isOpen()) {
      hurry?.();
      await writing;
    }
  }

  return {
    mark({ appId, identityId, deviceId, isAnonymous }, seq) {
      const key = keyOf(identityId, deviceId);
      const ack = waiting.get(key);
      if (ack) ack.seq = Math.max(ack.seq, seq);
      else waiting.set(key, { appId, identityId, deviceId, isAnonymous, seq });
      writing ??= writeAll();
    },
    settle(identityId, deviceId) {
      const key = keyOf(identityId, deviceId);
      return settleWhile(() => waiting.has(key) || flying.has(key));
    },
    settleAll: () => settleWhile(() => writing !== undefined),
  };
}

const keyOf = (identityId: number, deviceId: string): string => `${identityId}:${deviceId}`;
