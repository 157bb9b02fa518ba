// `npm run bench -- identity|messaging|push|client|tokens|schemes`: measures, and writes the result to bench/results and the README.
// `--quick` does the same with little of everything, as a smoke test; `--only <part>` a part of it, and `--rounds <n>` so
// many rounds of messaging; none of them writes anything but where `--out <folder>` says. `messaging --profile` writes
// where the service's time goes instead.

import { parseArgs } from 'node:util';
import { profileService } from './messaging/profile.ts';
import { RESULTS, writeHeadline, writeProfile, writeResult } from './report/files.ts';
import { describeSetting } from './report/machine.ts';
import { openSite } from './service.ts';
import { suites } from './suites.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    rounds: { type: 'string' },
    out: { type: 'string' },
    profile: { type: 'boolean', default: false },
  },
});
const { quick, only, out, profile } = values;
const [name = '', ...more] = positionals;
const suite = suites[name];
const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
const isWhole = !quick && only === undefined && rounds === undefined;
if (
  !suite ||
  more.length > 0 ||
  (only !== undefined && !suite.parts.includes(only)) ||
  (rounds !== undefined && (name !== 'messaging' || !(Number.isInteger(rounds) && rounds > 0))) ||
  (profile && name !== 'messaging')
) {
  console.error('npm run bench -- <suite> [--quick] [--only <part>] [--out <folder>]');
  console.error('npm run bench -- messaging [--rounds <n>] [--profile] …');
  for (const [each, { parts }] of Object.entries(suites)) console.error(`${each}: ${parts.join(', ')}`);
  process.exit(2);
}

const startedAt = performance.now();
await using site = await openSite();
/** When and where, once all is done. */
const describe = (): string =>
  describeSetting({
    command: `npm run bench -- ${process.argv.slice(2).join(' ')}`,
    postgresVersion: site.postgresVersion,
    seconds: (performance.now() - startedAt) / 1000,
  });
const folder = out ?? (isWhole ? RESULTS : undefined);
if (profile) {
  const text = await profileService(site, quick);
  const page = `${describe()}\n\n${text}`;
  console.log(page);
  if (folder !== undefined) await writeProfile(folder, name, page);
} else {
  const measured = await suite.measure(site, { quick, only, rounds });
  const report = { ...measured, setting: describe() };
  console.log(`${report.setting}\n\n${report.table}`);
  if (folder !== undefined) await writeResult(folder, report);
  if (folder === RESULTS) await writeHeadline(report);
}
