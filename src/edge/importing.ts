// Imports lines: a result for each, in order, while the rest is still coming in.

import { ImidError } from '../errors.ts';
import type { AppSchemes } from '../identity/schemes.ts';
import type { Registered, Registration, Registry } from '../identity/registry.ts';
import type { Line } from './lines.ts';
import { readRegistration } from './registrations.ts';

const BATCH = 1_000;

/** What a line came to, as it is told; without a number when it is about none of them. */
export type ImportResult = { line?: number; userId?: string } & (
  { imId: string; status: Registered['status'] } | { error: { code: string; detail: string } }
);

export async function* importLines(
  registry: Registry,
  app: AppSchemes,
  lists: AsyncIterable<Line[]>,
): AsyncGenerator<ImportResult[]> {
  for await (const lines of lists)
    for (let from = 0; from < lines.length; from += BATCH)
      yield await importBatch(registry, app, lines.slice(from, from + BATCH));
}

async function importBatch(
  registry: Registry,
  app: AppSchemes,
  lines: readonly Line[],
): Promise<ImportResult[]> {
  const read = lines.map(readRegistration);
  const wanted = read.filter(
    (registration): registration is Registration => !(registration instanceof ImidError),
  );
  const registered = await registry.registerMany(app, wanted);
  let next = 0;
  return read.map((registration, i) => {
    const { line } = lines[i]!;
    if (registration instanceof ImidError) return { line, ...toError(registration) };
    return { line, ...toResult(registration, registered[next++]!) };
  });
}

function toResult({ userId }: Registration, registered: Registered | ImidError): ImportResult {
  if (registered instanceof ImidError) return { userId, ...toError(registered) };
  return { userId, imId: registered.user.imId, status: registered.status };
}

export function toError({ code, message }: ImidError): { error: { code: string; detail: string } } {
  return { error: { code, detail: message } };
}
