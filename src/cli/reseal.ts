// `imid reseal`: rotates the secret that encrypts what is kept encrypted. May be broken off and repeated at any moment.

import { join } from 'node:path';
import type { Command } from 'commander';
import { readSecretConfig } from '../config.ts';
import { dropFormerKey, renewKeyFile } from '../store/key_files.ts';
import { resealAnswers } from '../store/kept_answers.ts';
import { resealAll } from '../store/sealed.ts';
import { createBox } from '../tokens/box.ts';
import { onDatabase } from './database.ts';
import { EXIT_CODES_HELP, Failure } from './failure.ts';
import { format } from './progress.ts';

const HELP = `
The secret encrypts the private halves of the signing keys, and whatever else the service keeps as a secret. No token, no
connection and no API key is affected when it changes.

Where IMID_SECRET is set:
  1. Start every process anew with IMID_SECRET=<the new one> and IMID_FORMER_SECRET=<the old one>.
  2. Run this with the same two: everything is encrypted with the new one.
  3. Start every process anew without IMID_FORMER_SECRET.

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
    .action(async () => {
      const { secret, formerSecret, directory } = readSecretConfig();
      if (secret !== undefined && formerSecret === undefined)
        throw new Failure('usage', 'IMID_SECRET is set, but not IMID_FORMER_SECRET.');
      await onDatabase(async ({ kysely }) => {
        const file = join(directory, 'secret.key');
        const kept = secret === undefined ? await renewKeyFile(file, 'ims_') : undefined;
        const box = createBox(kept?.key ?? secret!, kept?.former ?? formerSecret);
        const count = (await resealAll(kysely, box.reseal)) + (await resealAnswers(kysely, box.reseal));
        if (kept) await dropFormerKey(file, kept.key);
        console.log(`Encrypted anew: ${format(count)}${kept ? `, with the new secret in ${file}` : ''}.`);
      });
    });
}
