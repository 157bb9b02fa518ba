// How inboxes that have something to be pushed stand: their devices, what has come for them, and what they may be showing.

import { sql } from 'kysely';
import type { AppId } from '../ids.ts';
import { WITHHELD } from './blocks.ts';
import { ALIVE } from './connections.ts';
import type { Executor } from './database.ts';
import { toUser, type User } from './identities.ts';
import type { Inbox } from './push_due.ts';

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

/** What a device may be showing of a conversation. */
export interface Shown {
  deviceId: string;
  peerId: number;
  seq: number;
  at: Date;
  /** There is nothing more to show: it was read, or recalled. */
  isOver: boolean;
}

export interface QuietHours {
  /** Of a day, such as 22:00. */
  from: string;
  to: string;
  timeZone: string;
}

export interface PushStanding extends Inbox {
  devices: PushDevice[];
  /** A device of the user, also one that can't be reached by push, is in the foreground. */
  hasForeground: boolean;
  /** What any of its devices has handled. */
  maxAcked: number;
  quietHours: QuietHours | undefined;
  pausedUntil: Date | undefined;
  showsText: boolean;
  /** What nobody is to be pushed any more stands up to here, but for `messages`. */
  untilSeq: number;
  /** There is more behind `untilSeq`. */
  hasMore: boolean;
  /** What others have sent that isn't handled by some device, and not read, in order. */
  messages: Pushable[];
  shown: Shown[];
  /** What is unread, in all and by whom it is from; of a sender that is gone, 0. */
  unread: number;
  unreadOf: ReadonlyMap<number, number>;
}

/** At most so many messages of an inbox at a time. */
const MESSAGES_MAX = 100;
/** What is longer is shown nowhere. */
const CONTENT_MAX_BYTES = 2_048;

/** By their place; users that are gone, or merged into others, have none. */
export async function findPushStandings(
  db: Executor,
  inboxes: readonly Inbox[],
  shownSince: Date,
): Promise<(PushStanding | undefined)[]> {
  const asked = sql`unnest(${inboxes.map(({ appId }) => appId)}::bigint[], ${inboxes.map(({ id }) => id)}::bigint[])
    with ordinality as q (app_id, id, place)`;
  const ends = await sql<{
    place: number;
    last_seq: number;
    listed_seq: number;
    after: number | null;
    max_acked: number;
    has_foreground: boolean;
    quiet_from: string | null;
    quiet_to: string | null;
    quiet_zone: string | null;
    paused_until: Date | null;
    shows_text: boolean | null;
  }>`
    select q.place, i.last_seq, i.listed_seq, d.after, coalesce(d.max_acked, 0) as max_acked, exists (
        select from connection c join process p on p.id = c.process_id
        where c.app_id = i.app_id and c.identity_id = i.id and c.is_foreground and ${sql.raw(ALIVE)}
      ) as has_foreground, s.quiet_from, s.quiet_to, s.quiet_zone, s.paused_until, s.shows_text
    from ${asked} join identity i on i.app_id = q.app_id and i.id = q.id and i.merged_into is null
    left join lateral (
      select min(greatest(acked_seq, pushed_seq)) filter (where push_token is not null) as after, max(acked_seq) as max_acked
      from device where app_id = i.app_id and identity_id = i.id
    ) d on true
    left join notification_setting s on s.app_id = i.app_id and s.identity_id = i.id`.execute(db);
  const standings = inboxes.map((): PushStanding | undefined => undefined);
  for (const row of ends.rows)
    standings[row.place - 1] = {
      ...inboxes[row.place - 1]!,
      devices: [],
      hasForeground: row.has_foreground,
      maxAcked: row.max_acked,
      quietHours:
        row.quiet_from === null
          ? undefined
          : { from: row.quiet_from, to: row.quiet_to!, timeZone: row.quiet_zone! },
      pausedUntil: row.paused_until ?? undefined,
      showsText: row.shows_text ?? true,
      untilSeq: row.last_seq,
      hasMore: false,
      messages: [],
      shown: [],
      unread: 0,
      unreadOf: new Map(),
    };
  const reached = ends.rows.filter((row) => row.after !== null);
  if (reached.length === 0) return standings;
  const from = sql`unnest(${reached.map(({ place }) => inboxes[place - 1]!.appId)}::bigint[],
    ${reached.map(({ place }) => inboxes[place - 1]!.id)}::bigint[], ${reached.map(({ place }) => place)}::bigint[],
    ${reached.map(({ after }) => after)}::bigint[], ${reached.map((row) => row.last_seq)}::bigint[],
    ${reached.map((row) => row.listed_seq)}::bigint[])
    as q (app_id, id, place, after, last_seq, listed_seq)`;
  await Promise.all([
    addDevices(db, standings, from),
    addMessages(db, standings, from),
    addShown(db, standings, from, shownSince),
    addUnread(db, standings, from),
  ]);
  return standings;
}

type Asked = ReturnType<typeof sql>;
type Standings = readonly (PushStanding | undefined)[];

async function addDevices(db: Executor, standings: Standings, asked: Asked): Promise<void> {
  const { rows } = await sql<{
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
  }>`
    select q.place, d.id, d.provider, d.push_token, d.environment, d.locale, d.acked_seq, d.pushed_seq, d.push_attempts,
      d.push_retry_at, c.is_foreground is true as is_foreground
    from ${asked} join device d on d.app_id = q.app_id and d.identity_id = q.id and d.push_token is not null
    left join connection c on c.app_id = d.app_id and c.identity_id = d.identity_id and c.device_id = d.id
      and exists (select from process p where p.id = c.process_id and ${sql.raw(ALIVE)})
    order by q.place, d.id`.execute(db);
  for (const row of rows)
    standings[row.place - 1]!.devices.push({
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
    });
}

/** Whether a message `m` that `i` sent to `q` is one that its recipient is told of. */
const IS_NEWS = `coalesce(i.merged_into, i.id) is distinct from q.id and not m.is_imported and m.recalled_at is null
  and m.recalls is null and not ${WITHHELD('m.app_id', 'q.id', 'm.recipient_seq')}`;

async function addMessages(db: Executor, standings: Standings, asked: Asked): Promise<void> {
  const { rows } = await sql<{
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
  }>`
    select q.place, m.*
    from ${asked} cross join lateral (
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
        and m.recipient_seq > coalesce(c.read_seq, 0) and ${sql.raw(IS_NEWS)}
      order by m.recipient_seq limit ${MESSAGES_MAX}
    ) m order by q.place, m.seq`.execute(db);
  for (const row of rows) {
    const standing = standings[row.place - 1]!;
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

async function addShown(db: Executor, standings: Standings, asked: Asked, since: Date): Promise<void> {
  const { rows } = await sql<{
    place: number;
    device_id: string;
    peer_id: number;
    seq: number;
    at: Date;
    is_over: boolean;
  }>`
    select * from (
      select q.place, q.after, s.device_id, s.peer_id, s.seq, s.at, coalesce(c.read_seq >= s.seq, false) or exists (
        select from message m
        where m.app_id = s.app_id and m.recipient_id = s.identity_id and m.recipient_seq = s.seq and m.recalled_at is not null
      ) as is_over
      from ${asked} join push_shown s on s.app_id = q.app_id and s.identity_id = q.id
      left join identity p on p.app_id = s.app_id and p.id = s.peer_id
      left join conversation c
        on c.app_id = s.app_id and c.owner_id = s.identity_id and c.peer_id = coalesce(p.merged_into, p.id)
    ) s where is_over or at > ${since} or seq > after`.execute(db);
  for (const row of rows)
    standings[row.place - 1]!.shown.push({
      deviceId: row.device_id,
      peerId: row.peer_id,
      seq: row.seq,
      at: row.at,
      isOver: row.is_over,
    });
}

/** What conversations have counted, and what has come since then. */
async function addUnread(db: Executor, standings: Standings, asked: Asked): Promise<void> {
  const { rows } = await sql<{ place: number; peer_id: number; unread: number }>`
    select place, peer_id, sum(unread)::bigint as unread from (
      select q.place, c.peer_id, c.unread
      from ${asked} join conversation c on c.app_id = q.app_id and c.owner_id = q.id and c.unread > 0
      union all
      select q.place, m.peer_id, m.count from ${asked} cross join lateral (
        select coalesce(i.merged_into, i.id, 0) as peer_id, count(*) as count from message m
        left join identity i on i.app_id = m.app_id and i.id = m.sender_id
        where m.app_id = q.app_id and m.recipient_id = q.id and m.recipient_seq > q.listed_seq and ${sql.raw(IS_NEWS)}
        group by 1
      ) m
    ) u group by place, peer_id`.execute(db);
  for (const { place, peer_id: peerId, unread } of rows) {
    const standing = standings[place - 1]!;
    standing.unread += unread;
    (standing.unreadOf as Map<number, number>).set(peerId, unread);
  }
}

/** Of these inboxes, those of which so much is not counted yet that it should be. */
export async function findUncounted(
  db: Executor,
  inboxes: readonly Inbox[],
  atLeast: number,
): Promise<Inbox[]> {
  const { rows } = await sql<{ app_id: number; id: number }>`
    select i.app_id, i.id
    from unnest(${inboxes.map(({ appId }) => appId)}::bigint[], ${inboxes.map(({ id }) => id)}::bigint[]) as q (app_id, id)
    join identity i on i.app_id = q.app_id and i.id = q.id
    where i.last_seq - i.listed_seq >= ${atLeast}`.execute(db);
  return rows.map((row) => ({ appId: row.app_id as AppId, id: row.id }));
}
