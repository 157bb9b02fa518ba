// The result of `npm run bench -- client`.

import type { Row } from '../results.ts';
import type { Result } from './files.ts';
import { toRowChart, toRowHeadline, toRowTable } from './rows.ts';

const NOTE =
  'Bare clients say and read the same frames, by `ws` or by the `WebSocket` of Node, which the library is made on; they resolve a ' +
  'promise for each send, ack as often as the library, and promise nothing else: no outbox, no coming back, no order, no renewal of ' +
  'tokens. All talk to the same service, the clients of each kind in a process of their own, in pairs with their own kind, in turn. ' +
  'They send bodies of 64 bytes, and keep as many of their own sends unanswered as the window says. A message counts when ' +
  'its recipient has it, and a run only when each was answered, and arrived once and in order. CPU time is that of the clients’ ' +
  'process: of a hundred it includes what it does until all is quiet, of a thousand it is for connecting and talking. Memory is the ' +
  'RSS of that process, after garbage was collected, once all have talked and all is quiet, without what it was when fifty had come, talked and gone. ' +
  'The size is that of the library in one file, by `rolldown`.';

export function toClientResult(rows: readonly Row[]): Result {
  return {
    name: 'client',
    title: 'The client library beside bare sockets',
    table: toRowTable(rows, NOTE, 'the process of the clients used'),
    headline: toRowHeadline(rows),
    chart: toRowChart(rows, 'imid’s client library beside bare sockets', {
      ofBeside: 'Done per second, as a part of what bare clients do (more is better)',
      times: 'Cost, as a multiple of what it is beside (less is better)',
      KiB: 'Size, in KiB (less is better)',
    }),
    alt: 'imid’s client library beside bare sockets, with targets',
  };
}
