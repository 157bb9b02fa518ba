// The data directory: made where it isn't there, and tried, so that what is wrong with it is said before all else.

import { mkdir, mkdtemp, rmdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';

/** Throws an Error that names IMID_DATA_DIR when the directory can't be made or written. */
export async function openDataDirectory(directory: string): Promise<void> {
  try {
    await makeDirectory(resolve(directory));
    await rmdir(await mkdtemp(join(directory, 'writable-')));
  } catch (cause) {
    throw new Error(`the data directory (IMID_DATA_DIR) can't be used: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** Node's own, with `recursive`, never ends where the system says of a new name that it doesn't exist, as in /proc. */
async function makeDirectory(directory: string): Promise<void> {
  const parent = dirname(directory);
  if (parent !== directory && !(await stat(parent).catch(() => undefined))) await makeDirectory(parent);
  await mkdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
}
