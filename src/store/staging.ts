// What an act that is only rehearsed would have changed so far, in a temporary table of a connection of its own.
// Invariant: what is there is read, statement by statement, and nothing but that table is written or locked.

import { registeredIdToUuid, uuidToRegisteredId, type AppId, type Name, type RegisteredId } from '../ids.ts';
import type { Connection } from './database.ts';

/** Who has a name, or would have it by now. */
export interface Holder {
  /** Its internal row; below zero for one that would have been made. */
  readonly id: number;
  readonly isRegistered: boolean;
  /** Absent as well where it would have been minted. */
  readonly imId?: RegisteredId | undefined;
  /** Absent for one that would have been made. */
  readonly createdAt?: Date | undefined;
  readonly lastSeenAt?: Date | undefined;
  readonly messages: number;
}

export interface StagedName {
  readonly holder: Holder | undefined;
  /** The rows of those that would have given the name up. */
  readonly formerIds: readonly number[];
}

/** `connection` is its own, and ends with it. */
export async function openStaging(connection: Connection) {
  await connection.query(`
    create temporary table staged_name (
      name text collate "C" primary key,
      identity_id bigint,
      is_registered boolean not null,
      im_id uuid,
      former_ids bigint[] not null
    )`);
  await connection.query('create index staged_name__im_id on staged_name (im_id)');

  return {
    close: () => connection.end(),

    async findNames(appId: AppId, names: readonly Name[]): Promise<Map<Name, StagedName>> {
      const { rows } = await connection.query<NameRow>(
        `select n.name, coalesce(s.former_ids, '{}')::text[] as former_ids,
          case when s.name is null then i.id else s.identity_id end as id,
          case when s.name is null then i.im_id is not null else s.is_registered end as is_registered,
          case when s.name is null then i.im_id else s.im_id end as im_id,
          case when s.name is null then i.created_at end as created_at,
          case when s.name is null then i.last_seen_at end as last_seen_at,
          case when s.name is null then i.last_seq else 0 end as last_seq
        from unnest($2::text[]) as n (name)
        left join identity a on a.app_id = $1 and a.name = n.name
        left join identity i on i.app_id = $1 and i.id = coalesce(a.merged_into, a.id)
        left join staged_name s on s.name = n.name`,
        [appId, names],
      );
      return new Map(rows.map((row) => [row.name, toStagedName(row)]));
    },

    /** Which of the imIds somebody has, or would have by now. */
    async findImIds(appId: AppId, imIds: readonly RegisteredId[]): Promise<Set<RegisteredId>> {
      const { rows } = await connection.query<{ im_id: string }>(
        `select im_id from identity where app_id = $1 and im_id = any ($2::uuid[])
        union all select im_id from staged_name where im_id = any ($2::uuid[])`,
        [appId, imIds.map(registeredIdToUuid)],
      );
      return new Set(rows.map((row) => uuidToRegisteredId(row.im_id)));
    },

    async putNames(names: ReadonlyMap<Name, StagedName>): Promise<void> {
      const staged = [...names.values()];
      const holders = staged.map(({ holder }) => holder);
      await connection.query(
        `insert into staged_name (name, identity_id, is_registered, im_id, former_ids)
        select name, identity_id, is_registered, im_id, former_ids::bigint[]
        from unnest($1::text[], $2::bigint[], $3::boolean[], $4::uuid[], $5::text[])
          as t (name, identity_id, is_registered, im_id, former_ids)
        on conflict (name) do update set identity_id = excluded.identity_id, is_registered = excluded.is_registered,
          im_id = excluded.im_id, former_ids = excluded.former_ids`,
        [
          [...names.keys()],
          holders.map((holder) => holder?.id ?? null),
          holders.map((holder) => holder?.isRegistered ?? false),
          holders.map((holder) => (holder?.imId ? registeredIdToUuid(holder.imId) : null)),
          staged.map(({ formerIds }) => `{${formerIds.join(',')}}`),
        ],
      );
    },
  };
}

interface NameRow {
  name: Name;
  former_ids: string[];
  id: number | null;
  is_registered: boolean;
  im_id: string | null;
  created_at: Date | null;
  last_seen_at: Date | null;
  last_seq: number;
}

function toStagedName(row: NameRow): StagedName {
  const formerIds = row.former_ids.map(Number);
  if (row.id === null) return { holder: undefined, formerIds };
  return {
    formerIds,
    holder: {
      id: row.id,
      isRegistered: row.is_registered,
      imId: row.im_id === null ? undefined : uuidToRegisteredId(row.im_id),
      createdAt: row.created_at ?? undefined,
      lastSeenAt: row.last_seen_at ?? undefined,
      messages: row.last_seq,
    },
  };
}
