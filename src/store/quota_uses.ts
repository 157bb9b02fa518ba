// How often all processes together let something be used: each writes down its own uses, and reads those of the others.

import type pg from 'pg';
import { bigintArray, textArray } from './arrays.ts';

export interface QuotaUse {
  quota: string;
  holder: string;
  /** In milliseconds since 1970: when the window ends. */
  windowEnd: number;
  uses: number;
}

// What others write meanwhile is seen the next time. Of a window that is over nobody writes any more, so that those who
// delete it wait for nobody but each other.
const EXCHANGE = `
with told as materialized (
  select to_timestamp(u.window_end_ms / 1000.0) as window_end, u.quota, u.holder, u.uses
  from unnest($2::bigint[], $3::text[], $4::text[], $5::bigint[]) as u (window_end_ms, quota, holder, uses)
), written as (
  insert into quota_use as q (window_end, quota, holder, process_id, uses)
  select window_end, quota, holder, $1::uuid, uses from told order by window_end, quota, holder
  on conflict (window_end, quota, holder, process_id) do update set uses = excluded.uses
  where q.uses <> excluded.uses
), forgotten as (
  delete from quota_use where window_end < now() - interval '10 seconds'
)
select (extract(epoch from t.window_end) * 1000)::bigint as window_end, t.quota, t.holder, sum(q.uses)::bigint as uses
from told t
join quota_use q on q.window_end = t.window_end and q.quota = t.quota and q.holder = t.holder and q.process_id <> $1
group by t.window_end, t.quota, t.holder`;

/** Writes down what this process let be used, and gives back what the others did of the same. */
export async function exchangeQuotaUses(
  pool: pg.Pool,
  processId: string,
  own: readonly QuotaUse[],
): Promise<QuotaUse[]> {
  const { rows } = await pool.query<{ window_end: number; quota: string; holder: string; uses: number }>({
    name: 'exchange-quota-uses',
    text: EXCHANGE,
    values: [
      processId,
      bigintArray(own.map((use) => use.windowEnd)),
      textArray(own.map((use) => use.quota)),
      textArray(own.map((use) => use.holder)),
      bigintArray(own.map((use) => use.uses)),
    ],
  });
  return rows.map(({ window_end: windowEnd, quota, holder, uses }) => ({ windowEnd, quota, holder, uses }));
}
