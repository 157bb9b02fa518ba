// Whether a device gets a push for a conversation, and when. Pure: the table of DESIGN's socket or push, looked at for one
// device and one conversation at a time.

/** How a device stands, and what a conversation has that it wasn't told of. */
export interface Standing {
  isForeground: boolean;
  /** A device of the same user is in the foreground. */
  hasForeground: boolean;
  /** What any device of the user has handled. */
  maxAcked: number;
  pushWhen: 'device' | 'user';
  /** After a push that failed, or while the provider is out of order. */
  notBefore: Date | undefined;
  /** The user's quiet hours, or its do-not-disturb, last until then. */
  quietUntil: Date | undefined;
  /** When the device was shown something of the conversation last, in milliseconds of the epoch. */
  shownAt: number | undefined;
  /** The oldest of what it wasn't told of, and the newest. */
  first: { at: Date };
  last: { seq: number };
}

export interface PushTiming {
  /** A device in the foreground, or another one of its user, gets so long to ack. */
  graceMs: number;
  /** A conversation is pushed once in so long: then the newest, for all that came meanwhile. */
  windowMs: number;
}

export type Decision =
  | { do: 'push' }
  /** Another device has handled it. */
  | { do: 'drop' }
  | { do: 'wait'; until: Date };

export function decide(standing: Standing, { graceMs, windowMs }: PushTiming, now: Date): Decision {
  const isLenient = standing.pushWhen === 'user' && standing.hasForeground;
  const graceEndMs = standing.first.at.getTime() + graceMs;
  // It may have been left to another device that has gone since.
  const wasLeft = standing.pushWhen === 'user' && graceEndMs <= now.getTime();
  if ((isLenient || wasLeft) && standing.maxAcked >= standing.last.seq) return { do: 'drop' };
  const ends = [standing.notBefore?.getTime() ?? 0, standing.quietUntil?.getTime() ?? 0];
  // Said to be there, but nothing is acked in time: the push comes after all.
  if (standing.isForeground || isLenient) ends.push(graceEndMs);
  if (standing.shownAt !== undefined) ends.push(standing.shownAt + windowMs);
  const until = Math.max(...ends);
  return until > now.getTime() ? { do: 'wait', until: new Date(until) } : { do: 'push' };
}
