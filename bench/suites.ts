// What can be measured: suites, most of them of parts that can also be measured alone, and what becomes of their figures.

import { size } from './client/size.ts';
import { thousand } from './client/thousand.ts';
import { throughput as clientThroughput } from './client/throughput.ts';
import { growth } from './identity/growth.ts';
import { importAndCopy } from './identity/import_and_copy.ts';
import { oneResolve } from './identity/one_resolve.ts';
import { renameAndUpdate } from './identity/rename_and_update.ts';
import { thousandAddresses } from './identity/thousand_addresses.ts';
import { connects } from './messaging/connects.ts';
import { growth as messageGrowth } from './messaging/growth.ts';
import { idle } from './messaging/idle.ts';
import { throughput } from './messaging/throughput.ts';
import { backlog } from './push/backlog.ts';
import { offline } from './push/offline.ts';
import { provider } from './push/provider.ts';
import { throughput as pushThroughput } from './push/throughput.ts';
import { toClientResult } from './report/client.ts';
import type { Result } from './report/files.ts';
import { toIdentityResult } from './report/identity.ts';
import { toMessagingResult } from './report/messaging.ts';
import { toPushResult } from './report/push.ts';
import { toSchemesResult } from './report/schemes.ts';
import { toTokensResult } from './report/tokens.ts';
import type { Row } from './results.ts';
import { compareSchemes } from './schemes/compare.ts';
import type { Site } from './service.ts';
import { issuing } from './tokens/issuing.ts';
import { revoked } from './tokens/revoked.ts';
import { verifying } from './tokens/verifying.ts';

export interface Effort {
  quick: boolean;
  /** One part; undefined: all. */
  only?: string | undefined;
  /** Undefined: as many as the part needs. */
  rounds?: number | undefined;
}

export interface Suite {
  readonly parts: readonly string[];
  measure(site: Site, effort: Effort): Promise<Result>;
}

type Part = (site: Site, isQuick: boolean, rounds?: number) => Promise<Row[]>;

export const suites: Record<string, Suite> = {
  identity: toSuite(
    {
      'one-resolve': oneResolve,
      'thousand-addresses': thousandAddresses,
      import: importAndCopy,
      rename: renameAndUpdate,
      growth,
    },
    toIdentityResult,
  ),

  messaging: toSuite({ throughput, connects, idle, growth: messageGrowth }, toMessagingResult),

  push: toSuite({ offline, provider, throughput: pushThroughput, backlog }, toPushResult),

  client: toSuite({ size, throughput: clientThroughput, thousand }, toClientResult),

  tokens: toSuite({ issuing, verifying, revoked }, toTokensResult),

  schemes: {
    parts: [],
    async measure(site, { quick }) {
      return toSchemesResult(await compareSchemes(site, quick));
    },
  },
};

function toSuite(parts: Record<string, Part>, toResult: (rows: Row[]) => Result): Suite {
  return {
    parts: Object.keys(parts),
    async measure(site, { quick, only, rounds }) {
      const rows: Row[] = [];
      for (const [name, measure] of Object.entries(parts))
        if (only === undefined || only === name) rows.push(...(await measure(site, quick, rounds)));
      return toResult(rows);
    },
  };
}
