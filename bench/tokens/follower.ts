// A process that follows revocations as the service does, and says what they cost it. Started with --expose-gc.

import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import type { AppId } from '../../src/ids.ts';
import { memoryMibOf } from '../processes.ts';
import { perform } from '../tasks.ts';
import { openStage } from './stage.ts';

const MIB = 2 ** 20;
const EMPTY_APP = Number.MAX_SAFE_INTEGER as AppId;

let stage: Awaited<ReturnType<typeof openStage>> | undefined;

const tasks = {
  async follow({ connection, secret }: { connection: pg.PoolConfig; secret: string }) {
    stage = await openStage(connection, secret);
  },

  /** What comes of all revocations that are there, in MiB. */
  reload: async () => {
    const heldBefore = await heldMib();
    const rssBefore = memoryMibOf(process.pid);
    const startedAt = performance.now();
    await stage!.revocations.reload();
    const seconds = (performance.now() - startedAt) / 1_000;
    const rss = memoryMibOf(process.pid);
    return {
      count: stage!.revocations.size,
      seconds,
      held: (await heldMib()) - heldBefore,
      rss: rss === undefined || rssBefore === undefined ? undefined : rss - rssBefore,
    };
  },

  /** Milliseconds until there is no news. */
  async noNews(times: number): Promise<number> {
    const startedAt = performance.now();
    for (let n = 0; n < times; n += 1) await stage!.revocations.follow();
    return (performance.now() - startedAt) / times;
  },

  /** Microseconds of a check among them, and of one in an app that has none; every other jti is a revoked one. */
  check({ appId, jtis, count }: { appId: AppId; jtis: readonly string[]; count: number }) {
    const { isRevoked } = stage!.revocations;
    const take = (app: AppId, hits: number): number => {
      let found = 0;
      const startedAt = performance.now();
      for (let n = 0; n < count; n += 1) if (isRevoked(app, jtis[n % jtis.length]!)) found += 1;
      const ms = performance.now() - startedAt;
      if (found !== hits) throw new Error(`${found} of ${count} are revoked`);
      return (ms * 1_000) / count;
    };
    return { among: take(appId, count / 2), empty: take(EMPTY_APP, 0) };
  },
};

export type Tasks = typeof tasks;

/** Twice, since buffers are given back behind the first collection. */
async function heldMib(): Promise<number> {
  for (let n = 0; n < 2; n += 1) {
    globalThis.gc!();
    await sleep(100);
  }
  const { heapUsed, external } = process.memoryUsage();
  return (heapUsed + external) / MIB;
}

perform(tasks);
