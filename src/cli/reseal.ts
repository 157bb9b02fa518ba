// `imid reseal`: rotates the secret that encrypts what is kept encrypted. May be broken off and repeated at any moment.

import type { Command } from 'commander';
import { EXIT_CODES_HELP } from './failure.ts';

const HELP = `
The secret encrypts the private halves of the signing keys, and whatever else the service keeps as a secret. No token, no
connection and no API key is affected when it changes.

Where IMID_SECRET is set:
  1. Start every process anew with IMID_SECRET=<the old one> and IMID_OTHER_SECRET=<the new one>: all can read both.
  2. Start every process anew with the two the other way round: what is new is encrypted with the new one.
  3. Run this with the same two as then: everything is encrypted with the new one.
  4. Start every process anew without IMID_OTHER_SECRET.

Where it is not, it stands in secret.key in IMID_DATA_DIR: stop the service, run this, which puts a new one there, and start
the service again.

The database is that of DATABASE_URL, else the embedded one in IMID_DATA_DIR. --url and --key have no meaning here.
${EXIT_CODES_HELP}`;

export function addReseal(program: Command): void {
  program
    .command('reseal')
    .summary('encrypt what is kept encrypted with another secret')
    .description('Encrypts what is kept encrypted with another secret.')
    .addHelpText('after', HELP)
    .action(async () => (await import('./database_acts.ts')).reseal());
}
