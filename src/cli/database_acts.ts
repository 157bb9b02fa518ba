// What the commands about the database do. Apart from their descriptions, since the store takes long to load, and who
// gives another command shouldn't wait for it.

import { join } from 'node:path';
import { readDatabaseConfig, readSecretConfig } from '../config.ts';
import { insertAuditEvents } from '../store/audit.ts';
import { countProcesses } from '../store/connections.ts';
import { dropFormerKey, renewKeyFile } from '../store/key_files.ts';
import { resealAnswers } from '../store/kept_answers.ts';
import { resealAll } from '../store/sealed.ts';
import { beginEpoch } from '../store/service.ts';
import { createBox } from '../tokens/box.ts';
import { onDatabase } from './database.ts';
import { Failure } from './failure.ts';
import { format } from './progress.ts';

export async function reseal(): Promise<void> {
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
}

export async function beginAnew(): Promise<void> {
  await onDatabase(async ({ kysely }) => {
    const { epoch, processes } = await beginEpoch(kysely);
    await insertAuditEvents(kysely, [{ actor: 'operator', action: 'database.restore' }]);
    console.log(`The database has a new epoch, ${epoch}.`);
    if (processes > 0)
      console.log(
        `Processes of the service that run on it: ${format(processes)}. Within about a second they forget what they ` +
          'remember of before, and close all connections with 1001.',
      );
    console.log(
      'Clients that come with the old epoch are told "resumed": false, and are shown their inboxes from the start.',
    );
  });
}
