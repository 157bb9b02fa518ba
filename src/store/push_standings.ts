// How inboxes that have something to be pushed stand: their devices, what has come for them, and what they may be showing.
// Each of the statements looks at many inboxes; they are prepared, and so planned as for a few, which is right for any number.

import type pg from 'pg';
import type { AppId } from '../ids.ts';
import { bigintArray, booleanArray } from './arrays.ts';
import { WITHHELD } from './blocks.ts';
import { ALIVE } from './connections.ts';
import { bringUpToDate } from './conversations.ts';
import type { Database } from './database.ts';
import { toUser, type User } from './identities.ts';
import { keysOf, type Inbox } from './push_due.ts';

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

/** A message that may be pushed. */
export interface Pushable {
  seq: number;
  messageId: string;
  /** Undefined: it is gone. */
  sender: User | undefined;
  /** As the recipient calls the sender. */
  senderName: string | undefined;
  /** JSON text. */
  push: string | undefined;
  /** JSON text; undefined where it is long. */
  content: string | undefined;
  at: Date;
  /** Until when the recipient wants no push for the sender's; Infinity: until it says otherwise. */
  mutedUntil: number | undefined;
}

export interface QuietHours {
  /** Of a day, such as 22:00. */
  from: string;
  to: string;
  timeZone: string;
}

export interface PushStanding extends Inbox {
  /** A device of it is, or was, bound. */
  hasPush: boolean;
  devices: PushDevice[];
  /** A device of the user, also one that can't be reached by push, is in the foreground. */
  hasForeground: boolean;
  /** What any of its devices has handled. */
  maxAcked: number;
  quietHours: QuietHours | undefined;
  pausedUntil: Date | undefined;
  showsText: boolean;
  /** Up to here the app's backend was told what has come while the user wasn't there. */
  toldSeq: number;
  /** What is looked at stands behind this. A device that hasn't come so far waits to be tried again, and holds up no other. */
  fromSeq: number;
  /** What nobody is to be pushed any more stands up to here, but for `messages`. */
  untilSeq: number;
  /** There is more behind `untilSeq`. */
  hasMore: boolean;
  /** What others have sent that isn't handled by some device, and not read, in order. */
  messages: Pushable[];
  /** What is unread, in all and by whom it is from; of a sender that is gone, 0. */
  unread: number;
  unreadOf: Map<number, number>;
}

export function toQuietHours(row: {
  quiet_from: string | null;
  quiet_to: string | null;
  quiet_zone: string | null;
}): QuietHours | undefined {
  if (row.quiet_from === null) return undefined;
  return { from: row.quiet_from, to: row.quiet_to!, timeZone: row.quiet_zone! };
}

/** At most so many messages of an inbox at a time. */
const MESSAGES_MAX = 100;
/** What is longer is shown nowhere. */
const CONTENT_MAX_BYTES = 2_048;
/** With more that isn't counted, conversations are brought up to date first. */
const UNCOUNTED_MAX = 500;

interface EndRow {
  place: number;
  has_push: boolean;
  last_seq: number;
  listed_seq: number;
  after: number | null;
  told: number;
  max_acked: number;
  has_foreground: boolean;
  quiet_from: string | null;
  quiet_to: string | null;
  quiet_zone: string | null;
  paused_until: Date | null;
  shows_text: boolean | null;
}

const ENDS = `
select q.place, i.has_push, i.last_seq, i.listed_seq, coalesce(o.seq, greatest(0, i.last_seq - ${MESSAGES_MAX})) as told,
  case when q.is_told then least(d.after, coalesce(o.seq, greatest(0, i.last_seq - ${MESSAGES_MAX}))) else d.after end as after,
  coalesce(d.max_acked, 0) as max_acked, (
    -- as a value, which is looked up for each, however few connections there were when it was planned
    select true from connection c join process p on p.id = c.process_id
    where c.app_id = i.app_id and c.identity_id = i.id and c.is_foreground and ${ALIVE} limit 1
  ) is true as has_foreground, s.quiet_from, s.quiet_to, s.quiet_zone, s.paused_until, s.shows_text
from unnest($1::bigint[], $2::bigint[], $3::boolean[]) with ordinality as q (app_id, id, is_told, place)
join identity i on i.app_id = q.app_id and i.id = q.id and i.merged_into is null
left join lateral (
  select coalesce(
    min(greatest(acked_seq, pushed_seq)) filter (where push_token is not null and not coalesce(push_retry_at > now(), false)),
    min(greatest(acked_seq, pushed_seq)) filter (where push_token is not null)
  ) as after, max(acked_seq) as max_acked
  from device where app_id = i.app_id and identity_id = i.id
) d on true
left join notification_setting s on s.app_id = i.app_id and s.identity_id = i.id
left join offline_told o on q.is_told and o.app_id = i.app_id and o.identity_id = i.id`;

/** By their place; users that are gone, or merged into others, have none. `isTold`: whose backend is told of what comes. */
export async function findPushStandings(
  { pool, kysely }: Database,
  inboxes: readonly (Inbox & { clears: boolean })[],
  isTold: (appId: AppId) => boolean,
): Promise<(PushStanding | undefined)[]> {
  const ends = await pool.query<EndRow>({
    name: 'find_push_ends',
    text: ENDS,
    values: [...keysOf(inboxes), booleanArray(inboxes.map(({ appId }) => isTold(appId)))],
  });
  const standings = inboxes.map((): PushStanding | undefined => undefined);
  const asked: Asked[] = [];
  for (const row of ends.rows) {
    const inbox = inboxes[row.place - 1]!;
    const standing = toStanding(inbox, row);
    standings[row.place - 1] = standing;
    if (row.after === null) continue;
    asked.push({ ...inbox, standing, after: row.after, listedSeq: row.listed_seq });
  }
  if (asked.length === 0) return standings;
  for (const each of asked) {
    if (each.standing.untilSeq - each.listedSeq >= UNCOUNTED_MAX) await bringUpToDate(kysely, each);
  }
  await Promise.all([addDevices(pool, asked), addUnread(pool, asked), addMessages(pool, asked)]);
  return standings;
}

function toStanding(inbox: Inbox, row: EndRow): PushStanding {
  return {
    appId: inbox.appId,
    id: inbox.id,
    hasPush: row.has_push,
    devices: [],
    hasForeground: row.has_foreground,
    maxAcked: row.max_acked,
    quietHours: toQuietHours(row),
    pausedUntil: row.paused_until ?? undefined,
    showsText: row.shows_text ?? true,
    toldSeq: row.told,
    fromSeq: row.after ?? row.last_seq,
    untilSeq: row.last_seq,
    hasMore: false,
    messages: [],
    unread: 0,
    unreadOf: new Map(),
  };
}

interface Asked extends Inbox {
  clears: boolean;
  standing: PushStanding;
  after: number;
  listedSeq: number;
}

const DEVICES = `
select q.place, d.id, d.provider, d.push_token, d.environment, d.locale, d.acked_seq, d.pushed_seq, d.push_attempts,
  d.push_retry_at, d.push_shown as shown, (
    select c.is_foreground from connection c
    where c.app_id = d.app_id and c.identity_id = d.identity_id and c.device_id = d.id
      and exists (select from process p where p.id = c.process_id and ${ALIVE}) limit 1
  ) is true as is_foreground,
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
cross join lateral (
  select * from device where app_id = q.app_id and identity_id = q.id and push_token is not null offset 0
) d
order by q.place, d.id`;

async function addDevices(pool: pg.Pool, asked: readonly Asked[]): Promise<void> {
  const { rows } = await pool.query<{
    place: number;
    id: string;
    provider: string;
    push_token: string;
    environment: PushDevice['environment'];
    locale: string | null;
    acked_seq: number;
    pushed_seq: number;
    push_attempts: number;
    push_retry_at: Date | null;
    is_foreground: boolean;
    shown: Record<string, [seq: number, atMs: number]>;
    over: string[] | null;
  }>({
    name: 'find_push_devices',
    text: DEVICES,
    values: [...keysOf(asked), booleanArray(asked.map(({ clears }) => clears))],
  });
  for (const row of rows)
    asked[row.place - 1]!.standing.devices.push({
      id: row.id,
      provider: row.provider,
      token: row.push_token,
      environment: row.environment,
      locale: row.locale ?? undefined,
      ackedSeq: row.acked_seq,
      pushedSeq: row.pushed_seq,
      attempts: row.push_attempts,
      retryAt: row.push_retry_at ?? undefined,
      isForeground: row.is_foreground,
      shown: Object.entries(row.shown).map(([peer, [seq, atMs]]) => ({
        peerId: Number(peer),
        seq,
        atMs,
        isOver: row.over?.includes(peer) ?? false,
      })),
    });
}

/** Whether a message `m` that `i` sent to `q` is one that its recipient is told of. */
const IS_NEWS = `coalesce(i.merged_into, i.id) is distinct from q.id and not m.is_imported and m.recalled_at is null
  and m.recalls is null and not ${WITHHELD('m.app_id', 'q.id', 'm.recipient_seq')}`;

const MESSAGES = `
select q.place, m.*
from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) with ordinality as q (app_id, id, after, last_seq, place)
cross join lateral (
  select m.recipient_seq as seq, m.id as message_id, p.id, p.name, p.im_id, k.display_name, m.push, m.at,
    case when octet_length(m.content) <= ${CONTENT_MAX_BYTES} then m.content end as content,
    u.peer_id is not null as is_muted, u.until
  from message m
  left join identity i on i.app_id = m.app_id and i.id = m.sender_id
  left join identity p on p.app_id = i.app_id and p.id = coalesce(i.merged_into, i.id)
  left join conversation c on c.app_id = m.app_id and c.owner_id = q.id and c.peer_id = p.id
  left join contact k on k.app_id = m.app_id and k.owner_id = q.id and k.contact_id = p.id
  left join muted_peer u on u.app_id = m.app_id and u.owner_id = q.id and u.peer_id = p.id
  where m.app_id = q.app_id and m.recipient_id = q.id and m.recipient_seq > q.after and m.recipient_seq <= q.last_seq
    and m.recipient_seq > coalesce(c.read_seq, 0) and ${IS_NEWS}
    -- who was blocked since stays silent as well
    and not exists (
      select from block b
      where b.app_id = m.app_id and b.owner_id = q.id and b.blocked_id = p.id and b.until_seq is null
    )
  order by m.recipient_seq limit ${MESSAGES_MAX}
) m order by q.place, m.seq`;

async function addMessages(pool: pg.Pool, asked: readonly Asked[]): Promise<void> {
  const { rows } = await pool.query<{
    place: number;
    seq: number;
    message_id: string;
    id: number | null;
    name: string;
    im_id: string | null;
    display_name: string | null;
    push: string | null;
    content: string | null;
    at: Date;
    is_muted: boolean;
    until: Date | null;
  }>({
    name: 'find_pushable',
    text: MESSAGES,
    values: [
      ...keysOf(asked),
      bigintArray(asked.map(({ after }) => after)),
      bigintArray(asked.map(({ standing }) => standing.untilSeq)),
    ],
  });
  for (const row of rows) {
    const { standing } = asked[row.place - 1]!;
    standing.messages.push({
      seq: row.seq,
      messageId: row.message_id,
      sender: row.id === null ? undefined : toUser({ id: row.id, name: row.name, im_id: row.im_id }),
      senderName: row.display_name ?? undefined,
      push: row.push ?? undefined,
      content: row.content ?? undefined,
      at: row.at,
      mutedUntil: row.is_muted ? (row.until?.getTime() ?? Infinity) : undefined,
    });
    if (standing.messages.length < MESSAGES_MAX) continue;
    standing.hasMore = row.seq < standing.untilSeq;
    standing.untilSeq = row.seq;
  }
}

// What conversations have counted, and what has come since then: in one statement, as they may be brought up to date meanwhile.
const UNREAD = `
select place, peer_id, sum(unread)::bigint as unread from (
  select q.place, c.peer_id, c.unread
  from unnest($1::bigint[], $2::bigint[]) with ordinality as q (app_id, id, place)
  cross join lateral (
    select peer_id, unread from conversation where app_id = q.app_id and owner_id = q.id and unread > 0 offset 0
  ) c
  union all
  select q.place, m.peer_id, m.count
  from unnest($1::bigint[], $2::bigint[]) with ordinality as q (app_id, id, place)
  join identity o on o.app_id = q.app_id and o.id = q.id
  cross join lateral (
    select coalesce(i.merged_into, i.id, 0) as peer_id, count(*) as count from message m
    left join identity i on i.app_id = m.app_id and i.id = m.sender_id
    where m.app_id = q.app_id and m.recipient_id = q.id and m.recipient_seq > o.listed_seq and ${IS_NEWS}
    group by 1
  ) m
) u group by place, peer_id`;

async function addUnread(pool: pg.Pool, asked: readonly Asked[]): Promise<void> {
  const { rows } = await pool.query<{ place: number; peer_id: number; unread: number }>({
    name: 'find_push_unread',
    text: UNREAD,
    values: keysOf(asked),
  });
  for (const { place, peer_id: peerId, unread } of rows) {
    const { standing } = asked[place - 1]!;
    standing.unread += unread;
    standing.unreadOf.set(peerId, unread);
  }
}
