// The way to one of APNs' hosts: a connection that is opened when it is needed, and another one in its place when it is no
// more. What Apple can't have seen is sent again; what it may have seen never is.

import type { ApnsReply } from './apns_answers.ts';
import { ApnsFault, openConnection, type ApnsConnection, type Pace } from './apns_connection.ts';
import type { Patience } from './apns_turns.ts';

export interface ApnsChannel {
  /** Headers by name and value in turn. Throws `ApnsFault` when there is no whole answer in time. */
  ask(headers: readonly string[], body: Buffer): Promise<ApnsReply>;
  /** The next request goes over a new connection. */
  reconnect(): void;
  close(): Promise<void>;
}

const MAX_TRIES = 3;

export function createChannel(origin: string, pace: Pace): ApnsChannel {
  const open = new Set<ApnsConnection>();
  let current: ApnsConnection | undefined;
  let isClosed = false;

  function connection(): ApnsConnection {
    if (current?.isUsable) return current;
    for (const each of open) if (each.isOver) open.delete(each);
    current = openConnection(origin, pace);
    open.add(current);
    return current;
  }

  async function askInTime(patience: Patience, headers: readonly string[], body: Buffer): Promise<ApnsReply> {
    for (let tries = 1; ; tries += 1) {
      if (isClosed) throw new ApnsFault('closed: this provider is shut down');
      const used = connection();
      const sinceMs = performance.now();
      try {
        return await used.ask(headers, body, patience);
      } catch (error) {
        if (patience.isOver) {
          // It may be the connection that is dead, but not where most of the time went on another one.
          if (performance.now() - sinceMs > pace.timeoutMs / 2) used.retire();
          throw new ApnsFault(`timeout: APNs has not answered within ${pace.timeoutMs} ms`);
        }
        if (!(error instanceof ApnsFault) || !error.isUnseen || tries === MAX_TRIES) throw error;
      }
    }
  }

  return {
    async ask(headers, body) {
      const patience = { isOver: false, onOver: () => {} };
      const timer = setTimeout(() => {
        patience.isOver = true;
        patience.onOver();
      }, pace.timeoutMs).unref();
      try {
        return await askInTime(patience, headers, body);
      } finally {
        clearTimeout(timer);
      }
    },

    reconnect: () => current?.retire(),

    async close() {
      isClosed = true;
      await Promise.all([...open].map((each) => each.destroy()));
    },
  };
}
