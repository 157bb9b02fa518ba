// Secrets that the service makes for itself and keeps sealed in Postgres, so that all its processes share them.

import { randomBytes } from 'node:crypto';
import type { Database } from '../store/database.ts';
import { findSealedSecret, keepSealedSecret } from '../store/service.ts';
import type { Box } from './box.ts';

/** The 256-bit secret of a purpose, made when there is none yet. */
export async function keepSecret({ kysely }: Database, box: Box, purpose: string): Promise<Buffer> {
  const sealed =
    (await findSealedSecret(kysely, purpose)) ??
    (await keepSealedSecret(kysely, purpose, await box.seal(purpose, randomBytes(32))));
  return box.open(purpose, sealed);
}
