// Mergers of users that stop halfway, as those of a process that is killed.

import assert from 'node:assert/strict';
import type { AppId } from '../src/ids.ts';
import { mergeUsers } from '../src/store/mergers.ts';
import type { Service, Tenant } from './harness.ts';

/** Merges as a process does that is killed in the middle of it, where there is much to move; no other is told. */
export async function beginMerger(
  { database }: Service,
  app: Tenant,
  from: string,
  into: string,
  meanwhile = async () => {},
): Promise<void> {
  const { rows } = await database.pool.query<{ id: number; name: string }>(
    'select id, name from identity where app_id = $1',
    [app.appId],
  );
  const rowOf = (name: string) => rows.find((row) => row.name === name)!.id;
  const hashes = { ofName: () => Buffer.from(from), ofImId: () => Buffer.from(into) };
  await database.kysely.transaction().execute(async (trx) => {
    const merger = { fromId: rowOf(from), intoId: rowOf(into) };
    assert.equal(await mergeUsers(trx, Number(app.appId) as AppId, merger, hashes), 'merged');
    await meanwhile();
  });
}
