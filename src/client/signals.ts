// What is said without an answer: how far was read, who types, whom to watch, and whether anybody looks.

import type { Address, Party } from './contract.ts';

const TYPING_EVERY_MS = 2_000;

export function createSignals({ write, isOpen }: { write: (frame: object) => void; isOpen: () => boolean }) {
  /** By conversation: what is to be said with the next connection. */
  const reads = new Map<string, object>();
  let watched: readonly object[] = [];
  let typed = { to: '', at: -Infinity };

  return {
    open(): void {
      for (const frame of reads.values()) write(frame);
      reads.clear();
      if (watched.length > 0) write({ type: 'watch', users: watched });
    },
    markRead(who: Address | Party, messageId: string): void {
      const frame = { type: 'read', with: who, messageId };
      if (isOpen()) write(frame);
      else reads.set(JSON.stringify(who), frame);
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
