// Issuers that apps trust, and the keys they sign with.

import { sql, type Selectable } from 'kysely';
import type { AppId } from '../ids.ts';
import type { Executor } from './database.ts';
import type { Tables } from './tables.ts';

/** What of an issuer its app chooses. */
export interface IssuerSettings {
  /** The `iss` of its tokens. */
  issuer: string;
  /** One of them must be the `aud`, or in it. */
  audiences: string[];
  /** Where its keys are; undefined: they are `jwks`. */
  jwksUrl: string | undefined;
  jwks: { keys: Record<string, string>[] } | undefined;
  algorithms: string[];
  /** Which claim says who the user is. */
  subjectClaim: string;
  clockSkewSeconds: number;
  /** A userId that nobody has is registered on the way. */
  register: boolean;
}

export interface Issuer extends IssuerSettings {
  appId: AppId;
  name: string;
  createdAt: Date;
  changedAt: Date;
}

/** Makes it, or replaces all of it that can be chosen. */
export async function putIssuer(
  db: Executor,
  appId: AppId,
  name: string,
  settings: IssuerSettings,
): Promise<{ issuer: Issuer; isNew: boolean }> {
  const values = {
    issuer: settings.issuer,
    audiences: settings.audiences,
    jwks_url: settings.jwksUrl ?? null,
    jwks: settings.jwks ? JSON.stringify(settings.jwks) : null,
    algorithms: settings.algorithms,
    subject_claim: settings.subjectClaim,
    clock_skew_seconds: settings.clockSkewSeconds,
    registers: settings.register,
  };
  const row = await db
    .insertInto('issuer')
    .values({ app_id: appId, name, ...values })
    .onConflict((conflict) =>
      conflict.columns(['app_id', 'name']).doUpdateSet({
        ...values,
        // Each change has a millisecond of its own, so that who keeps what is made of a row can tell two apart.
        changed_at: sql`greatest(clock_timestamp(), issuer.changed_at + interval '1 ms')`,
      }),
    )
    .returningAll()
    .returning(sql<boolean>`xmax = 0`.as('is_new'))
    .executeTakeFirstOrThrow();
  return { issuer: toIssuer(row), isNew: row.is_new };
}

export async function findIssuer(db: Executor, appId: AppId, name: string): Promise<Issuer | undefined> {
  const row = await db
    .selectFrom('issuer')
    .selectAll()
    .where('app_id', '=', appId)
    .where('name', '=', name)
    .executeTakeFirst();
  return row && toIssuer(row);
}

/** The one of an app whose tokens have this `iss`. */
export async function findTrusted(db: Executor, appId: AppId, iss: string): Promise<Issuer | undefined> {
  const row = await db
    .selectFrom('issuer')
    .selectAll()
    .where('issuer', '=', iss)
    .where('app_id', '=', appId)
    .executeTakeFirst();
  return row && toIssuer(row);
}

export async function findIssuers(
  db: Executor,
  appId: AppId,
  afterName: string,
  limit: number,
): Promise<Issuer[]> {
  const rows = await db
    .selectFrom('issuer')
    .selectAll()
    .where('app_id', '=', appId)
    .where('name', '>', afterName)
    .orderBy('name')
    .limit(limit)
    .execute();
  return rows.map(toIssuer);
}

/** The one that is gone, if there was one. */
export async function deleteIssuer(db: Executor, appId: AppId, name: string): Promise<Issuer | undefined> {
  const row = await db
    .deleteFrom('issuer')
    .where('app_id', '=', appId)
    .where('name', '=', name)
    .returningAll()
    .executeTakeFirst();
  return row && toIssuer(row);
}

function toIssuer(row: Selectable<Tables['issuer']>): Issuer {
  return {
    appId: row.app_id as AppId,
    name: row.name,
    issuer: row.issuer,
    audiences: row.audiences,
    jwksUrl: row.jwks_url ?? undefined,
    jwks: row.jwks === null ? undefined : JSON.parse(row.jwks),
    algorithms: row.algorithms,
    subjectClaim: row.subject_claim,
    clockSkewSeconds: row.clock_skew_seconds,
    register: row.registers,
    createdAt: row.created_at,
    changedAt: row.changed_at,
  };
}
