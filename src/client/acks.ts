// Tells the service, and the store, how far the inbox was handled: a moment later, so that many are one. In the background
// the service isn't told, so that it pushes what the user hasn't seen.

import type { Inbox } from './inbox.ts';
import type { Shelf } from './shelf.ts';

const DELAY_MS = 100;

export function createAcks({
  inbox,
  shelf,
  isForeground,
  write,
}: {
  inbox: Inbox;
  shelf: Shelf;
  isForeground: () => boolean;
  write: (text: string) => void;
}) {
  /** What the service knows. */
  let known = 0;
  let kept = '';
  let timer: ReturnType<typeof setTimeout> | undefined;

  function flush(): void {
    clearTimeout(timer);
    timer = undefined;
    const { acked, place } = inbox;
    if (acked > known && isForeground()) {
      known = acked;
      write(JSON.stringify({ type: 'ack', seq: acked }));
    }
    const text = place ? JSON.stringify(place) : '';
    if (text !== kept && place) void shelf.set('place', text);
    kept = text;
  }

  const plan = (): void => void (timer ??= setTimeout(flush, DELAY_MS));

  return {
    plan,
    flush,
    /** A connection begins. */
    begin(acked: number): void {
      known = acked;
      plan();
    },
    forget(): void {
      clearTimeout(timer);
      timer = undefined;
      kept = '';
    },
  };
}
