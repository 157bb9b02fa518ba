// Judges what one device was shown: its whole inbox, in order, each seq once on a connection, none left out between two, and
// everything as it is stored.

import { isDeepStrictEqual } from 'node:util';
import { nameOf, type Connection, type Send, type Witness } from './evidence.ts';
import type { Json } from './harness.ts';

/** What a client is told to come back after. */
const PASSING_ERRORS = new Set(['unavailable', 'rate_limited']);

interface Device {
  readonly inbox: readonly Json[];
  readonly sends: ReadonlyMap<string, Send>;
  readonly epochs: Set<string>;
  /** The most that it has acked, or that it started with. */
  acked: number | undefined;
}

export function judgeShown(
  witness: Witness,
  inbox: readonly Json[],
  sends: ReadonlyMap<string, Send>,
): string[] {
  const lines: string[] = [];
  const device: Device = { inbox, sends, epochs: new Set(), acked: undefined };
  let shown = 0;
  for (const [i, connection] of witness.connections.entries()) {
    const say = (line: string): void => void lines.push(`${nameOf(witness)}, connection ${i}: ${line}`);
    judgeEnd(connection, say);
    if (!connection.frames.some((frame) => 'in' in frame)) continue;
    if (connection.after !== shown)
      say(`the client resumed behind ${connection.after}, and had seen ${shown}`);
    shown = judgeConnection(device, connection, i, say);
  }
  if (device.epochs.size > 1) lines.push(`${nameOf(witness)}: the epoch changed`);
  if (shown < inbox.length)
    lines.push(`${nameOf(witness)}: was shown ${shown} of the ${inbox.length} in its inbox`);
  return lines;
}

/** It may always come back. */
function judgeEnd({ refused, closed }: Connection, say: (line: string) => void): void {
  if (refused !== undefined && refused !== 503) say(`was refused with ${refused}`);
  if (closed !== undefined && ![1000, 1001, 1006].includes(closed) && (closed < 4000 || closed >= 4500))
    say(`was closed with ${closed}, which says not to come back`);
}

/** Gives back the last seq that the device has seen then. */
function judgeConnection(
  device: Device,
  { after, frames }: Connection,
  place: number,
  say: (line: string) => void,
): number {
  const { inbox, sends } = device;
  const open = new Map<string, number>();
  let isWelcome = false;
  let last = after;

  const greet = (frame: Json): void => {
    device.epochs.add(frame.epoch);
    device.acked ??= frame.acked as number;
    if (!frame.resumed || frame.seq < after) say(`resuming behind ${after} failed: ${JSON.stringify(frame)}`);
    if (frame.acked > device.acked) say(`the welcome has ${frame.acked} acked, and only ${device.acked} was`);
  };

  /** The next seq, and as it is stored. */
  const show = (what: string, { seq }: Json): void => {
    if (seq <= last) say(`${what} comes again, or too late: ${last} was shown`);
    if (seq > last + 1) say(`${what} comes where ${last + 1} was due`);
    last = Math.max(last, seq);
  };

  const answer = (what: string, frame: Json): void => {
    const count = open.get(frame.id) ?? 0;
    if (count === 0) say(`${what} answers what was not sent`);
    open.set(frame.id, count - 1);
    if (frame.type === 'error' && !PASSING_ERRORS.has(frame.code)) say(`${what}: ${frame.detail}`);
    // Behind what was shown it answers a repeat.
    if (frame.type === 'sent' && frame.seq > last) show(what, frame);
  };

  const judgeMessage = (what: string, frame: Json): void => {
    show(what, frame);
    const stored = inbox[frame.seq - 1];
    if (!isSame(frame, stored)) say(`${what} is stored as ${JSON.stringify(stored)}`);
    const { id } = frame.content ?? {};
    const attempts = sends.get(id)?.attempts ?? [];
    const isSure = attempts.every((each) => each.connection >= place && each.answer?.type !== 'error');
    if (open.get(id) && isSure) say(`${what} is what this very connection has sent`);
  };

  for (const frame of frames) {
    if ('out' in frame) {
      const { type, id, seq } = frame.out;
      if (type === 'send') open.set(id, (open.get(id) ?? 0) + 1);
      if (type === 'ack') device.acked = Math.max(device.acked ?? 0, seq);
      continue;
    }
    const { type, id, code, seq } = frame.in;
    const what = [type, id ?? frame.in.content?.id, code ?? seq]
      .filter((part) => part !== undefined)
      .join(' ');
    if ((type === 'welcome') === isWelcome)
      say(`${what} comes ${isWelcome ? 'again' : 'before the welcome'}`);
    if (type === 'welcome') {
      isWelcome = true;
      greet(frame.in);
    } else if (type === 'message') judgeMessage(what, frame.in);
    else if (type === 'sent' || type === 'error') answer(what, frame.in);
    else say(`${what} is none of its frames`);
  }
  return last;
}

function isSame(shown: Json, stored: Json): boolean {
  const partsOf = ({ messageId, at, from, to, content }: Json): unknown => [
    messageId,
    at,
    from.uid,
    to.uid,
    content,
  ];
  return stored !== undefined && isDeepStrictEqual(partsOf(shown), partsOf(stored));
}
