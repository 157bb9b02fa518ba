// A list of renames of any length, staged in temporary tables of one connection, and what is wrong with it.
// Takes no lock and changes no user.

import type { AppId, Name } from '../ids.ts';
import type { Connection } from './database.ts';

/** One line of a list: the user that has `name` is to be called `newName`, which may be the same. */
export interface ListedRename {
  line: number;
  name: Name;
  newName: Name;
  /** Of `name`. */
  nameHash: Buffer;
}

/** Why a line can't be done; the names as far as they could be read. */
export interface RenameFault {
  line: number;
  name: string | undefined;
  newName: string | undefined;
  /** Undefined: the line as a whole. */
  field: 'name' | 'newName' | undefined;
  code: 'invalid_request' | 'not_found' | 'conflict';
  detail: string;
}

/** What a list comes to: lines with a fault are neither renames nor unchanged. */
export interface RenameSummary {
  lines: number;
  renames: number;
  unchanged: number;
  /** There may be two of a line. */
  faults: number;
}

const CREATE = `
set work_mem = '64MB';
set temp_buffers = '64MB';
set jit = off;
create temp table staged (line bigint, name text collate "C", new_name text collate "C", name_hash bytea);
create temp table fault (line bigint, name text, new_name text, field text, code text, detail text);
-- the staged lines with the users they mean; holder: the row that has the new name; lent: it was merged into the user
create temp table found (line bigint, name text collate "C", new_name text collate "C", name_hash bytea,
  id bigint, name_since timestamptz, holder_id bigint, lent boolean)`;

export async function createRenameList(client: Connection): Promise<void> {
  await client.query(CREATE);
}

/** Lines in portions. A name has no line break, so that many go as one text, which Postgres takes apart the fastest. */
export async function stageRenames(client: Connection, renames: readonly ListedRename[]): Promise<void> {
  if (renames.length === 0) return;
  await client.query({
    name: 'stage_renames',
    text: `insert into staged (line, name, new_name, name_hash)
      select line, name, new_name, substr($4::bytea, 32 * place::integer - 31, 32)
      from rows from (unnest($1::bigint[]), string_to_table($2, e'\\n'), string_to_table($3, e'\\n'))
        with ordinality as t (line, name, new_name, place)`,
    values: [
      renames.map(({ line }) => line),
      renames.map(({ name }) => name).join('\n'),
      renames.map(({ newName }) => newName).join('\n'),
      Buffer.concat(renames.map(({ nameHash }) => nameHash)),
    ],
  });
}

export async function stageFaults(client: Connection, faults: readonly RenameFault[]): Promise<void> {
  if (faults.length === 0) return;
  await client.query({
    name: 'stage_faults',
    text: `insert into fault (line, name, new_name, field, code, detail)
      select * from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])`,
    values: [
      faults.map(({ line }) => line),
      faults.map(({ name }) => (name === undefined ? null : toStorable(name))),
      faults.map(({ newName }) => (newName === undefined ? null : toStorable(newName))),
      faults.map(({ field }) => field ?? null),
      faults.map(({ code }) => code),
      faults.map(({ detail }) => detail),
    ],
  });
}

/** What no text of Postgres can hold is shown as U+FFFD. */
function toStorable(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\ufffd');
}

const FIND = `
insert into found (line, name, new_name, name_hash, id, name_since, holder_id, lent)
select s.line, s.name, s.new_name, s.name_hash, i.id, i.name_since, h.id, h.merged_into = i.id
from staged s
left join identity i on i.app_id = $1 and i.name = s.name and i.merged_into is null
  and (i.im_id is not null or not $2)
left join identity h on h.app_id = $1 and h.name = s.new_name and s.new_name <> s.name`;

const FIND_FAULTS = `
insert into fault (line, name, new_name, field, code, detail)
select s.line, s.name, s.new_name, 'name', 'invalid_request', 'stands in line ' || twice.line || ' already'
from (select name, min(line) as line from staged group by name having count(*) > 1) twice
join staged s on s.name = twice.name and s.line > twice.line
union all
select s.line, s.name, s.new_name, 'newName', 'invalid_request', 'stands in line ' || twice.line || ' already'
from (select new_name, min(line) as line from staged group by new_name having count(*) > 1) twice
join staged s on s.new_name = twice.new_name and s.line > twice.line
union all
select f.line, f.name, f.new_name, 'name', 'not_found',
  case when i.merged_into is null then 'is nobody’s' else 'is of a user that was merged into another one' end
from found f left join identity i on i.app_id = $1 and i.name = f.name where f.id is null
union all
select line, name, new_name, 'newName', 'conflict', 'is taken' from found f
where holder_id is not null and lent is not true and not exists (select from found o where o.id = f.holder_id)`;

const SUMMARISE = `
select (select count(*) from staged) + (select count(distinct line) from fault f
    where not exists (select from staged s where s.line = f.line)) as lines,
  count(*) filter (where new_name <> name) as renames, count(*) filter (where new_name = name) as unchanged,
  (select count(*) from fault) as faults
from found where not exists (select from fault where fault.line = found.line)`;

/**
 * Finds the users of the staged lines as they are now; tells whether anything stands in the way. `registeredOnly`: a name
 * means nobody but a registered user.
 */
export async function findRenames(
  client: Connection,
  appId: AppId,
  registeredOnly: boolean,
): Promise<{ isFaulty: boolean }> {
  await client.query(FIND, [appId, registeredOnly]);
  await client.query(FIND_FAULTS, [appId]);
  const { rows } = await client.query('select from fault limit 1');
  return { isFaulty: rows.length > 0 };
}

/** What the list comes to, as it was found. */
export async function summariseRenames(client: Connection): Promise<RenameSummary> {
  const { rows } = await client.query<RenameSummary>(SUMMARISE);
  return rows[0]!;
}

interface FaultRow extends Omit<RenameFault, 'name' | 'newName' | 'field'> {
  name: string | null;
  new_name: string | null;
  field: 'name' | 'newName' | null;
}

/** The codes of all faults, each once. */
export async function findFaultCodes(client: Connection): Promise<RenameFault['code'][]> {
  const { rows } = await client.query<{ code: RenameFault['code'] }>('select distinct code from fault');
  return rows.map(({ code }) => code);
}

const FAULTS = 'select line, name, new_name, field, code, detail from fault order by line, field';

/** The first faults, in the order of the lines. */
export async function findFaults(client: Connection, limit: number): Promise<RenameFault[]> {
  const { rows } = await client.query<FaultRow>(`${FAULTS} limit $1`, [limit]);
  return rows.map(toFault);
}

const PORTION = 1_000;

/** All faults, in the order of the lines, in portions. */
export async function* streamFaults(client: Connection): AsyncGenerator<RenameFault[]> {
  await client.query(`begin; declare faults cursor for ${FAULTS}`);
  for (let count = PORTION; count === PORTION;) {
    const { rows } = await client.query<FaultRow>(`fetch ${PORTION} from faults`);
    count = rows.length;
    yield rows.map(toFault);
  }
}

function toFault({ line, name, new_name, field, code, detail }: FaultRow): RenameFault {
  return {
    line,
    name: name ?? undefined,
    newName: new_name ?? undefined,
    field: field ?? undefined,
    code,
    detail,
  };
}
