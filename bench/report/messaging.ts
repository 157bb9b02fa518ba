// The result of `npm run bench -- messaging`.

import type { Row } from '../results.ts';
import type { Result } from './files.ts';
import { toRowChart, toRowHeadline, toRowTable } from './rows.ts';

const NOTE =
  'The relay is a process of its own with the same `ws` and the same frames that stores nothing; the same clients, ' +
  'in one process of their own, talk to both. They are in pairs, have a device each, send bodies of 64 bytes, keep ' +
  'as many of their own sends unanswered as the window says, and ack every 32nd message. A message counts when its ' +
  'recipient has it, and a run only when each was answered once and arrived once, in order. Until received: from ' +
  'the sender’s write; the median of the rounds’ p99s. CPU time is that of the service and all of Postgres during ' +
  'its own rounds and until all was quiet after each. Connects are of known users with a device, until the welcome. ' +
  'Memory is the RSS of the service’s process without Postgres, some seconds after the last connect, without what ' +
  'it was before the first, and no garbage was collected for it. A next to empty database has 100 messages in an ' +
  'inbox, and what was sent in the rounds before; pages are `GET /v1/me/messages`.';

export function toMessagingResult(rows: readonly Row[]): Result {
  return {
    name: 'messaging',
    title: 'Messaging beside a relay that stores nothing',
    table: toRowTable(rows, NOTE),
    headline: toRowHeadline(rows),
    chart: toRowChart(rows, 'imid’s messaging beside a bare ws relay', {
      ofBeside: 'Done per second, as a part of what the relay does (more is better)',
      times: 'Cost, as a multiple of what it is beside (less is better)',
    }),
    alt: 'imid’s messaging beside a bare ws relay, and beside itself when empty, with targets',
  };
}
