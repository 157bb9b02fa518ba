// How inboxes that have something to be pushed stand: their devices, what has come for them, and what they may be showing.
// What is asked is asked of many inboxes at once, in prepared statements: planned as for a few, which is right for any number.

import { booleanArray } from './arrays.ts';
import { ALIVE } from './connections.ts';
import { tryBringUpToDate } from './conversations.ts';
import type { Database } from './database.ts';
import type { Pipeline } from './pipeline.ts';
import { keysOf, type Inbox } from './push_due.ts';
import { addPushables, addUnread, type Arrivals } from './pushables.ts';
import { HEARS_OF_OFFLINE } from './webhooks.ts';

/** A device that can be reached by push. */
export interface PushDevice {
  id: string;
  provider: string;
  token: string;
  environment: 'production' | 'sandbox';
  locale: string | undefined;
  ackedSeq: number;
  /** Up to here everything was pushed, or never will be. */
  pushedSeq: number;
  attempts: number;
  retryAt: Date | undefined;
  isForeground: boolean;
  shown: Shown[];
}

/** What a device may be showing of a conversation. */
export interface Shown {
  /** Row of the other side; 0: gone. */
  peerId: number;
  seq: number;
  atMs: number;
  /** There is nothing more to show: it was read, or recalled. */
  isOver: boolean;
}

export interface QuietHours {
  /** Of a day, such as 22:00. */
  from: string;
  to: string;
  timeZone: string;
}

export interface PushStanding extends Arrivals {
  /** A device of it is, or was, bound. */
  hasPush: boolean;
  devices: PushDevice[];
  /** A device of the user, also one that can't be reached by push, is in the foreground. */
  hasForeground: boolean;
  /** What any of its devices, or of its connections without one, has handled. */
  maxAcked: number;
  quietHours: QuietHours | undefined;
  pausedUntil: Date | undefined;
  showsText: boolean;
  /** Of what comes while the user isn't there, the app's backend is told since then; undefined: it isn't. */
  toldSince: Date | undefined;
  /** Up to here it was told. */
  toldSeq: number;
}

export function toQuietHours(row: {
  quiet_from: string | null;
  quiet_to: string | null;
  quiet_zone: string | null;
}): QuietHours | undefined {
  if (row.quiet_from === null) return undefined;
  return { from: row.quiet_from, to: row.quiet_to!, timeZone: row.quiet_zone! };
}

/** With more that isn't counted, conversations are brought up to date first; where they are locked, all is counted here. */
const UNCOUNTED_MAX = 500;

interface StandingRow {
  place: number;
  has_push: boolean;
  last_seq: number;
  listed_seq: number;
  has_blocks: boolean;
  told_since: Date | null;
  told_seq: number;
  quiet_from: string | null;
  quiet_to: string | null;
  quiet_zone: string | null;
  paused_until: Date | null;
  shows_text: boolean | null;
  /** Of one of its devices; null where it has none. */
  acked_seq: number | null;
  /** Up to there it has handled nothing. */
  begun_seq: number | null;
  /** By connections that are there; null where there are none. */
  connections_acked_seq: number | null;
  pushed_seq: number;
  /** Null where none of the user's is. */
  is_foreground: boolean | null;
  id: string;
  provider: string;
  /** Null where it can't be reached by push; so are what it is shown, and how. */
  push_token: string | null;
  environment: PushDevice['environment'];
  locale: string | null;
  push_attempts: number;
  push_retry_at: Date | null;
  shown: Record<string, [seq: number, atMs: number]>;
  over: string[] | null;
}

/** Of so many messages of a user at most a backend is told that was told of none yet. */
const FIRST_TOLD_MAX = 1_000;

const STANDINGS = `
select q.place, o.has_push, o.last_seq, o.listed_seq, o.blocks_version > 0 as has_blocks,
  w.offline_since as told_since, coalesce(t.seq, (
    -- of who was never told of: what has come since
    select m.recipient_seq from message m
    where m.app_id = w.app_id and m.recipient_id = o.id and m.recipient_seq > o.last_seq - ${FIRST_TOLD_MAX}
      and m.at <= w.offline_since and not m.is_imported
    order by m.recipient_seq desc limit 1
  ), greatest(0, o.last_seq - ${FIRST_TOLD_MAX})) as told_seq,
  s.quiet_from, s.quiet_to, s.quiet_zone, s.paused_until, s.shows_text,
  d.acked_seq, d.begun_seq, d.pushed_seq, d.id, d.provider, d.push_token, d.environment, d.locale, d.push_attempts, d.push_retry_at,
  d.push_shown as shown, (
    -- as a value, which is looked up for each, however few connections there were when it was planned
    select bool_or(c.device_id is not distinct from d.id) from connection c join process p on p.id = c.process_id
    where c.app_id = o.app_id and c.identity_id = o.id and c.is_foreground and ${ALIVE}
  ) as is_foreground,
  (select max(c.acked_seq) from connection c where c.app_id = o.app_id and c.identity_id = o.id) as connections_acked_seq,
  case when q.clears and d.push_shown <> '{}' then array(
    select s.key from jsonb_each(d.push_shown) s
    left join identity p on p.app_id = d.app_id and p.id = s.key::bigint
    left join conversation c
      on c.app_id = d.app_id and c.owner_id = d.identity_id and c.peer_id = coalesce(p.merged_into, p.id)
    where c.read_seq >= (s.value ->> 0)::bigint or exists (
      select from message m where m.app_id = d.app_id and m.recipient_id = d.identity_id
        and m.recipient_seq = (s.value ->> 0)::bigint and m.recalled_at is not null
    )
  ) end as over
from unnest($1::bigint[], $2::bigint[], $3::boolean[]) with ordinality as q (app_id, id, clears, place)
join identity o on o.app_id = q.app_id and o.id = q.id and o.merged_into is null
left join device d on d.app_id = o.app_id and d.identity_id = o.id
left join notification_setting s on s.app_id = o.app_id and s.identity_id = o.id
left join webhook w on w.app_id = o.app_id and ${HEARS_OF_OFFLINE}
left join offline_told t on t.app_id = w.app_id and t.identity_id = o.id
order by q.place, d.id`;

/** By their place; users that are gone, or merged into others, have none. */
export async function findPushStandings(
  { kysely, clock }: Database,
  pipeline: Pipeline,
  inboxes: readonly (Inbox & { clears: boolean })[],
): Promise<(PushStanding | undefined)[]> {
  const { rows } = await pipeline.query<StandingRow>({
    name: 'find_push_standings',
    text: STANDINGS,
    values: [...keysOf(inboxes), booleanArray(inboxes.map(({ clears }) => clears))],
  });
  const now = clock.now();
  const rowsByPlace = Map.groupBy(rows, ({ place }) => place);
  const standings: (PushStanding | undefined)[] = [];
  const asked: PushStanding[] = [];
  for (const [i, inbox] of inboxes.entries()) {
    const own = rowsByPlace.get(i + 1);
    const standing = own && toStanding(inbox, own, now);
    standings.push(standing);
    if (!standing || (standing.devices.length === 0 && !standing.toldSince)) continue;
    asked.push(standing);
    if (own[0]!.last_seq - own[0]!.listed_seq >= UNCOUNTED_MAX) await tryBringUpToDate(kysely, inbox);
  }
  if (asked.length > 0) await Promise.all([addUnread(pipeline, asked), addPushables(pipeline, asked)]);
  return standings;
}

function toStanding({ appId, id }: Inbox, rows: readonly StandingRow[], now: Date): PushStanding {
  const row = rows[0]!;
  const devices = rows.flatMap((each) => toDevice(each) ?? []);
  const trying = devices.filter(({ retryAt }) => !retryAt || retryAt <= now);
  const floors = (trying.length > 0 ? trying : devices).map(({ ackedSeq, pushedSeq }) =>
    Math.max(ackedSeq, pushedSeq),
  );
  if (row.told_since) floors.push(row.told_seq);
  return {
    appId,
    id,
    hasPush: row.has_push,
    devices,
    hasForeground: row.is_foreground !== null,
    maxAcked: Math.max(row.connections_acked_seq ?? 0, ...rows.map(handledBy)),
    quietHours: toQuietHours(row),
    pausedUntil: row.paused_until ?? undefined,
    showsText: row.shows_text ?? true,
    toldSince: row.told_since ?? undefined,
    toldSeq: row.told_seq,
    hasBlocks: row.has_blocks,
    fromSeq: Math.min(row.last_seq, ...floors),
    untilSeq: row.last_seq,
    hasMore: false,
    messages: [],
    unread: 0,
    unreadOf: new Map(),
  };
}

/** 0: nothing since it is there. */
function handledBy({ acked_seq: acked, begun_seq: begun }: StandingRow): number {
  return acked !== null && acked > begun! ? acked : 0;
}

/** Undefined for one that can't be reached by push. */
function toDevice(row: StandingRow): PushDevice | undefined {
  if (row.push_token === null) return undefined;
  return {
    id: row.id,
    provider: row.provider,
    token: row.push_token,
    environment: row.environment,
    locale: row.locale ?? undefined,
    ackedSeq: row.acked_seq ?? 0,
    pushedSeq: row.pushed_seq,
    attempts: row.push_attempts,
    retryAt: row.push_retry_at ?? undefined,
    isForeground: row.is_foreground ?? false,
    shown: Object.entries(row.shown).map(([peer, [seq, atMs]]) => ({
      peerId: Number(peer),
      seq,
      atMs,
      isOver: row.over?.includes(peer) ?? false,
    })),
  };
}
