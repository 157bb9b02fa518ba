// What is said without an answer: how far was read, who types, whom to watch, and whether anybody looks.

import type { Address, Party } from './contract.ts';

const TYPING_EVERY_MS = 2_000;

export function createSignals({
  write,
  isOpen,
  timeoutMs,
}: {
  write: (frame: object) => void;
  isOpen: () => boolean;
  timeoutMs: number;
}) {
  /** By conversation: what was said last, and when. Nothing answers it, so it may have been lost with its connection. */
  const reads = new Map<string, { frame: object; saidAt: number }>();
  let heardAt = -Infinity;
  let watched: readonly object[] = [];
  let typed = { to: '', at: -Infinity };

  function say(key: string, frame: object): void {
    reads.set(key, { frame, saidAt: isOpen() ? performance.now() : Infinity });
    if (isOpen()) write(frame);
  }

  return {
    /** Somebody is there: what was said some time before has arrived. */
    hear(): void {
      heardAt = performance.now();
    },
    open(): void {
      for (const [key, { frame, saidAt }] of reads)
        if (saidAt < heardAt - timeoutMs) reads.delete(key);
        else say(key, frame);
      if (watched.length > 0) write({ type: 'watch', users: watched });
    },
    markRead(who: Address | Party, messageId: string): void {
      say(JSON.stringify(who), { type: 'read', with: who, messageId });
    },
    typing(to: Address | Party): void {
      const [text, now] = [JSON.stringify(to), performance.now()];
      if (!isOpen() || (typed.to === text && now - typed.at < TYPING_EVERY_MS)) return;
      typed = { to: text, at: now };
      write({ type: 'typing', to });
    },
    watch(users: readonly (Address | Party)[]): void {
      watched = [...users];
      if (isOpen()) write({ type: 'watch', users });
    },
    forget(): void {
      reads.clear();
      watched = [];
    },
  };
}
