// What can be measured: suites, most of them of parts that can also be measured alone, and what becomes of their figures.

import { growth } from './identity/growth.ts';
import { importAndCopy } from './identity/import_and_copy.ts';
import { oneResolve } from './identity/one_resolve.ts';
import { renameAndUpdate } from './identity/rename_and_update.ts';
import { thousandAddresses } from './identity/thousand_addresses.ts';
import { connects } from './messaging/connects.ts';
import { growth as messageGrowth } from './messaging/growth.ts';
import { idle } from './messaging/idle.ts';
import { throughput } from './messaging/throughput.ts';
import type { Report } from './report/files.ts';
import { toIdentityChart, toIdentityHeadline, toIdentityTable } from './report/identity.ts';
import { toSchemesChart, toSchemesHeadline, toSchemesTable } from './report/schemes.ts';
import type { Row } from './results.ts';
import { compareSchemes } from './schemes/compare.ts';
import type { Site } from './service.ts';

type Measured = Omit<Report, 'setting'>;

export interface Effort {
  quick: boolean;
  /** One part; undefined: all. */
  only?: string | undefined;
  /** Undefined: as many as the part needs. */
  rounds?: number | undefined;
}

export interface Suite {
  readonly parts: readonly string[];
  measure(site: Site, effort: Effort): Promise<Measured>;
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
    (rows) => ({
      name: 'identity',
      title: 'Identities beside the bare tools they are made of',
      table: toIdentityTable(rows),
      headline: toIdentityHeadline(rows),
      chart: toIdentityChart(rows),
      alt: 'imid’s identities beside a bare Fastify, bare queries and bare COPY, in per cent, with targets',
    }),
  ),

  messaging: toSuite({ throughput, connects, idle, growth: messageGrowth }, (rows) => ({
    name: 'messaging',
    title: 'Messaging beside a relay that stores nothing',
    table: toIdentityTable(rows),
    headline: toIdentityHeadline(rows),
    chart: toIdentityChart(rows),
    alt: 'imid’s messaging beside a bare ws relay, with targets',
  })),

  schemes: {
    parts: [],
    async measure(site, { quick }) {
      const schemes = await compareSchemes(site, quick);
      return {
        name: 'schemes',
        title: 'The two schemes side by side',
        table: toSchemesTable(schemes),
        headline: toSchemesHeadline(schemes),
        chart: toSchemesChart(schemes),
        alt: 'what users cost in each scheme: bringing them in, storing, resolving and sending',
      };
    },
  },
};

function toSuite(parts: Record<string, Part>, toMeasured: (rows: Row[]) => Measured): Suite {
  return {
    parts: Object.keys(parts),
    async measure(site, { quick, only, rounds }) {
      const rows: Row[] = [];
      for (const [name, measure] of Object.entries(parts))
        if (only === undefined || only === name) rows.push(...(await measure(site, quick, rounds)));
      return toMeasured(rows);
    },
  };
}
