// The stage that issues and verifies tokens, on a database, as the service has it.

import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { openDatabase } from '../../src/store/database.ts';
import { createBox } from '../../src/tokens/box.ts';
import { createKeys } from '../../src/tokens/keys.ts';
import { createRevocations } from '../../src/tokens/revocations.ts';
import { createTokens } from '../../src/tokens/tokens.ts';

export const ISSUER = 'https://imid.example';

/** With keys of its own if the database has none. Revocations are read as soon as it is opened. */
export async function openStage(connection: pg.PoolConfig, secret = randomBytes(24).toString('base64url')) {
  const database = await openDatabase({ connection: { ...connection, max: 2 }, log: () => {} });
  const keys = await createKeys({ database, box: createBox(secret), onChange() {}, log() {} });
  const revocations = await createRevocations({ database, keys, onRevoke() {}, onNews() {} });
  const tokens = createTokens({ keys, revocations, issuer: ISSUER, clock: database.clock });
  return {
    database,
    keys,
    revocations,
    tokens,
    [Symbol.asyncDispose]: () => database.close(),
  };
}
