// What an act that is only rehearsed would have changed so far, in temporary tables of a connection of its own.
// Invariant: what is there is read, statement by statement, and nothing but those tables is written or locked.

import { registeredIdToUuid, uuidToRegisteredId, type AppId, type Name, type RegisteredId } from '../ids.ts';
import type { Connection } from './database.ts';

/** A user as it would be by now. */
export interface StagedUser {
  /** Its internal row; below zero for one that would have been made. */
  readonly id: number;
  /** What it is called; names that were merged into it stand for it as well. */
  readonly name: Name;
  readonly isRegistered: boolean;
  /** Absent as well where it would have been minted. */
  readonly imId?: RegisteredId | undefined;
  /** Absent for one that would have been made. */
  readonly createdAt?: Date | undefined;
  readonly lastSeenAt?: Date | undefined;
  readonly messages: number;
}

/** Whom a name would stand for by now. */
export interface StagedName {
  readonly userId: number | undefined;
  /** The rows of those that would have given it up. */
  readonly formerIds: readonly number[];
}

export interface Staged {
  names: Map<Name, StagedName>;
  users: Map<number, StagedUser>;
}

/** `connection` is its own, and ends with it. */
export async function openStaging(connection: Connection) {
  await connection.query(`
    create temporary table staged_name (
      name text collate "C" primary key,
      identity_id bigint,
      former_ids bigint[] not null
    )`);
  await connection.query(`
    create temporary table staged_identity (
      id bigint primary key,
      name text collate "C" not null,
      is_registered boolean not null,
      im_id uuid
    )`);
  await connection.query('create index staged_identity__im_id on staged_identity (im_id)');

  return {
    close: () => connection.end(),

    /** Each of the names, and the users they stand for. */
    async findNames(appId: AppId, names: readonly Name[]): Promise<Staged> {
      const { rows } = await connection.query<NameRow>(
        `select n.name, coalesce(s.former_ids, '{}')::text[] as former_ids, u.id,
          coalesce(t.name, i.name) as current, coalesce(t.is_registered, i.im_id is not null) as is_registered,
          case when t.id is null then i.im_id else t.im_id end as im_id,
          i.created_at, i.last_seen_at, coalesce(i.last_seq, 0) as last_seq
        from unnest($2::text[]) as n (name)
        left join staged_name s on s.name = n.name
        left join identity a on a.app_id = $1 and a.name = n.name
        cross join lateral (
          select case when s.name is null then coalesce(a.merged_into, a.id) else s.identity_id end as id
        ) u
        left join identity i on i.app_id = $1 and i.id = u.id
        left join staged_identity t on t.id = u.id`,
        [appId, names],
      );
      const staged: Staged = { names: new Map(), users: new Map() };
      for (const row of rows) {
        staged.names.set(row.name, { userId: row.id ?? undefined, formerIds: row.former_ids.map(Number) });
        if (row.id !== null) staged.users.set(row.id, toStagedUser({ ...row, id: row.id }));
      }
      return staged;
    },

    /** Which of the imIds somebody has, or would have by now. */
    async findImIds(appId: AppId, imIds: readonly RegisteredId[]): Promise<Set<RegisteredId>> {
      const { rows } = await connection.query<{ im_id: string }>(
        `select im_id from identity where app_id = $1 and im_id = any ($2::uuid[])
        union all select im_id from staged_identity where im_id = any ($2::uuid[])`,
        [appId, imIds.map(registeredIdToUuid)],
      );
      return new Set(rows.map((row) => uuidToRegisteredId(row.im_id)));
    },

    async put({ names, users }: Staged): Promise<void> {
      const stagedNames = [...names.values()];
      await connection.query(
        `insert into staged_name (name, identity_id, former_ids)
        select name, identity_id, former_ids::bigint[]
        from unnest($1::text[], $2::bigint[], $3::text[]) as t (name, identity_id, former_ids)
        on conflict (name) do update set identity_id = excluded.identity_id, former_ids = excluded.former_ids`,
        [
          [...names.keys()],
          stagedNames.map(({ userId }) => userId ?? null),
          stagedNames.map(({ formerIds }) => `{${formerIds.join(',')}}`),
        ],
      );
      const stagedUsers = [...users.values()];
      await connection.query(
        `insert into staged_identity (id, name, is_registered, im_id)
        select id, name, is_registered, im_id
        from unnest($1::bigint[], $2::text[], $3::boolean[], $4::uuid[]) as t (id, name, is_registered, im_id)
        on conflict (id) do update
        set name = excluded.name, is_registered = excluded.is_registered, im_id = excluded.im_id`,
        [
          stagedUsers.map(({ id }) => id),
          stagedUsers.map(({ name }) => name),
          stagedUsers.map(({ isRegistered }) => isRegistered),
          stagedUsers.map(({ imId }) => (imId ? registeredIdToUuid(imId) : null)),
        ],
      );
    },
  };
}

interface NameRow {
  name: Name;
  former_ids: string[];
  id: number | null;
  current: Name;
  is_registered: boolean;
  im_id: string | null;
  created_at: Date | null;
  last_seen_at: Date | null;
  last_seq: number;
}

function toStagedUser(row: NameRow & { id: number }): StagedUser {
  return {
    id: row.id,
    name: row.current,
    isRegistered: row.is_registered,
    imId: row.im_id === null ? undefined : uuidToRegisteredId(row.im_id),
    createdAt: row.created_at ?? undefined,
    lastSeenAt: row.last_seen_at ?? undefined,
    messages: row.last_seq,
  };
}
