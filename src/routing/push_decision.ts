// Whether a device gets a push, and when. Pure: the table of DESIGN's socket or push, looked at for one device at a time.

/** How a device stands, and what its inbox has that others have sent. */
export interface Standing {
  /** Undefined: not connected. */
  isForeground: boolean | undefined;
  /** Handled, or pushed, up to here. */
  behindSeq: number;
  retryAt: Date | undefined;
  /** A device of the same user is in the foreground. */
  hasForeground: boolean;
  /** What any device of the user has handled. */
  maxAcked: number;
  pushWhen: 'device' | 'user';
  /** In the order of their seqs. */
  messages: readonly { seq: number; at: Date }[];
}

export type Decision =
  | { do: 'nothing' }
  /** Nothing but note that all up to here is not to be pushed any more. */
  | { do: 'drop'; seq: number }
  | { do: 'wait'; until: Date }
  | { do: 'push'; seq: number };

/** A device in the foreground, or another one of its user, gets so long to ack. */
export const GRACE_MS = 10_000;

export function decide(standing: Standing, now: Date): Decision {
  const { isForeground, behindSeq, retryAt, hasForeground, maxAcked, pushWhen } = standing;
  const pending = standing.messages.filter(({ seq }) => seq > behindSeq);
  const [first] = pending;
  const last = pending.at(-1);
  if (!first || !last) return { do: 'nothing' };
  if (retryAt && retryAt > now) return { do: 'wait', until: retryAt };
  const isLenient = pushWhen === 'user' && hasForeground;
  if (isLenient && maxAcked >= last.seq) return { do: 'drop', seq: last.seq };
  if (isForeground || isLenient) {
    // Said to be there, but nothing is acked in time: the push comes after all.
    const until = new Date(first.at.getTime() + GRACE_MS);
    if (until > now) return { do: 'wait', until };
  }
  return { do: 'push', seq: last.seq };
}
