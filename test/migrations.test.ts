// The schema: what the migrations make is what the code takes it for, and a Postgres that is too old is refused.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import pg from 'pg';
import { openDatabase } from '../src/store/database.ts';
import { createDatabase } from './harness.ts';

interface Column {
  type: string;
  isNullable: boolean;
  /** The database has a value for it where none is given. */
  isGenerated: boolean;
}
type Tables = Record<string, Record<string, Column>>;

const TYPES: Record<string, string> = {
  bigint: 'number',
  integer: 'number',
  text: 'string',
  uuid: 'string',
  boolean: 'boolean',
  xid8: 'string',
  'timestamp with time zone': 'Date',
  bytea: 'Buffer',
  jsonb: 'unknown',
  ARRAY: 'string[]',
};

/** Reads `interface Tables`, which has one object of plain columns per table. */
async function readTables(): Promise<Tables> {
  const text = await readFile(new URL('../src/store/tables.ts', import.meta.url), 'utf8');
  const [, body] = /interface Tables \{(.*)\}/s.exec(text)!;
  const tables: Tables = {};
  for (const [, table, columns] of body!.matchAll(/(\w+): \{([^{}]*)\}/g)) {
    tables[table!] = {};
    for (const [, column, rest] of columns!.matchAll(/(\w+): ([^;]+);?/g)) {
      const declared = rest!.trim();
      const isNullable = declared.endsWith(' | null');
      const isGenerated = declared.startsWith('Generated<');
      const plain = declared.replace(/^Generated<(.*)>$/, '$1').replace(/ \| null$/, '');
      tables[table!]![column!] = { type: plain.startsWith("'") ? 'string' : plain, isNullable, isGenerated };
    }
  }
  return tables;
}

test('the migrations make exactly the tables and columns that the code knows', async () => {
  const { connection } = await createDatabase();
  const client = new pg.Client(connection);
  await client.connect();
  const { rows } = await client.query(
    `select table_name, column_name, data_type, is_nullable = 'YES' as is_nullable,
       column_default is not null or is_identity = 'YES' as is_generated
     from information_schema.columns where table_schema = 'public' and table_name not like 'kysely_%'`,
  );
  await client.end();
  const made: Tables = {};
  for (const row of rows) {
    const column = {
      type: TYPES[row.data_type]!,
      isNullable: row.is_nullable,
      isGenerated: row.is_generated,
    };
    (made[row.table_name] ??= {})[row.column_name] = column;
  }
  assert.ok(Object.keys(made).length > 0);
  assert.deepEqual(await readTables(), made);
});

test('migrating again changes nothing', async () => {
  const { connection } = await createDatabase();
  const read = async () => {
    const client = new pg.Client(connection);
    await client.connect();
    const { rows } = await client.query('select * from kysely_migration order by name');
    await client.end();
    return rows;
  };
  const before = await read();
  await (await openDatabase({ connection, log: () => {} })).close();
  assert.deepEqual(await read(), before);
});

test('a Postgres before 15 is refused by its version', async () => {
  const { name, connection } = await createDatabase();
  const client = new pg.Client(connection);
  await client.connect();
  // The database takes itself for an older one.
  await client.query(`
    create schema older;
    create function older.current_setting(text) returns text language sql as $$ select '140012' $$;
    alter database ${name} set search_path = older, pg_catalog, public`);
  await client.end();
  await assert.rejects(openDatabase({ connection, log: () => {} }), /Postgres 15 or newer; this is 14/);
});
