// What a phone is to its apps: pushes reach it, it shows the last one of each conversation, and a badge.

import { EventEmitter, once } from 'node:events';
import { randomUUID } from 'node:crypto';
import type { Scheme, Tell } from './transcript.ts';

/** What docs/push-webhook.md says of it, as far as the play looks at it. */
export interface Notification {
  title?: string;
  body?: string;
  data: Record<string, string>;
  badge?: number;
  collapseId: string;
  isSilent: boolean;
}

/** Longer than it takes for the next push of a conversation: there is one in five seconds. */
const PATIENCE_MS = 15_000;

export type Phone = ReturnType<typeof createPhone>;

export function createPhone({ scheme, tell }: { scheme: Scheme; tell: Tell }) {
  const bell = new EventEmitter();
  const waiting: Notification[] = [];
  const shown = new Map<string, Notification>();
  let badge = 0;

  return {
    pushToken: randomUUID(),

    get badge(): number {
      return badge;
    },
    /** What is to be seen on it. */
    get shown(): Notification[] {
      return [...shown.values()];
    },

    take(notification: Notification): void {
      if (notification.isSilent) shown.delete(notification.collapseId);
      else shown.set(notification.collapseId, notification);
      badge = notification.badge ?? badge;
      waiting.push(notification);
      bell.emit('ring');
    },

    /** The next push. */
    async next(): Promise<Notification> {
      if (waiting.length === 0)
        await once(bell, 'ring', { signal: AbortSignal.timeout(PATIENCE_MS) }).catch(() => {
          throw new Error(`phone (${scheme}): a push did not come in time`);
        });
      const notification = waiting.shift()!;
      tell(scheme, 'phone', `← push “${notification.title}: ${notification.body}”, badge ${badge}`);
      return notification;
    },

    /** What an app does when it is opened. */
    setBadge(unread: number): void {
      shown.clear();
      badge = unread;
      tell(scheme, 'phone', `shows no push any more, badge ${badge}`);
    },

    /** Throws when a push came that was not waited for. */
    checkQuiet(): void {
      if (waiting.length > 0) throw new Error(`Too many pushes came: ${JSON.stringify(waiting)}`);
    },
  };
}
