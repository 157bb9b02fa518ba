// Makes quotas hold over all processes: what each let be used is exchanged through Postgres once a second, so that no
// request waits for it. A quota holds to within what all of them take in between two exchanges; without Postgres, each
// process holds it by itself.

import type { Database } from '../store/database.ts';
import { exchangeQuotaUses } from '../store/quota_uses.ts';
import type { QuotaName, Uses } from './quotas.ts';

const DEFAULT_INTERVAL_MS = 1_000;

export interface SharedQuotasOptions {
  database: Database;
  processId: string;
  uses: ReadonlyMap<QuotaName, Uses>;
  intervalMs?: number | undefined;
  log: (message: string, error: unknown) => void;
}

export function shareQuotas(options: SharedQuotasOptions): { stop(): Promise<void> } {
  const { database, processId, uses, intervalMs = DEFAULT_INTERVAL_MS, log } = options;
  let exchanging: Promise<void> | undefined;
  let isFailing = false;

  async function exchange(): Promise<void> {
    const own = [...uses].flatMap(([quota, each]) => Array.from(each.own(), (use) => ({ quota, ...use })));
    if (own.length === 0) return;
    try {
      for (const use of await exchangeQuotaUses(database.pool, processId, own))
        uses.get(use.quota as QuotaName)?.hear(use);
      isFailing = false;
    } catch (error) {
      if (!isFailing) log('quotas are held by this process alone, for now', error);
      isFailing = true;
    }
  }

  const timer = setInterval(() => {
    exchanging ??= exchange().finally(() => (exchanging = undefined));
  }, intervalMs);
  timer.unref();

  return {
    async stop() {
      clearInterval(timer);
      await exchanging;
    },
  };
}
