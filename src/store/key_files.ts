// Keys that the service makes at first start and keeps in its data directory, readable by its own user only.

import { randomBytes } from 'node:crypto';
import { chmod, open, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { openDataDirectory } from './data_directory.ts';

export interface KeptKey {
  key: string;
  /** The one before, while there may be something that still needs it. */
  former: string | undefined;
  isNew: boolean;
}

/** The key in a file, made and written with mode 0600 when there is none. */
export async function keepKeyFile(file: string, prefix: string): Promise<KeptKey> {
  await openDataDirectory(dirname(file));
  const made = makeKey(prefix);
  try {
    await writeFile(file, `${made}\n`, { mode: 0o600, flag: 'wx' });
    return { key: made, former: undefined, isNew: true };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const [key = '', former] = (await readFile(file, 'utf8')).split('\n').map((line) => line.trim());
  if (key.length < 16) throw new Error(`${file} holds no key; delete it to have a new one made.`);
  await chmod(file, 0o600);
  return { key, former: former || undefined, isNew: false };
}

/** Puts another key into a file, in front of the one that it has; one that is already being replaced stays as it is. */
export async function renewKeyFile(file: string, prefix: string): Promise<KeptKey & { former: string }> {
  const { key, former } = await keepKeyFile(file, prefix);
  if (former !== undefined) return { key, former, isNew: false };
  const made = makeKey(prefix);
  await replaceFile(file, `${made}\n${key}\n`);
  return { key: made, former: key, isNew: true };
}

/** Forgets the key that was replaced. */
export function dropFormerKey(file: string, key: string): Promise<void> {
  return replaceFile(file, `${key}\n`);
}

/** On disk when it resolves, and at every moment whole, whatever happens. */
async function replaceFile(file: string, text: string): Promise<void> {
  const draft = await open(`${file}.new`, 'w', 0o600);
  try {
    await draft.writeFile(text);
    await draft.sync();
  } finally {
    await draft.close();
  }
  await rename(`${file}.new`, file);
  const directory = await open(dirname(file), 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

const makeKey = (prefix: string): string => prefix + randomBytes(32).toString('base64url');
