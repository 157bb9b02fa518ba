// What an import would do, counted line by line, with samples: nothing is changed.

import { Type } from 'typebox';
import { ImidError } from '../errors.ts';
import type { Registration } from '../identity/registrations.ts';
import type { Rehearsal, Rehearsed } from '../identity/rehearsal.ts';
import type { Line } from './lines.ts';
import { toError, workThrough, type Outcome } from './import_batches.ts';
import { workOfRegistering } from './import_lines.ts';
import { EXAMPLE_AT, ItemError, ref, Timestamp } from './shapes.ts';

const SAMPLES_MAX = 100;

const Count = Type.Integer({ minimum: 0 });
const LineNumber = Type.Integer({ minimum: 1 });

export const dryRunExample = {
  lines: 3,
  created: 1,
  adopted: 1,
  existing: 0,
  refused: 1,
  refusals: [
    {
      line: 3,
      error: { code: 'invalid_request', detail: 'userId must not begin or end with white space.' },
    },
  ],
  adoptions: [{ line: 2, userId: 'alice', uid: 'g-81', createdAt: EXAMPLE_AT, messages: 12 }],
};

export const DryRun = Type.Object(
  {
    lines: Type.Integer({ minimum: 0, description: 'The sum of the four below; blank lines don’t count.' }),
    created: Count,
    adopted: Count,
    existing: Count,
    refused: Count,
    refusals: Type.Array(
      Type.Object({ line: LineNumber, userId: Type.Optional(Type.String()), error: ref(ItemError) }),
      { description: `The first ${SAMPLES_MAX} lines that would come to an error.` },
    ),
    adoptions: Type.Array(
      Type.Object({
        line: LineNumber,
        userId: Type.String(),
        uid: Type.Optional(Type.String({ description: 'Where it isn’t the userId.' })),
        createdAt: Type.Optional({ ...Timestamp, description: 'Absent where nobody has used the uid yet.' }),
        lastSeenAt: Type.Optional(Timestamp),
        messages: Type.Integer({ minimum: 0, description: 'How many came to stand in its inbox.' }),
      }),
      { description: `The first ${SAMPLES_MAX} users in use as a uid that would be taken over.` },
    ),
  },
  {
    description: 'What it would come to, for `dryRun`.',
    examples: [dryRunExample],
  },
);

export async function rehearse(
  rehearsal: Rehearsal,
  lists: AsyncIterable<Line[]>,
): Promise<Type.Static<typeof DryRun>> {
  const sum: Type.Static<typeof DryRun> = {
    lines: 0,
    created: 0,
    adopted: 0,
    existing: 0,
    refused: 0,
    refusals: [],
    adoptions: [],
  };
  for await (const outcomes of workThrough(lists, workOfRegistering(rehearsal.registerMany, 1)))
    for (const outcome of outcomes) add(sum, outcome);
  return sum;
}

function add(
  sum: Type.Static<typeof DryRun>,
  { line, wanted, result }: Outcome<Registration, Rehearsed>,
): void {
  const userId = wanted?.userId;
  sum.lines += 1;
  if (result instanceof ImidError) {
    sum.refused += 1;
    if (sum.refusals.length < SAMPLES_MAX)
      sum.refusals.push({ line, ...(userId !== undefined && { userId }), ...toError(result) });
    return;
  }
  sum[result.status] += 1;
  if (result.status !== 'adopted' || sum.adoptions.length === SAMPLES_MAX) return;
  const { uid, user } = result;
  sum.adoptions.push({
    line,
    userId: userId!,
    ...(uid !== userId && { uid }),
    ...(user.createdAt && { createdAt: user.createdAt.toISOString() }),
    ...(user.lastSeenAt && { lastSeenAt: user.lastSeenAt.toISOString() }),
    messages: user.messages,
  });
}
