// Runs migrations/*.sql, numbered and forward-only, through Kysely's Migrator (one lock, one transaction).

import { readdir, readFile } from 'node:fs/promises';
import { sql, type Kysely } from 'kysely';
import { Migrator, type Migration } from 'kysely/migration';
import type { Tables } from './tables.ts';

const DIRECTORY = new URL('../../migrations/', import.meta.url);

/** Throws when a migration fails; the schema is then as it was before. */
export async function migrateToHead(db: Kysely<Tables>): Promise<void> {
  const migrator = new Migrator({ db, provider: { getMigrations: readMigrations } });
  const { error } = await migrator.migrateToLatest();
  if (error !== undefined) throw error as Error;
}

/** The migrations that this version has and the schema lacks. A schema that is further on is one for this version, too. */
export async function findMissingMigrations(db: Kysely<Tables>): Promise<string[]> {
  const { rows } = await sql<{ name: string }>`select name from kysely_migration`.execute(db);
  const done = new Set(rows.map((row) => row.name));
  return (await listFiles()).map(toName).filter((name) => !done.has(name));
}

async function readMigrations(): Promise<Record<string, Migration>> {
  const migrations: Record<string, Migration> = {};
  for (const file of await listFiles()) {
    const text = await readFile(new URL(file, DIRECTORY), 'utf8');
    migrations[toName(file)] = {
      up: async (db) => {
        await sql.raw(text).execute(db);
      },
    };
  }
  return migrations;
}

async function listFiles(): Promise<string[]> {
  return (await readdir(DIRECTORY)).filter((file) => /^\d{4}_\w+\.sql$/.test(file));
}

const toName = (file: string): string => file.replace('.sql', '');
