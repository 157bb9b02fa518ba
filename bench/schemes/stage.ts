// An app of every kind, each with as many users as the others, on a service and a database of its own.

import { importLines, toChunks, toJsonLine } from '../importing.ts';
import type { Database, Service, Site, Tenant } from '../service.ts';
import { insertUsers, insertUsersInTurn } from '../users.ts';

/** What an app may enable. In the one with both, all are registered and addressed as in composed. */
const schemesOf = {
  composed: ['composed'],
  registered: ['registered'],
  both: ['composed', 'registered'],
} as const;

export type Kind = keyof typeof schemesOf;
export const kinds = Object.keys(schemesOf) as Kind[];

export interface Stand {
  readonly kind: Kind;
  readonly database: Database;
  /** Others after a restart: the service is a new process, and the app has another URL. */
  service: Service;
  app: Tenant;
}

export type Stage = Record<Kind, Stand>;

export async function openStage(site: Site): Promise<Stage> {
  const stands = kinds.map(async (kind): Promise<[Kind, Stand]> => {
    const database = await site.createDatabase();
    const service = await database.startService();
    return [kind, { kind, database, service, app: await service.createApp(schemesOf[kind]) }];
  });
  return Object.fromEntries(await Promise.all(stands)) as Stage;
}

export async function restart(stand: Stand): Promise<void> {
  await stand.service[Symbol.asyncDispose]();
  stand.service = await stand.database.startService();
  stand.app = { ...stand.app, url: `${stand.service.url}/v1/apps/${stand.app.appId}` };
}

/** How users of the app are named by the ids that the customer has for them. */
export function addressOf({ kind }: Stand, name: string): { uid: string } | { userId: string } {
  return kind === 'registered' ? { userId: name } : { uid: name };
}

/**
 * Gives each app the users `from` up to but not including `to`: those of registered by an import, and composed ones
 * what they come to once each of them has an inbox. Gives back how many seconds the import took.
 */
export async function bringIn(stage: Stage, from: number, to: number): Promise<number> {
  const { composed, registered, both } = stage;
  const startedAt = performance.now();
  await importLines(registered.app, toChunks(from, to, toJsonLine));
  const seconds = (performance.now() - startedAt) / 1000;
  await insertUsersInTurn(composed.database.pool, { appId: composed.app.appId, from, to });
  await insertUsers(both.database.pool, { appId: both.app.appId, scheme: 'registered', from, to });
  for (const { database } of [composed, registered]) await database.pool.query('vacuum (analyze) identity');
  return seconds;
}

/** How many users of the app have a row, and what all rows take with their indexes. */
export async function measureRows({ database, app }: Stand): Promise<{ rows: number; bytes: number }> {
  const { rows } = await database.pool.query<{ rows: number; bytes: number }>(
    `select count(*)::float8 as rows, pg_total_relation_size('identity')::float8 as bytes
     from identity where app_id = $1`,
    [app.appId],
  );
  return rows[0]!;
}
