// What the backend of an app is told of messages that came for a user who wasn't there: each once, at the time at which a device
// of the user would be pushed to.

import type { Pushable } from '../store/pushables.ts';
import type { PushStanding } from '../store/push_standings.ts';
import { decide, type PushTiming } from './push_decision.ts';
import { findQuietEnd, isWanted } from './push_device.ts';

export interface OfflineNews {
  messages: readonly Pushable[];
  /** Up to here it has been told then; undefined: no further than before. */
  toldSeq?: number | undefined;
  /** When to look again. */
  again?: Date | undefined;
}

export function findOfflineNews(standing: PushStanding, timing: PushTiming, now: Date): OfflineNews {
  const { hasForeground, hasMore, maxAcked, toldSince, toldSeq, untilSeq } = standing;
  if (!toldSince) return { messages: [] };
  const again = hasMore && untilSeq > toldSeq ? now : undefined;
  const messages = standing.messages.filter(
    (message) => message.seq > Math.max(toldSeq, maxAcked) && message.at > toldSince && isWanted(message),
  );
  const [first, last] = [messages[0], messages.at(-1)];
  if (!first || !last) return { messages: [], toldSeq: untilSeq > toldSeq ? untilSeq : undefined, again };
  const decision = decide(
    {
      isForeground: hasForeground,
      hasForeground,
      maxAcked,
      pushWhen: 'device',
      notBefore: undefined,
      quietUntil: findQuietEnd(standing, now),
      shownAt: undefined,
      first,
      last,
    },
    timing,
    now,
  );
  if (decision.do === 'wait') return { messages: [], again: decision.until };
  return { messages, toldSeq: untilSeq, again };
}
