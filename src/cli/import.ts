// `imid import`: registers the users of a file, and says which lines were refused.

import type { IncomingMessage } from 'node:http';
import { json } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import type { Static } from 'typebox';
import type { DryRun } from '../edge/import_dry_run.ts';
import { readLines } from '../edge/ndjson.ts';
import { appOption } from './app_option.ts';
import { EXIT_CODES_HELP, exitCodes, Failure } from './failure.ts';
import { formatOf, formatOption, openSource } from './files.ts';
import { createProgress, format, type Progress } from './progress.ts';
import { openRefusals, type Refusal, type Refusals } from './refusals.ts';
import { findService, reasonOf, type ServiceOptions } from './service.ts';

interface Options extends ServiceOptions {
  app: number;
  format?: string;
  dryRun?: boolean;
  errors?: string;
}

type Status = 'created' | 'adopted' | 'existing';
/** One without a line says where the import ended. */
type Result = { line: number; status: Status } | (Omit<Refusal, 'line'> & { line?: number });

const HELP = `
The file is CSV or NDJSON, gzipped or not, as its name says: users.csv, users.ndjson, users.csv.gz, users.ndjson.gz.

  CSV     a header of userId and, in any order, imId, createdAt, adopt; adopt is the uid of the user to take over
  NDJSON  {"userId": "alice", "imId"?: "im_...", "createdAt"?: "2026-...", "adopt"?: true | false | {"uid": "g-81"}}

A userId that is in use as a uid is adopted: the same user, the same inbox. Only userId must be there. A line that is
refused stops no other, and nothing is ever overwritten, so that a file may be imported again: what is done stays done.

Examples:
  npm run imid -- import --app 1 users.csv
  npm run imid -- import --app 1 --dry-run users.csv
  npm run imid -- import --app 1 --errors refused.ndjson users.ndjson.gz
  sort -u users.ndjson | npm run -s imid -- import --app 1 --format ndjson -
${EXIT_CODES_HELP}`;

export function addImport(program: Command): void {
  program
    .command('import')
    .summary('register the users of a file')
    .description('Registers the users of a file, any number of them.')
    .argument('<file>', 'the file, - for stdin')
    .addOption(appOption)
    .addOption(formatOption)
    .option('--dry-run', 'change nothing; say what it would come to')
    .option('--errors <file>', 'where the lines that are refused go, as NDJSON, instead of to stderr')
    .addHelpText('after', HELP)
    .action(async (file: string, _options: unknown, command: Command) => {
      process.exitCode = await importFile(file, command.optsWithGlobals<Options>());
    });
}

async function importFile(file: string, options: Options): Promise<number> {
  const { type, isGzipped } = formatOf(file, options.format);
  const service = await findService(options);
  const source = await openSource(file, isGzipped);
  const progress = createProgress('lines', (count) => source.share(options.dryRun ? undefined : count));
  const refusals = await openRefusals(options.errors, progress);
  const call = service.begin(
    'POST',
    `/v1/apps/${options.app}/identities/import${options.dryRun ? '?dryRun=true' : ''}`,
    { 'content-type': type, ...(isGzipped && { 'content-encoding': 'gzip' }) },
  );
  // Whether it all got out is told by what comes back.
  const sending = pipeline(source.stream, call).catch(() => {});
  let summary: Summary;
  try {
    const answer = await service.answerTo(call);
    summary = await (options.dryRun ? readDryRun : readResults)(answer, progress, refusals);
  } finally {
    progress.end();
    call.destroy();
    source.stream.destroy();
    await Promise.all([sending, refusals.end()]);
  }
  console.log(summary.text);
  return summary.refused > 0 ? exitCodes.lines : 0;
}

interface Summary {
  text: string;
  refused: number;
}

async function readResults(
  answer: IncomingMessage,
  progress: Progress,
  refusals: Refusals,
): Promise<Summary> {
  const counts = { created: 0, adopted: 0, existing: 0, refused: 0 };
  try {
    for await (const lines of readLines(answer)) {
      const refused: Refusal[] = [];
      for (const line of lines) {
        const result = 'value' in line ? (line.value as Result) : unreadable(line.fault);
        if (!('error' in result)) counts[result.status] += 1;
        else if (result.line !== undefined) refused.push({ ...result, line: result.line });
        else throw new Failure('service', `The service ended the import: ${result.error.detail}`);
      }
      counts.refused += refused.length;
      await refusals.write(refused);
      progress.add(lines.length);
    }
  } catch (error) {
    const done = counts.created + counts.adopted + counts.existing;
    throw new Failure(
      'service',
      `${error instanceof Failure ? error.message : `The service went away: ${reasonOf(error)}.`}\n` +
        `${format(done)} lines are done. Run it again: what is done stays done.`,
    );
  }
  return { text: `${progress.sum()}: ${inWords(counts)}`, refused: counts.refused };
}

function unreadable(fault: string): Result {
  return { error: { code: 'unavailable', detail: `A line of its answer ${fault}.` } };
}

async function readDryRun(answer: IncomingMessage, progress: Progress, refusals: Refusals): Promise<Summary> {
  const run = (await json(answer).catch((error: unknown) => {
    throw new Failure('service', `The service went away: ${reasonOf(error)}. Nothing was changed.`);
  })) as Static<typeof DryRun>;
  await refusals.write(run.refusals);
  progress.add(run.lines);
  const adoptions = run.adoptions.map(
    ({ line, userId, uid, messages, createdAt, lastSeenAt }) =>
      `  line ${line}, ${JSON.stringify(userId)}, adopts ${uid === undefined ? 'the uid' : JSON.stringify(uid)}: ` +
      `${format(messages)} messages, ${createdAt ? `since ${createdAt}` : 'unused'}${lastSeenAt ? `, last seen ${lastSeenAt}` : ''}`,
  );
  const more = run.adopted - adoptions.length;
  return {
    text: [
      `Nothing was changed. ${format(run.lines)} lines would come to: ${inWords(run)}`,
      ...adoptions,
      ...(more > 0 ? [`  and ${format(more)} more`] : []),
    ].join('\n'),
    refused: run.refused,
  };
}

function inWords({ created, adopted, existing, refused }: Record<Status | 'refused', number>): string {
  return `${format(created)} created, ${format(adopted)} adopted, ${format(existing)} existing, ${format(refused)} refused`;
}
