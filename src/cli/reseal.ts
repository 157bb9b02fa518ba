// `imid reseal`: rotates the secret that encrypts what is kept encrypted. May be broken off and repeated at any moment.

import { join } from 'node:path';
import type { Command } from 'commander';
import { readDatabaseConfig, readSecretConfig } from '../config.ts';
import { insertAuditEvents } from '../store/audit.ts';
import { countProcesses } from '../store/connections.ts';
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
    .action(async () => {
      const { secret, otherSecret } = readSecretConfig();
      if (secret !== undefined && otherSecret === undefined)
        throw new Failure('usage', 'IMID_SECRET is set, but not IMID_OTHER_SECRET.');
      await onDatabase(async ({ kysely }) => {
        const processes = secret === undefined ? await countProcesses(kysely) : 0;
        if (processes > 0)
          throw new Failure(
            'service',
            `Processes of the service that run on this database: ${format(processes)}. Nothing was changed; stop them first.`,
          );
        const file = join(readDatabaseConfig().directory, 'secret.key');
        const kept = secret === undefined ? await renewKeyFile(file, 'ims_') : undefined;
        const box = createBox(kept?.key ?? secret!, kept?.former ?? otherSecret);
        const count = (await resealAll(kysely, box.reseal)) + (await resealAnswers(kysely, box.reseal));
        await insertAuditEvents(kysely, [{ actor: 'operator', action: 'secret.reseal' }]);
        if (kept) await dropFormerKey(file, kept.key);
        console.log(`Encrypted anew: ${format(count)}${kept ? `, with the new secret in ${file}` : ''}.`);
      });
    });
}
