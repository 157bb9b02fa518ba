// How far the work that goes on behind what was answered is behind.

import { sql } from 'kysely';
import type { Executor } from './database.ts';

export type JobQueue = 'merger' | 'erasure' | 'push';

/** How long the oldest job of each queue that isn't done yet has been waiting, in seconds; 0 where there is none. */
export async function findJobAges(db: Executor): Promise<{ queue: JobQueue; ageSeconds: number }[]> {
  const { rows } = await sql<{ queue: JobQueue; age_seconds: number }>`
    select queue, coalesce(extract(epoch from clock_timestamp() - since), 0)::float8 as age_seconds from (
      select 'merger' as queue, min(created_at) as since from merger where finished_at is null
      union all
      select 'erasure', min(created_at) from erasure
      union all
      select 'push', min(due_at) from push_due where due_at <= clock_timestamp()
    ) oldest`.execute(db);
  return rows.map((row) => ({ queue: row.queue, ageSeconds: row.age_seconds }));
}
