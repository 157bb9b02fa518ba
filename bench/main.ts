// `npm run bench -- identity|schemes`: measures, and writes the result to bench/results and the README. `--quick` does
// the same with little of everything, as a smoke test; `--only <name>` a part of identity; neither writes
// anything but where `--out <folder>` says.

import { parseArgs } from 'node:util';
import { growth } from './identity/growth.ts';
import { importAndCopy } from './identity/import_and_copy.ts';
import { oneResolve } from './identity/one_resolve.ts';
import { renameAndUpdate } from './identity/rename_and_update.ts';
import { thousandAddresses } from './identity/thousand_addresses.ts';
import { throughput } from './messaging/throughput.ts';
import { RESULTS, writeHeadline, writeResult, type Report } from './report/files.ts';
import { toIdentityChart, toIdentityHeadline, toIdentityTable } from './report/identity.ts';
import { describeSetting } from './report/machine.ts';
import { toSchemesChart, toSchemesHeadline, toSchemesTable } from './report/schemes.ts';
import type { Row } from './results.ts';
import { compareSchemes } from './schemes/compare.ts';
import { openSite, type Site } from './service.ts';

type Measured = Omit<Report, 'setting'>;

interface Suite {
  /** What it can be told to do only. */
  parts: Record<string, unknown>;
  measure(site: Site, effort: { quick: boolean; only?: string; rounds?: number }): Promise<Measured>;
}

type Bench = (site: Site, isQuick: boolean, rounds?: number) => Promise<Row[]>;

const suites: Record<string, Suite> = {
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
  messaging: toSuite({ throughput }, (rows) => ({
    name: 'messaging',
    title: 'Messaging beside a relay that stores nothing',
    table: toIdentityTable(rows),
    headline: toIdentityHeadline(rows),
    chart: toIdentityChart(rows),
    alt: 'imid’s messaging beside a bare ws relay, with targets',
  })),
  schemes: {
    parts: {},
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

function toSuite(parts: Record<string, Bench>, toMeasured: (rows: Row[]) => Measured): Suite {
  return {
    parts,
    async measure(site, { quick, only, rounds }) {
      const rows: Row[] = [];
      for (const [name, bench] of Object.entries(parts))
        if (only === undefined || only === name) rows.push(...(await bench(site, quick, rounds)));
      return toMeasured(rows);
    },
  };
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    rounds: { type: 'string' },
    out: { type: 'string' },
  },
});
const { quick, only, out } = values;
const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
const suite = suites[positionals[0] ?? ''];
const isBad =
  positionals.length > 1 ||
  (only !== undefined && !Object.hasOwn(suite?.parts ?? {}, only)) ||
  (rounds !== undefined && !(Number.isInteger(rounds) && rounds > 0));
if (!suite || isBad) {
  console.error(`npm run bench -- <suite> [--quick] [--only <part>] [--rounds <n>] [--out <folder>]`);
  for (const [name, { parts }] of Object.entries(suites))
    console.error(`  ${[name, ...Object.keys(parts)].join(' ')}`);
  process.exit(2);
}

const startedAt = performance.now();
await using site = await openSite();
const measured = await suite.measure(site, {
  quick,
  ...(only === undefined ? {} : { only }),
  ...(rounds === undefined ? {} : { rounds }),
});
const command = `npm run bench -- ${process.argv.slice(2).join(' ')}`;
const seconds = (performance.now() - startedAt) / 1000;
const setting = describeSetting({ command, postgresVersion: site.postgresVersion, seconds });
const report: Report = { ...measured, setting };
console.log(`${setting}\n\n${report.table}`);
if (out !== undefined) await writeResult(out, report);
else if (!quick && only === undefined && rounds === undefined) {
  await writeResult(RESULTS, report);
  await writeHeadline(report);
}
