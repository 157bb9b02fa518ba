// `imid rename`: gives the users of a file other names, all of them or none, and says what is in the way.

import type { IncomingMessage } from 'node:http';
import { json } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { CSV } from '../edge/lines.ts';
import { readLines } from '../edge/ndjson.ts';
import type { ErrorCode, FieldFault } from '../errors.ts';
import { appOption } from './app_option.ts';
import { EXIT_CODES_HELP, exitCodes, Failure } from './failure.ts';
import { formatOf, openSource, tellLines } from './files.ts';
import { createProgress, format } from './progress.ts';
import { openRefusals, type Refusal, type Refusals } from './refusals.ts';
import { findService, reasonOf, type ServiceOptions } from './service.ts';

interface Options extends ServiceOptions {
  app: number;
  format?: string;
  dryRun?: boolean;
  errors?: string;
}

const HELP = `
The file is CSV, gzipped or not, as its name says: renumber.csv, renumber.csv.gz. Its header is name,newName: the uid or
userId of a user now, and the new one. Users may swap names and follow one another, in whatever order the lines stand.
Nobody is logged out, and no message is lost.

All lines are done, or none. Of the faults the first hundred are told, of a dry run all. Where the answer gets lost, a dry
run tells whether it was done: then the names are nobody's any more.

Examples:
  npm run imid -- rename --app 1 --dry-run renumber.csv
  npm run imid -- rename --app 1 renumber.csv
  npm run imid -- rename --app 1 --dry-run --errors faults.ndjson renumber.csv.gz
${EXIT_CODES_HELP}`;

export function addRename(program: Command): void {
  program
    .command('rename')
    .summary('give the users of a file other names')
    .description('Gives the users of a file other names, all of them or none.')
    .argument('<file>', 'the file, - for stdin')
    .addOption(appOption)
    .option('--format <format>', 'csv or csv.gz, whatever the name of the file says')
    .option('--dry-run', 'change nothing; say all that is in the way')
    .option('--errors <file>', 'where the faults go, as NDJSON, instead of to stderr')
    .addHelpText('after', HELP)
    .action(async (file: string, _options: unknown, command: Command) => {
      process.exitCode = await renameByFile(file, command.optsWithGlobals<Options>());
    });
}

async function renameByFile(file: string, options: Options): Promise<number> {
  const { type, isGzipped } = formatOf(file, options.format ?? (file === '-' ? 'csv' : undefined));
  if (type !== CSV) throw new Failure('usage', 'Renames come as CSV only.');
  const service = await findService(options);
  const source = await openSource(file, isGzipped);
  const progress = createProgress('lines', () => source.share());
  const refusals = await openRefusals(options.errors, progress);
  const call = service.begin(
    'POST',
    `/v1/apps/${options.app}/identities/rename${options.dryRun ? '?dryRun=true' : ''}`,
    { 'content-type': CSV, ...(isGzipped && { 'content-encoding': 'gzip' }) },
  );
  const counting = isGzipped ? [] : [tellLines(progress.add, 1)];
  // Whether it all got out is told by what comes back.
  const sending = pipeline([source.stream, ...counting, call]).catch(() => {});
  let outcome: Outcome;
  try {
    const answer = await service.responseTo(call);
    outcome = await (answer.statusCode !== 200 ? readFaults : options.dryRun ? readDryRun : readRenamed)(
      answer,
      refusals,
    ).catch((error: unknown) => {
      if (error instanceof Failure) throw error;
      throw new Failure(
        'service',
        `The service went away: ${reasonOf(error)}. A dry run tells what was done.`,
      );
    });
  } finally {
    progress.end();
    call.destroy();
    source.stream.destroy();
    await Promise.all([sending, refusals.end()]);
  }
  console.log(outcome.text);
  return outcome.faults > 0 ? exitCodes.lines : 0;
}

interface Outcome {
  text: string;
  faults: number;
}

async function readRenamed(answer: IncomingMessage): Promise<Outcome> {
  const { renamed } = (await json(answer)) as { renamed: number };
  return { text: `${format(renamed)} users renamed`, faults: 0 };
}

/** What stands in the way, as far as the service tells it. Throws what isn't about lines. */
async function readFaults(answer: IncomingMessage, refusals: Refusals): Promise<Outcome> {
  const {
    code,
    detail,
    errors = [],
  } = (await json(answer)) as {
    code: ErrorCode;
    detail: string;
    errors?: FieldFault[];
  };
  const faults = errors.flatMap((error) => {
    const [, line, field = 'The line'] = /^#\/(\d+)(?:\/(\w+))?$/.exec(error.pointer) ?? [];
    return line === undefined ? [] : [{ line: Number(line), error: { detail: `${field} ${error.detail}.` } }];
  });
  if (faults.length === 0) throw new Failure('service', `The service refused: ${detail} (${code})`);
  await refusals.write(faults);
  return { text: `Nothing was changed. ${detail}`, faults: faults.length };
}

interface Summary {
  lines: number;
  renames: number;
  unchanged: number;
  faults: number;
}

async function readDryRun(answer: IncomingMessage, refusals: Refusals): Promise<Outcome> {
  let summary: Summary | undefined;
  for await (const lines of readLines(answer)) {
    const values = lines.map((line) => ('value' in line ? (line.value as Refusal | Summary) : undefined));
    await refusals.write(values.filter((value) => value !== undefined && 'error' in value));
    summary = values.find((value) => value !== undefined && 'faults' in value);
  }
  if (!summary) throw new Failure('service', 'The answer ended early. Nothing was changed.');
  const { lines, renames, unchanged, faults } = summary;
  return {
    text:
      `Nothing was changed. ${format(lines)} lines would come to: ${format(renames)} renamed, ` +
      `${format(unchanged)} unchanged, ${format(faults)} faults`,
    faults,
  };
}
