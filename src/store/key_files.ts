// Keys that the service makes at first start and keeps in its data directory, readable by its own user only.

import { randomBytes } from 'node:crypto';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { openDataDirectory } from './data_directory.ts';

/** The key in a file, made and written with mode 0600 when there is none. */
export async function keepKeyFile(file: string, prefix: string): Promise<{ key: string; isNew: boolean }> {
  await openDataDirectory(dirname(file));
  const key = prefix + randomBytes(32).toString('base64url');
  try {
    await writeFile(file, `${key}\n`, { mode: 0o600, flag: 'wx' });
    return { key, isNew: true };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const kept = (await readFile(file, 'utf8')).trim();
  if (kept.length < 16) throw new Error(`${file} holds no key; delete it to have a new one made.`);
  await chmod(file, 0o600);
  return { key: kept, isNew: false };
}
