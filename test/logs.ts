// Keeps what every service of a run logs and every process of a run prints, and looks in the end whether there is
// something in it that nobody may read there. One file for each process of the run; its directory is in the environment.

import { appendFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';

/** Where setup.ts says the directory is. */
export const LOGS = 'IMID_TEST_LOGS';
export const ADMIN_KEY = 'admin-key-of-the-tests';
export const SECRET = 'secret-of-the-tests';
/** Of databases, in URLs. */
export const PASSWORD = 'Geheimnis';
/** What tests put into contents, contacts and pushes to see whether it gets out. */
export const PLANTED = 'what-nobody-else-may-read';

const FORBIDDEN: Record<string, RegExp> = {
  'the admin key of the tests': new RegExp(ADMIN_KEY),
  'the secret of the tests': new RegExp(SECRET),
  'an API key': /imk_[0-9a-f]{16}_[\w-]{43}/,
  'an admin key': /ima_[\w-]{43}/,
  'a secret key': /ims_[\w-]{43}/,
  'a token': /eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+/,
  'a private key': /BEGIN ([A-Z]+ )?PRIVATE KEY/,
  'a secret of a webhook': /whsec_[\w+/]{32}/,
  'a password': new RegExp(PASSWORD),
  'a password in a URL': /\w:\/\/(?!user:password@)[^\s/:@"]+:[^\s/@"]+@/,
  'what was planted': new RegExp(`${PLANTED}|${Buffer.from(PLANTED).toString('base64url')}`),
  'a field that is nobody’s business':
    /"(content|push|displayName|data|token|apiKey|authorization|Authorization)":/,
};
/** The first start shows the admin key, once. */
const BANNER = /^ {2}admin key {2}ima_[\w-]{43} \(shown this once; kept in [^\n]*\)$/gm;

const FLUSH_LENGTH = 1_000_000;
const directory = process.env[LOGS];
let kept = '';
const outputs = new Set<() => void>();

function flush(): void {
  if (directory !== undefined) appendFileSync(join(directory, `${process.pid}.log`), kept);
  kept = '';
}
if (directory !== undefined)
  process.once('exit', () => {
    for (const keep of outputs) keep();
    flush();
  });

export function keepLog(text: string): void {
  kept += text;
  if (kept.length >= FLUSH_LENGTH) flush();
}

/** Keeps what a process prints, in one piece. */
export function keepOutput(...streams: (Readable | null)[]): void {
  for (const stream of streams) {
    let text = '';
    const keep = (): void => {
      if (outputs.delete(keep)) keepLog(`${text}\n`);
    };
    outputs.add(keep);
    stream?.on('data', (data: Buffer | string) => (text += data.toString()));
    stream?.once('close', keep);
  }
}

/** What is in the files of a directory that must not be there, each with the first line that has it. */
export async function findLeaks(of: string): Promise<string[]> {
  const found: string[] = [];
  for (const file of await readdir(of)) {
    const text = (await readFile(join(of, file), 'utf8')).replaceAll(BANNER, '');
    for (const [what, pattern] of Object.entries(FORBIDDEN)) {
      const at = text.search(pattern);
      if (at === -1) continue;
      const line = text.slice(text.lastIndexOf('\n', at) + 1).split('\n', 1)[0]!;
      found.push(`${what}: ${line.slice(0, 2_000)}`);
    }
  }
  return found;
}
