// A connection that hears and sends Postgres's own notifications. It is lost for good when it is lost.
// Invariant: nothing is sent within anybody's transaction. NOTIFY takes a database-wide lock until its commit is over, so
// this is a transaction of its own that doesn't wait for the disk.

import type { Database } from './database.ts';

export interface Notifications {
  /** Sends each payload on the channel in the same place, in this order; equal ones may arrive as one. */
  send(channels: readonly string[], payloads: readonly string[]): Promise<void>;
  /** Doesn't wait for an answer that is outstanding. */
  end(): Promise<void>;
}

/** Neither function may throw. */
export interface Listener {
  channel: string;
  onPayload: (payload: string) => void;
  onEnd: (reason: Error | undefined) => void;
}

export async function openNotifications(
  database: Database,
  { channel, onPayload, onEnd }: Listener,
): Promise<Notifications> {
  const client = await database.openLongConnection();
  let reason: Error | undefined;
  client.on('notification', ({ payload = '' }) => onPayload(payload));
  client.on('error', (error) => (reason ??= error)); // the first one says why
  client.once('end', () => onEnd(reason));
  const listening = client.query(`set synchronous_commit = off; listen ${client.escapeIdentifier(channel)}`);
  listening.catch(() => {}); // told by the first `send`
  return {
    async send(channels, payloads) {
      await listening;
      await client.query({
        name: 'notify',
        text: 'select pg_notify(channel, payload) from unnest($1::text[], $2::text[]) as rung (channel, payload)',
        values: [channels, payloads],
      });
    },
    end: () => client.end(),
  };
}
