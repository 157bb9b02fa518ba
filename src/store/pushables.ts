// What has come for users and may be pushed: the messages, and how much is unread. Of many inboxes at a time.

import { bigintArray, booleanArray } from './arrays.ts';
import { WITHHELD } from './blocks.ts';
import { toUser, type User } from './identities.ts';
import type { Pipeline } from './pipeline.ts';
import { keysOf, type Inbox } from './push_due.ts';

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

/** What has come for a user. */
export interface Arrivals extends Inbox {
  /** It blocks somebody, or did once. */
  hasBlocks: boolean;
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

/** At most so many messages of an inbox at a time. */
const MESSAGES_MAX = 100;
/** What is longer is shown nowhere. */
const CONTENT_MAX_BYTES = 2_048;

/** Whether a message `m` is one that its recipient is told of, unless it comes from someone who is blocked. */
const IS_NEWS = `not m.is_imported and m.recalled_at is null and m.recalls is null`;

const MESSAGES = `
select q.place, m.*
from unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::bigint[], $5::bigint[]) with ordinality
  as q (app_id, id, has_blocks, after, last_seq, place)
cross join lateral (
  select m.recipient_seq as seq, m.id as message_id, s.id, s.name, s.im_id, k.display_name, m.push, m.at,
    case when octet_length(m.content) <= ${CONTENT_MAX_BYTES} then m.content end as content,
    u.peer_id is not null as is_muted, u.until
  from message m
  left join identity i on i.app_id = m.app_id and i.id = m.sender_id
  left join identity p on p.app_id = i.app_id and p.id = i.merged_into
  cross join lateral (
    select coalesce(p.id, i.id) as id, coalesce(p.name, i.name) as name,
      case when p.id is null then i.im_id else p.im_id end as im_id
  ) s
  left join conversation c on c.app_id = m.app_id and c.owner_id = q.id and c.peer_id = s.id
  left join contact k on k.app_id = m.app_id and k.owner_id = q.id and k.contact_id = s.id
  left join muted_peer u on u.app_id = m.app_id and u.owner_id = q.id and u.peer_id = s.id
  where m.app_id = q.app_id and m.recipient_id = q.id and m.recipient_seq > q.after and m.recipient_seq <= q.last_seq
    and m.recipient_seq > coalesce(c.read_seq, 0) and s.id is distinct from q.id and ${IS_NEWS}
    -- who was blocked since stays silent as well
    and not (q.has_blocks and (${WITHHELD('m.app_id', 'q.id', 'm.recipient_seq')} or exists (
      select from block b
      where b.app_id = m.app_id and b.owner_id = q.id and b.blocked_id = s.id and b.until_seq is null offset 0
    )))
  order by m.recipient_seq limit ${MESSAGES_MAX}
) m order by q.place, m.seq`;

/** What others have sent behind `fromSeq`; where that is much, only its beginning, up to another `untilSeq`. */
export async function addPushables(pipeline: Pipeline, arrivals: readonly Arrivals[]): Promise<void> {
  const { rows } = await pipeline.query<{
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
    name: 'find_pushables',
    text: MESSAGES,
    values: [
      ...keysOf(arrivals),
      booleanArray(arrivals.map(({ hasBlocks }) => hasBlocks)),
      bigintArray(arrivals.map(({ fromSeq }) => fromSeq)),
      bigintArray(arrivals.map(({ untilSeq }) => untilSeq)),
    ],
  });
  for (const row of rows) {
    const arrived = arrivals[row.place - 1]!;
    arrived.messages.push({
      seq: row.seq,
      messageId: row.message_id,
      sender: row.id === null ? undefined : toUser({ id: row.id, name: row.name, im_id: row.im_id }),
      senderName: row.display_name ?? undefined,
      push: row.push ?? undefined,
      content: row.content ?? undefined,
      at: row.at,
      mutedUntil: row.is_muted ? (row.until?.getTime() ?? Infinity) : undefined,
    });
    if (arrived.messages.length < MESSAGES_MAX) continue;
    arrived.hasMore = row.seq < arrived.untilSeq;
    arrived.untilSeq = row.seq;
  }
}

// What conversations have counted, and what has come since then: in one statement, as they may be brought up to date meanwhile.
// Few are merged, so that to look for those alone costs next to nothing.
const UNREAD = `
select place, json_object_agg(peer_id, unread) as unread_of
from (
  select place, peer_id, sum(unread) as unread
  from (
    select q.place, c.peer_id, c.unread
    from unnest($1::bigint[], $2::bigint[]) with ordinality as q (app_id, id, place)
    cross join lateral (
      select peer_id, unread from conversation where app_id = q.app_id and owner_id = q.id and unread > 0 offset 0
    ) c
    union all
    select u.place, coalesce(i.merged_into, u.sender_id, 0), u.unread
    from (
      select q.place, q.app_id, q.id, m.sender_id, count(*) as unread
      from unnest($1::bigint[], $2::bigint[]) with ordinality as q (app_id, id, place)
      join identity o on o.app_id = q.app_id and o.id = q.id
      cross join lateral (
        select m.sender_id from message m
        where m.app_id = q.app_id and m.recipient_id = q.id and m.recipient_seq > o.listed_seq and ${IS_NEWS}
          and not (o.blocks_version > 0 and exists (
            select from identity i where i.app_id = m.app_id and i.id = m.sender_id
              and ${WITHHELD('m.app_id', 'q.id', 'm.recipient_seq')} offset 0
          ))
        offset 0
      ) m
      group by q.place, q.app_id, q.id, m.sender_id
    ) u
    left join identity i on i.app_id = u.app_id and i.id = u.sender_id and i.merged_into is not null
    where coalesce(i.merged_into, u.sender_id) is distinct from u.id
  ) u group by place, peer_id
) u group by place`;

export async function addUnread(pipeline: Pipeline, arrivals: readonly Arrivals[]): Promise<void> {
  const { rows } = await pipeline.query<{ place: number; unread_of: Record<string, number> }>({
    name: 'find_push_unread',
    text: UNREAD,
    values: keysOf(arrivals),
  });
  for (const { place, unread_of: unreadOf } of rows) {
    const arrived = arrivals[place - 1]!;
    for (const [peerId, unread] of Object.entries(unreadOf)) {
      arrived.unread += unread;
      arrived.unreadOf.set(Number(peerId), unread);
    }
  }
}
