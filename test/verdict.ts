// Judges evidence: whether every promise was kept. Pure; what was broken comes back as lines to read, none when all is well.

import { isDeepStrictEqual } from 'node:util';
import { readSends, type Evidence, type Send } from './evidence.ts';
import type { Json } from './harness.ts';
import { judgeShown } from './verdict_shown.ts';

export function findViolations(evidence: Evidence): string[] {
  const sends = readSends(evidence);
  return [
    ...judgeInboxes(evidence, sends),
    ...[...sends.values()].flatMap((send) => judgeSend(evidence, send)),
    ...judgeOrder(evidence, sends),
    ...evidence.witnesses.flatMap((witness) =>
      judgeShown(witness, evidence.inboxes.get(witness.uid) ?? [], sends),
    ),
  ];
}

/** Seqs are 1, 2, 3 to the end, and everything is what somebody sent, to this user or as this user. */
function judgeInboxes({ inboxes }: Evidence, sends: ReadonlyMap<string, Send>): string[] {
  const lines: string[] = [];
  const idOf = new Map<string, string>();
  for (const [uid, inbox] of inboxes)
    for (const [i, message] of inbox.entries()) {
      const where = `inbox of ${uid}, seq ${message.seq}`;
      const before = i === 0 ? 0 : inbox[i - 1].seq;
      if (message.seq !== before + 1) lines.push(`${where}: follows ${before}`);
      const send = sends.get(message.content?.id);
      if (!send || ![send.from, send.to].includes(uid)) {
        lines.push(`${where}: nobody sent ${JSON.stringify(message.content)} here`);
        continue;
      }
      if (!isDeepStrictEqual(message.content, send.content))
        lines.push(`${where}: ${send.id} was sent with another content`);
      if (message.from.uid !== send.from || message.to.uid !== send.to)
        lines.push(`${where}: ${send.id} was sent by ${send.from} to ${send.to}`);
      const other = idOf.get(message.messageId) ?? send.id;
      if (other !== send.id) lines.push(`${where}: ${send.id} has the messageId of ${other}`);
      idOf.set(message.messageId, send.id);
    }
  return lines;
}

/** In both inboxes, once, as its sender was told; one that was not answered at most once, and in both or in neither. */
function judgeSend({ inboxes }: Evidence, send: Send): string[] {
  const lines: string[] = [];
  const { id, from, to, attempts } = send;
  const owners = [...new Set([from, to])];
  const copies = owners.map((uid) => copiesOf(inboxes.get(uid) ?? []).get(id) ?? []);
  const answers = attempts.flatMap(({ answer }) => (answer?.type === 'sent' ? [answer] : []));
  for (const [i, uid] of owners.entries())
    if (copies[i]!.length > 1) lines.push(`${id} stands ${copies[i]!.length} times in the inbox of ${uid}`);
    else if (copies[i]!.length === 0 && answers.length > 0)
      lines.push(`${id} was answered sent and is not in the inbox of ${uid}`);
    else if (copies[i]!.length === 0 && copies.some((others) => others.length > 0))
      lines.push(`${id} is not in the inbox of ${uid}, but in the other one`);
  const all = copies.flat();
  for (const { messageId, at } of all.slice(1))
    if (messageId !== all[0].messageId || at !== all[0].at)
      lines.push(`${id} has another messageId or time in one inbox than in the other`);
  for (const { inboxOf, seq, messageId, at } of answers)
    for (const copy of copies[owners.indexOf(inboxOf)]!)
      if (!isDeepStrictEqual([copy.seq, copy.messageId, copy.at], [seq, messageId, at]))
        lines.push(
          `${id} was answered ${JSON.stringify({ seq, messageId, at })} and stands in the inbox of ${inboxOf} as ` +
            JSON.stringify({ ...copy, content: undefined }),
        );
  return lines;
}

/**
 * What one client sent stands in the order in which it was sent. After an error the message counts as sent where it was
 * sent again, or, since the outcome was unknown, where it was sent before.
 */
function judgeOrder({ inboxes }: Evidence, sends: ReadonlyMap<string, Send>): string[] {
  const lines: string[] = [];
  for (const [uid, inbox] of inboxes) {
    const last = new Map<string, { id: string; place: number }>();
    for (const { seq, content } of inbox) {
      const send = sends.get(content?.id);
      if (!send) continue;
      const { id, place } = last.get(send.client) ?? { id: '', place: -1 };
      const next = placesOf(send).find((each) => each > place);
      if (next === undefined)
        lines.push(`inbox of ${uid}, seq ${seq}: ${send.id} stands behind ${id}, which was sent later`);
      else last.set(send.client, { id: send.id, place: next });
    }
  }
  return lines;
}

/** Sent again on another connection without an error, it keeps its place: whatever was sent behind it is sent again too. */
function placesOf({ attempts }: Send): number[] {
  return attempts
    .filter((_, i) => i === 0 || attempts[i - 1]!.answer?.type === 'error')
    .map(({ place }) => place);
}

const known = new WeakMap<readonly Json[], Map<string, Json[]>>();

function copiesOf(inbox: readonly Json[]): Map<string, Json[]> {
  const found = known.get(inbox) ?? Map.groupBy(inbox, ({ content }) => content?.id as string);
  known.set(inbox, found);
  return found;
}
