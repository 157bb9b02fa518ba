// The result of `npm run bench -- identity`.

import type { Row } from '../results.ts';
import type { Result } from './files.ts';
import { toRowChart, toRowHeadline, toRowTable } from './rows.ts';

export function toIdentityResult(rows: readonly Row[]): Result {
  return {
    name: 'identity',
    title: 'Identities beside the bare tools they are made of',
    table: toRowTable(rows),
    headline: toRowHeadline(rows),
    chart: toRowChart(rows, 'imid beside the bare tools it is made of', {
      ofBeside: 'Done per second, as a part of what stands beside it (more is better)',
      times: 'Cost at ten million rows, as a multiple of the cost at ten thousand (less is better)',
      MiB: 'Memory above that of importing 10,000 lines, in MiB (less is better)',
    }),
    alt: 'imid’s identities beside a bare Fastify, bare queries and bare COPY, in per cent, with targets',
  };
}
