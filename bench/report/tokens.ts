// The result of `npm run bench -- tokens`.

import type { Row } from '../results.ts';
import type { Result } from './files.ts';
import { toRowChart, toRowHeadline, toRowTable } from './rows.ts';

const NOTE =
  'Bare `jose` signs the very claims that the service does, under the same header, in a process of its own. A signature is ' +
  'made on a thread beside the main one; of one after another they wait for each other, so that it keeps about one core ' +
  'busy, and a good part of that is the waiting: 50 at a time get more done in a CPU second, on more than one core. ' +
  'The service has as many requests at a time as there are connections, and may use what other cores are free; by CPU time it is counted with all of Postgres. Verifying is ' +
  'one after another as well, in one process, of a thousand tokens in turn; the bare verify is told algorithm, issuer, ' +
  'audience and type. Revocations are read from Postgres by a process of its own, as the service does when it ' +
  'starts; their memory is what it holds after a garbage collection (heap and buffers) without what it held before, and ' +
  'beside it stands by how much its RSS has grown right after reading, before one. A check is of a jti, half of them of ' +
  'revoked ones.';

export function toTokensResult(rows: readonly Row[]): Result {
  return {
    name: 'tokens',
    title: 'Tokens beside bare jose',
    table: toRowTable(rows, NOTE),
    headline: toRowHeadline(rows),
    chart: toRowChart(rows, 'imid’s tokens beside bare jose', {
      ofBeside: 'Done per second, as a part of what bare jose does (more is better)',
      times: 'Time, as a multiple of what it is beside (less is better)',
      MiB: 'Memory, in MiB (less is better)',
      µs: 'Time of one, in µs (less is better)',
    }),
    alt: 'imid’s tokens beside bare jose, and their revocations, with targets',
  };
}
