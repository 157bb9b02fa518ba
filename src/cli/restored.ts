// `imid restored`: to be run when a backup has been put back. Works on the database itself, and gives it a new epoch, so
// that nobody takes a seq of before for one of now. Refuses to make a database where there is none.

import type { Command } from 'commander';
import { EXIT_CODES_HELP } from './failure.ts';

const HELP = `
A backup that is put back turns every inbox back: numbers that clients know are given to other messages. So the database
gets a new epoch. Clients that come with the old one are told to start over, and are shown their inboxes from the start;
what they hadn't been told of as sent, they send again, and it is stored.

It is the database of DATABASE_URL, else the embedded one in IMID_DATA_DIR. Stop the service before the backup is put back,
run this, and start the service again. --url and --key have no meaning here.
${EXIT_CODES_HELP}`;

export function addRestored(program: Command): void {
  program
    .command('restored')
    .summary('give the database a new epoch, once a backup was put back')
    .description('Gives the database a new epoch, once a backup was put back: clients start over.')
    .addHelpText('after', HELP)
    .action(async () => (await import('./database_acts.ts')).beginAnew());
}
