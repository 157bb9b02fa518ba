// The result of `npm run bench -- push`.

import type { Row } from '../results.ts';
import type { Result } from './files.ts';
import { toRowChart, toRowHeadline, toRowTable } from './rows.ts';

const NOTE =
  'APNs is a process of its own that counts what comes, the same one for both sides. It checks each request as strictly as that of the tests ' +
  'does (test/push/apns_checks.ts: signature and age of the provider token, headers, payload), and then is what takes the longest; or it checks ' +
  'none, which leaves most of the machine to who is measured. The bare client makes the very ' +
  'requests that the service makes, over one connection, with as many under way at once as the service had, and knows beforehand what to say ' +
  'and to whom; the service finds out what each device has not been shown, and writes down that it was. Users have one bound device ' +
  'each, and one message each is stored for them before a round, and written out by a checkpoint; it is measured from the first push that arrives to the last. CPU time is that of the ' +
  'service and all of Postgres, and of the bare client’s process. Until answered: from a sender’s write, each with one send under way, ' +
  'to users in turn; those who are there have a bound device as well, and ack at once. What is under way to them, and pushes of ' +
  'what came within five seconds of another one, are waited for between rounds. While a backlog drains, a hundred clients talk as they do in ' +
  '`npm run bench -- messaging`, as fast as they can; until received is the median of the p99s of short talks. Memory is the RSS of the ' +
  'service’s process, right after the talks and at the end of each draining, of which one went before.';

export function toPushResult(rows: readonly Row[]): Result {
  return {
    name: 'push',
    title: 'Pushing beside a bare client of HTTP/2',
    table: toRowTable(rows, NOTE),
    headline: toRowHeadline(rows),
    chart: toRowChart(rows, 'imid’s pushes beside a bare client of HTTP/2', {
      ofBeside: 'Done per second, as a part of what it is beside (more is better)',
      times: 'Cost, as a multiple of what it is beside (less is better)',
    }),
    alt: 'imid’s pushes beside a bare client of HTTP/2, and what they cost the routing, with targets',
  };
}
