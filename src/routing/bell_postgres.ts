// The bell's line through Postgres: a channel per process.

import type { Database } from '../store/database.ts';
import { openNotifications } from '../store/notifications.ts';
import type { Dial } from './bell_line.ts';

const channelOf = (processId: string): string => `imid_${processId}`;

export function dialPostgres(database: Database): Dial {
  return async ({ processId, hear, lost }) => {
    const notifications = await openNotifications(database, {
      channel: channelOf(processId),
      onPayload: hear,
      onEnd: (reason) => lost(reason ?? new Error('Postgres ended the connection')),
    });
    return {
      send: (notes) =>
        notifications.send(
          notes.map((note) => channelOf(note.processId)),
          notes.map((note) => note.note),
        ),
      hangUp: () => notifications.end(),
    };
  };
}
