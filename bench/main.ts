// `npm run bench -- identity|schemes`: measures, and writes the result to bench/results and the README. `--quick` does
// the same with little of everything, as a smoke test; `--only <name>` a part of identity; neither writes
// anything but where `--out <folder>` says.

import { parseArgs } from 'node:util';
import { growth } from './identity/growth.ts';
import { importAndCopy } from './identity/import_and_copy.ts';
import { oneResolve } from './identity/one_resolve.ts';
import { renameAndUpdate } from './identity/rename_and_update.ts';
import { thousandAddresses } from './identity/thousand_addresses.ts';
import { RESULTS, writeHeadline, writeResult, type Report } from './report/files.ts';
import { toIdentityChart, toIdentityHeadline, toIdentityTable } from './report/identity.ts';
import { describeSetting } from './report/machine.ts';
import { toSchemesChart, toSchemesHeadline, toSchemesTable } from './report/schemes.ts';
import type { Row } from './results.ts';
import { compareSchemes } from './schemes/compare.ts';
import { openSite, type Site } from './service.ts';

const identity = {
  'one-resolve': oneResolve,
  'thousand-addresses': thousandAddresses,
  import: importAndCopy,
  rename: renameAndUpdate,
  growth,
};

type Measured = Omit<Report, 'setting'>;

const suites: Record<string, (site: Site, isQuick: boolean, only?: string) => Promise<Measured>> = {
  async identity(site, isQuick, only) {
    const rows: Row[] = [];
    for (const [name, bench] of Object.entries(identity))
      if (only === undefined || only === name) rows.push(...(await bench(site, isQuick)));
    return {
      name: 'identity',
      title: 'Identities beside the bare tools they are made of',
      table: toIdentityTable(rows),
      headline: toIdentityHeadline(rows),
      chart: toIdentityChart(rows),
      alt: 'imid’s identities beside a bare Fastify, bare queries and bare COPY, in per cent, with targets',
    };
  },
  async schemes(site, isQuick) {
    const schemes = await compareSchemes(site, isQuick);
    return {
      name: 'schemes',
      title: 'The two schemes side by side',
      table: toSchemesTable(schemes),
      headline: toSchemesHeadline(schemes),
      chart: toSchemesChart(schemes),
      alt: 'what users cost in each scheme: bringing them in, storing, resolving and sending',
    };
  },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: 'boolean' }, only: { type: 'string' }, out: { type: 'string' } },
});
const { quick = false, only, out } = values;
const suite = suites[positionals[0] ?? ''];
if (!suite || positionals.length > 1 || (only !== undefined && !Object.hasOwn(identity, only))) {
  console.error(
    `npm run bench -- ${Object.keys(suites).join('|')} [--quick] [--out <folder>] [--only ${Object.keys(identity).join('|')}]`,
  );
  process.exit(2);
}

const startedAt = performance.now();
await using site = await openSite();
const measured = await suite(site, quick, only);
const command = `npm run bench -- ${process.argv.slice(2).join(' ')}`;
const seconds = (performance.now() - startedAt) / 1000;
const setting = describeSetting({ command, postgresVersion: site.postgresVersion, seconds });
const report: Report = { ...measured, setting };
console.log(`${setting}\n\n${report.table}`);
if (out !== undefined) await writeResult(out, report);
else if (!quick && only === undefined) {
  await writeResult(RESULTS, report);
  await writeHeadline(report);
}
