// `imid export`: writes all users of an app to a file, which imports unchanged.

import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { json } from 'node:stream/consumers';
import type { Command } from 'commander';
import { CSV } from '../edge/lines.ts';
import { appOption } from './app_option.ts';
import { EXIT_CODES_HELP, Failure } from './failure.ts';
import { formatOf, formatOption, openTarget, tellLines } from './files.ts';
import { createProgress } from './progress.ts';
import { findService, reasonOf, type Service, type ServiceOptions } from './service.ts';

interface Options extends ServiceOptions {
  app: number;
  format?: string;
}

const HELP = `
Writes every registered user as they all are at one moment, {imId, userId, createdAt} each: as CSV or NDJSON, gzipped or
not, as the name of the file says. What it writes imports unchanged into another app or another service, imIds included.
A file that is there is replaced once the new one is whole.

Examples:
  npm run imid -- export --app 1 users.csv.gz
  npm run -s imid -- export --app 1 --format csv | sort
${EXIT_CODES_HELP}`;

export function addExport(program: Command): void {
  program
    .command('export')
    .summary('write all registered users to a file')
    .description('Writes all registered users of an app to a file.')
    .argument('[file]', 'the file, - for stdout', '-')
    .addOption(appOption)
    .addOption(formatOption)
    .addHelpText('after', HELP)
    .action(async (file: string, _options: unknown, command: Command) => {
      await exportFile(file, command.optsWithGlobals<Options>());
    });
}

async function exportFile(file: string, options: Options): Promise<void> {
  const { type, isGzipped } = formatOf(file, options.format ?? (file === '-' ? 'ndjson' : undefined));
  const service = await findService(options);
  const target = await openTarget(file);
  let total = 0;
  const progress = createProgress('users', (count) => (total > 0 ? Math.min(count / total, 1) : undefined));
  try {
    total = await countUsers(service, options.app);
    const answer = await service.answerTo(
      service.begin('GET', `/v1/apps/${options.app}/identities/export`, { accept: type }).end(),
    );
    const telling = tellLines(progress.add, type === CSV ? 1 : 0);
    await pipeline([answer, telling, ...(isGzipped ? [createGzip()] : []), target.stream]);
    await target.keep();
  } catch (error) {
    await target.drop();
    if (isClosedPipe(error)) return;
    if (error instanceof Failure) throw error;
    throw new Failure('service', `The export ended early: ${reasonOf(error)}. Run it again.`);
  } finally {
    progress.end();
  }
  process.stderr.write(`${progress.sum()}\n`);
}

/** Whether who reads it, `head` for one, has enough. */
function isClosedPipe(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EPIPE';
}

/** How many there will be, about. */
async function countUsers(service: Service, app: number): Promise<number> {
  const answer = await service.answerTo(service.begin('GET', `/v1/apps/${app}/schemes`).end());
  const { registered } = (await json(answer)) as { registered: { users: number } };
  return registered.users;
}
