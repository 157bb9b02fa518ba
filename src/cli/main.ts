// The operator's commands, `imid <command>`, one file each. They talk REST to a service, here or elsewhere, but for those
// that are about the database itself.

import { Command, CommanderError } from 'commander';
import { addExport } from './export.ts';
import { EXIT_CODES_HELP, exitCodes, Failure } from './failure.ts';
import { addImport } from './import.ts';
import { addRename } from './rename.ts';
import { addReseal } from './reseal.ts';
import { addRestored } from './restored.ts';
import { reasonOf } from './service.ts';

const program = new Command('imid')
  .description('Commands for an imid service: over its REST API, and for its database.')
  .option('--url <url>', 'where the service is; else IMID_PUBLIC_URL, else http://localhost:$PORT')
  .option(
    '--key <key>',
    'an API key of the app, or the admin key; else IMID_API_KEY, else IMID_ADMIN_KEY, else the one that the service ' +
      'keeps in IMID_DATA_DIR',
  )
  .configureHelp({ showGlobalOptions: true })
  .addHelpText('after', EXIT_CODES_HELP)
  .exitOverride();

addImport(program);
addExport(program);
addRename(program);
addRestored(program);
addReseal(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = tell(error);
}

/** Says what went wrong, where that isn't said yet, and gives back the exit code. */
function tell(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitCodes.usage;
  console.error(`imid: ${reasonOf(error)}`);
  return error instanceof Failure ? error.exitCode : exitCodes.usage;
}
